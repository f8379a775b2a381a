"""What an agent says of its member, and how Prometheus is given it.

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from swarmbook.machines.images.galera.follower import Replica

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
    follows: str = ""
    replica: Replica | None = None

    def standby(self) -> dict[str, object]:
        """Say which cluster is followed; and how, where this is the member that does so."""
        if self.replica is None:
            return {"of": self.follows}
        found = self.replica
        return {"of": self.follows, "state": found.state, "seconds": found.seconds, "received": found.received, "error": found.error}  # fmt: skip


def metrics(word: Word, writer: bool, reader: bool, fresh: bool) -> str:
    """Say it as Prometheus reads it; of a look that is too old, that the member is neither, and in no primary component."""
    found = {
        "writer": writer, "synced": reader, "primary": fresh and word.primary, "open": fresh and not word.read_only, "term": word.term, "fresh": fresh,
    }  # fmt: skip
    if fresh and word.follows:
        found["follows"] = True
    if fresh and word.replica is not None:
        found["replica_runs"] = word.replica.state == "runs"
        if word.replica.seconds is not None:
            found["replica_behind_seconds"] = word.replica.seconds
    lines = [
        f"# TYPE swarmbook_member_{name} gauge\nswarmbook_member_{name} {int(value)}" for name, value in found.items()
    ]
    with contextlib.suppress(OSError), open(CERTIFICATES, encoding="ascii") as file:
        lines.append(file.read().strip())
    return "\n".join(lines)
