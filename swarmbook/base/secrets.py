"""Secrets: references in parameters, values in the cluster's folder, masks over everything that is shown.

A parameter says where a secret comes from, never what it is:

``generate``   made once and kept in the cluster's folder, mode 0600
``env:NAME``   an environment variable of the process that runs the book
``file:PATH``  the first line of a file

It is UTF-8, whatever the locale, and everything up to the line's end, from there to the login.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets as _random
import string
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_private
from swarmbook.base.redaction import MASK, Finder, forms, pem_pieces
from swarmbook.base.strength import SHORTEST, unfit

__all__ = [
    "MASK", "REFERENCE", "Secret", "StreamMask", "gossip_key", "mask", "mask_data", "password", "register", "register_references",
    "resolve", "structure", "token", "watch",
]  # fmt: skip

#: What a reference looks like, as a regular expression of pydantic's; its paths are those of :mod:`swarmbook.params.kinds`.
REFERENCE = r"^(generate|env:[A-Za-z_][A-Za-z0-9_]*|file:[\p{L}\p{N}_./~][\p{L}\p{M}\p{N}_./~@%+,:= -]*)$"
_reference = re.compile(r"(env|file):(.+)")
_known: set[str] = set()
_structure: set[str] = set()
_finder, _found_by = Finder(), set[str]()
_watched: dict[Path, dict[str, tuple[int, int]]] = {}
_seen: dict[Path, int] = {}
_guard = threading.RLock()
_FRESH_NS = 100_000_000  # a folder that changed this recently may change again without its time showing it


class Secret:
    """A secret value that does not show itself: ``str``, ``repr`` and f-strings give the mask."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value
        register(value)

    def reveal(self) -> str:
        """Return the value itself, for the one place that has to send it."""
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
    """Mask this value from now on in whatever passes through :func:`mask`, in every form it may take.

    Args:
        value: A secret. Of private keys in PEM, every piece is registered too.
    """
    for form in (value, value.strip()):  # programs that drop blanks show it without
        if len(form) >= 6:  # shorter ones would blank out ordinary words
            with _guard:
                _known.add(form)


def register_references(values: object, cwd: Path | None = None) -> None:
    """Register what ``env:NAME`` and ``file:PATH`` lead to, wherever they stand in parameters.

    Args:
        values: Parameters, nested as they like. References that lead nowhere are skipped: the step that needs one reports it.
        cwd: Where relative paths may begin, beside the working directory.
    """
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for value in values:
            register_references(value, cwd)
    elif isinstance(values, str) and (found := _reference.fullmatch(values)):
        path = Path(found[2]).expanduser()
        places = {found[2]} if found[1] == "env" else {str(path), str((cwd or Path()) / path)}
        for place in places:
            with contextlib.suppress(OSError, ValueError):
                register(_read(found[1], place))


def watch(cluster: Path) -> None:
    """Register all secrets and private keys of a cluster's folder, now and whenever another one appears there.

    Args:
        cluster: The folder; it need not exist yet.
    """
    with _guard:
        for folder in (cluster, cluster / "secrets", cluster / "pki"):
            _watched.setdefault(folder, {})
        _refresh()


def _refresh() -> None:
    """Read what is new in the watched folders; a stat each when nothing is."""
    for folder in [folder for folder in _watched if folder.name == "pki"]:  # an authority's folder for each purpose
        with contextlib.suppress(OSError):
            for below in folder.iterdir():
                if below.is_dir():
                    _watched.setdefault(below, {})
    for folder, files in _watched.items():
        try:
            changed = os.stat(folder).st_mtime_ns
            if _seen.get(folder) == changed:
                continue
            for entry in os.scandir(folder):
                wanted = folder.name == "secrets" or entry.name == "id_ed25519" or entry.name.endswith(".key")
                if not wanted or entry.name.startswith(".") or not entry.is_file():
                    continue
                state = entry.stat()
                if files.get(entry.path) != (state.st_mtime_ns, state.st_size):
                    files[entry.path] = state.st_mtime_ns, state.st_size
                    with contextlib.suppress(ValueError):  # what is no text is no secret of ours, and hides no other
                        register(Path(entry.path).read_text(encoding="utf-8").strip())
        except OSError:  # not there yet, or going away
            continue
        if time.time_ns() - changed > _FRESH_NS:
            _seen[folder] = changed


def _ready() -> Finder | None:
    """Return the finder, with all that is known now; None when masking is turned off."""
    if os.environ.get("SWARMBOOK_MASK") == "off":  # for the test that shows that its search would find a leak
        return None
    global _finder
    _refresh()
    if not _found_by <= _known:  # only tests take a secret back
        _finder = Finder()
        _found_by.clear()
    for value in _known - _found_by:
        pieces = pem_pieces(value)
        for piece in pieces:
            _finder.add(forms(piece) if len(piece) > 16 else {piece})
        if not pieces:
            _finder.add(forms(value))
        _found_by.add(value)
    return _finder


