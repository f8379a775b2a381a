"""Who may call a rehearsal: a caller with its key, which every process that serves one draws for itself.

An instance is a machine with all the rights of this computer's engine, so another user of this computer must not order one.
A key is passed on within its process; what has to be read by another one, ``slcli`` say, lies in a file of mode 0600.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as NoSettings
from pathlib import Path
from urllib.parse import urlsplit

from swarmbook.base.files import write_private

__all__ = ["USERNAME", "kept_key", "new_key", "settings", "shown_to_slcli"]

USERNAME = "rehearsal"


def new_key() -> str:
    """Draw a key, as long as a real one, and not to be taken for one."""
    return "REHEARSAL" + secrets.token_hex(28)[:55]


def settings(url: str, key: str) -> str:
    """Return the text of the file that ``slcli -C`` takes."""
    return f"# REHEARSAL: for slcli -C FILE\n[softlayer]\nusername = {USERNAME}\napi_key = {key}\nendpoint_url = {url}\ntimeout = 60\n"


def _file(home: Path, url: str) -> Path:
    return home / "rehearsal" / f"slcli-{urlsplit(url).port}.conf"


@contextlib.contextmanager
def shown_to_slcli(home: Path, url: str, key: str) -> Iterator[Path]:
    """Keep the settings for ``slcli`` in a file that only its owner reads; it goes when the rehearsal does.

    Args:
        home: Where ``clusters/`` lies.
        url: Where the rehearsal listens.
        key: Of the rehearsal.

    Yields:
        The file.
    """
    file = _file(home, url)
    write_private(file, settings(url, key))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def kept_key(home: Path, url: str) -> str:
    """Return the key of a rehearsal that another process of ours serves at a URL; empty where none does.

    Args:
        home: Where ``clusters/`` lies.
        url: Where it listens.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, NoSettings):
        kept = ConfigParser(interpolation=None)
        kept.read_string(_file(home, url).read_text(encoding="utf-8"))
        return kept["softlayer"]["api_key"]
    return ""
