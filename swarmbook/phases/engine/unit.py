"""An engine's start line, read from its unit's files as systemd reads them, and the options that it gives."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["options_of", "start_line"]

_MOST = 4096
#: What dockerd calls an option in daemon.json, where it is not the same word.
_KEYS = {
    "dns-opt": "dns-opts", "exec-opt": "exec-opts", "host": "hosts", "label": "labels", "log-opt": "log-opts", "storage-opt": "storage-opts",
    "graph": "data-root", "b": "bridge", "D": "debug", "G": "group", "g": "data-root", "H": "hosts", "l": "log-level", "s": "storage-driver",
}  # fmt: skip


def start_line(files: Iterable[str]) -> str:
    """Return the start line that counts; empty where none does.

    Args:
        files: Texts of the unit and of its drop-ins, in systemd's order.

    Raises:
        ValueError: It is longer than anyone writes.
    """
    found = ""
    for text in files:
        section = ""
        for line in _lines(text):
            if line.startswith("["):
                section = line
            elif section == "[Service]":
                key, _, value = line.partition("=")
                if key.strip() == "ExecStart":  # an empty one takes back those before it
                    found = value.strip()
    if len(found) > _MOST:
        raise ValueError(f"a start line of {len(found)} characters")
    return found


def _lines(text: str) -> Iterator[str]:
    """Join continued lines; comments may stand in between."""
    begun = ""
    for raw in text.split("\n"):
        line = raw.lstrip()
        if line[:1] in ("#", ";") or not (line or begun):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            begun += f"{line[:-1]} "
            continue
        yield (begun + line).strip()
        begun = ""
    if begun:
        yield begun.strip()


def options_of(argv: Sequence[str], line: str) -> frozenset[str]:
    """List the options that an engine is started with, by their names in daemon.json.

    Args:
        argv: Of the process that runs; empty where none does.
        line: The start line, in which variables still stand.
    """
    if not argv:
        try:
            argv = shlex.split(line)
        except ValueError:
            argv = line.split()
    found = set()
    for word in argv[1:]:
        if word.startswith("--") and len(word) > 2:
            name = word[2:].partition("=")[0]
            if not word.lower().endswith("=false"):
                found.add(_KEYS.get(name, name))
        elif word.startswith("-") and len(word) > 1:
            found.add(_KEYS.get(word[1], word[1]))
    return frozenset(found)