def structure(words: Iterable[str]) -> None:
    """Say what is never masked, since it is no text of others': names of files, chapters, nodes and keys.

    A secret may not be one of these (:func:`resolve`); of an earlier version it may be, and then a record stays true.

    Args:
        words: Names, each without a blank.
    """
    with _guard:
        _structure.update(words)


def mask(text: str) -> str:
    """Replace every known secret in a text, but for names of our own that merely contain or equal one.

    Args:
        text: Anything that is about to be shown, logged or saved.
    """
    with _guard:
        finder = _ready()
        return finder.mask(text, _structure) if finder else text


def mask_data(data: Any, *, keys: bool = True) -> Any:
    """Mask everything in nested data; other types than text, lists and mappings stay as they are.

    Args:
        data: The data.
        keys: Also in keys; off where they are ours, and so no text of others'.
    """
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, Mapping):
        return {
            mask(key) if keys and isinstance(key, str) else key: mask_data(value, keys=keys)
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [mask_data(value, keys=keys) for value in data]
    return data


class StreamMask:
    """Masks a text that comes in pieces: what could be the beginning of a secret is held back until more is known."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take another piece, and return what may be shown now.

        Args:
            piece: The next piece of the text.
        """
        with _guard:
            finder = _ready()
            text = self._held + piece
            if finder is None:
                self._held = ""
                return text
            shown, self._held = finder.cut(text, finder.open_end(text), _structure)
            return shown

    def flush(self) -> str:
        """Return what was held back, masked: nothing more will come."""
        held, self._held = self._held, ""
        return mask(held)


def password() -> str:
    """Make a new password of 32 letters and digits: no character that a shell, SQL or a URL would have to quote."""
    alphabet = string.ascii_letters + string.digits
    return "".join(_random.choice(alphabet) for _ in range(32))


def gossip_key() -> str:
    """Make a new key for Consul's gossip: 32 random bytes in base64, as ``consul keygen`` gives."""
    return base64.b64encode(_random.token_bytes(32)).decode()


def token() -> str:
    """Make a new Consul token: a UUID."""
    return str(uuid.UUID(bytes=_random.token_bytes(16), version=4))


def resolve(name: str, reference: str, folder: Path, make: Callable[[], str] = password) -> Secret:
    """Return the secret behind a reference.

    Args:
        name: What it is called in the cluster's folder and in messages.
        reference: ``generate``, ``env:NAME`` or ``file:PATH``.
        folder: The cluster's folder of secrets.
        make: Makes a new value for ``generate``.

    Raises:
        UsageError: The reference leads nowhere.
    """
    kind, _, rest = reference.partition(":")
    if kind in ("env", "file"):
        where = f"environment variable {rest}" if kind == "env" else rest
        try:
            value = _read(kind, rest)
        except (OSError, ValueError) as error:  # what does not decode may still be a secret: it is not repeated
            seen = getattr(error, "strerror", None) or (
                "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            )
            raise UsageError(
                f"the secret {name} is not there",
                where=where,
                seen=seen,
                next=f"export {rest}=... and run again"
                if kind == "env"
                else "write it there in one line, mode 0600, and run again",
                code=Code.SECRET_NOT_THERE,
            ) from None
        form = _FORMS.get(make)
        if reason := unfit(value, _structure) or (form(value) if form is not None else ""):
            raise UsageError(
                f"the secret {name} may not be what it is; nothing was touched",
                where=where,
                wanted=f"at least {SHORTEST} characters that no one guesses, in one line",
                seen=reason,
                next="set another one, or let swarmbook make it: generate",
                code=Code.SECRET_UNFIT,
            )
    else:
        path = folder / name
        if path.exists():
            value = path.read_text(encoding="utf-8").strip()
        else:
            value = make()
            write_private(path, value + "\n")
    return Secret(name, value)


def _read(kind: str, rest: str) -> str:
    """Read what a reference leads to: UTF-8, blanks at its ends included, as a client types it.

    Raises:
        OSError: The file cannot be read.
        ValueError: Nothing is there, or it is not UTF-8.
    """
    if kind == "env":
        # The bytes as they are: a locale would make other characters of them than the client that logs in with them.
        value = os.environb.get(os.fsencode(rest), b"").decode()
        if not value:
            raise ValueError("not set, or empty")
        return value
    line = Path(rest).expanduser().read_bytes().partition(b"\n")[0].removesuffix(b"\r").decode("utf-8-sig")
    if not line.strip():
        raise ValueError("its first line is empty")
    return line


def _no_gossip_key(value: str) -> str:
    with contextlib.suppress(ValueError):
        if len(base64.b64decode(value, validate=True)) in (16, 24, 32):
            return ""
    return "it is no key of Consul's gossip: 16, 24 or 32 bytes in base64, as `consul keygen` prints"


def _no_token(value: str) -> str:
    with contextlib.suppress(ValueError):
        if str(uuid.UUID(value)) == value.lower():
            return ""
    return "it is no token of Consul's: a UUID, as `uuidgen` prints"


#: What a secret has to look like, by what would make it.
_FORMS: dict[Callable[[], str], Callable[[str], str]] = {gossip_key: _no_gossip_key, token: _no_token}
