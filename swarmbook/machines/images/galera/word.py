"""What an agent says of its member, and how Prometheus is given it.

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

__all__ = ["CERTIFICATES", "Word", "metrics"]

#: When the member's certificates end: they do not change while its container lives, so its entrypoint has written it down.
CERTIFICATES = "/run/galera/certificates"


@dataclass(frozen=True)
class Word:
    """What the agent says, and of when it is."""

    writer: int = 503
    reader: int = 503
    at: float = float("-inf")
    state: str = "starting"
    who: str = ""
    term: int = 0
    asked: str = ""
    primary: bool = False
    read_only: bool = True
    why: str = ""


def metrics(word: Word, writer: bool, reader: bool, fresh: bool) -> str:
    """Say it as Prometheus reads it; of a look that is too old, that the member is neither, and in no primary component."""
    found = {
        "writer": writer, "synced": reader, "primary": fresh and word.primary, "open": fresh and not word.read_only, "term": word.term, "fresh": fresh,
    }  # fmt: skip
    lines = [
        f"# TYPE swarmbook_member_{name} gauge\nswarmbook_member_{name} {int(value)}" for name, value in found.items()
    ]
    with contextlib.suppress(OSError), open(CERTIFICATES, encoding="ascii") as file:
        lines.append(file.read().strip())
    return "\n".join(lines)
