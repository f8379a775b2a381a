"""Secrets: references in parameters, values in the cluster's folder, masks over everything that is shown.

A parameter says where a secret comes from, never what it is:

``generate``   made once and kept in the cluster's folder, mode 0600
``env:NAME``   an environment variable of the process that runs the book
``file:PATH``  the first line of a file
"""

from __future__ import annotations

import base64
import os
import secrets as _random
import string
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from .errors import UsageError
from .files import write_private

__all__ = ["REFERENCE", "Secret", "gossip_key", "mask", "password", "register", "resolve", "token"]

#: What a reference looks like, as a regular expression.
REFERENCE = r"^(generate|env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"
MASK = "********"
_known: set[str] = set()
_guard = threading.Lock()


class Secret:
    """A secret value that does not show itself: ``str``, ``repr`` and f-strings give the mask."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value
        register(value)

    def reveal(self) -> str:
        """The value itself, for the one place that has to send it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, {MASK})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and _random.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self):  # type: ignore[no-untyped-def]
        raise TypeError("a Secret is not pickled")


def register(value: str) -> None:
    """From now on, mask this value in whatever passes through :func:`mask`."""
    if len(value) >= 6:  # shorter ones would blank out ordinary words
        with _guard:
            _known.add(value)


def mask(text: str) -> str:
    """A text with every known secret replaced.

    Args:
        text: Anything that is about to be shown, logged or saved.
    """
    with _guard:
        known = sorted(_known, key=len, reverse=True)
    for value in known:
        if value in text:
            text = text.replace(value, MASK)
    return text


def password() -> str:
    """A new password of 32 letters and digits: no character that a shell, SQL or a URL would have to quote."""
    alphabet = string.ascii_letters + string.digits
    return "".join(_random.choice(alphabet) for _ in range(32))


def gossip_key() -> str:
    """A new key for Consul's gossip: 32 random bytes in base64, as ``consul keygen`` gives."""
    return base64.b64encode(_random.token_bytes(32)).decode()


def token() -> str:
    """A new Consul token: a UUID."""
    return str(uuid.UUID(bytes=_random.token_bytes(16), version=4))


def resolve(name: str, reference: str, folder: Path, make: Callable[[], str] = password) -> Secret:
    """The secret behind a reference.

    Args:
        name: What it is called in the cluster's folder and in messages.
        reference: ``generate``, ``env:NAME`` or ``file:PATH``.
        folder: The cluster's folder of secrets.
        make: Makes a new value for ``generate``.

    Raises:
        UsageError: The reference leads nowhere.
    """
    kind, _, rest = reference.partition(":")
    if kind == "env":
        value = os.environ.get(rest, "")
        if not value:
            raise UsageError(
                f"the secret {name} is not there", where=f"environment variable {rest}", seen="not set, or empty", next=f"export {rest}=... and run again"
            )
    elif kind == "file":
        try:
            value = Path(rest).expanduser().read_text(encoding="utf-8").partition("\n")[0].strip()
            if not value:
                raise ValueError("its first line is empty")
        except (OSError, ValueError) as error:  # what does not decode may still be a secret: it is not repeated
            seen = getattr(error, "strerror", None) or ("not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error))
            raise UsageError(f"the secret {name} is not there", where=rest, seen=seen, next="put it there in one line, mode 0600, and run again") from None
    else:
        path = folder / name
        if path.exists():
            value = path.read_text(encoding="utf-8").strip()
        else:
            value = make()
            write_private(path, value + "\n")
    return Secret(name, value)
