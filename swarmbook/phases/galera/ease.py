"""Whether one member may go for a while: all others are Synced, and none of them holds the writers back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, number
from swarmbook.book.book import Book
from swarmbook.phases.galera.members import found_on
from swarmbook.phases.support.members import of_service, service_name

__all__ = ["MOST_PAUSED", "Ease", "Flow", "held_back"]

#: Share of the time that flow control may have held writers back since the last look.
MOST_PAUSED = 0.1


@dataclass(frozen=True)
class Flow:
    """A member's flow control.

    Args:
        paused_ns: For how long it has held writers back since it started, nanoseconds (``wsrep_flow_control_paused_ns``).
        at_s: When it was asked, seconds of a clock that only grows.
    """

    paused_ns: int
    at_s: float


def _flow(service: str) -> Probe[int | None]:
    script = sh(
        "docker exec $(@!{running} -q | head -n 1) mariadb -u root -N -B "
        "-e \"SHOW GLOBAL STATUS LIKE 'wsrep_flow_control_paused_ns'\" 2>/dev/null | cut -f 2 | as paused",
        running=of_service(service),
    )

    def read(facts: Facts) -> int | None:
        found = [line for line in facts["paused"] if line]
        return number(found[0]) if found else None

    return Probe(script, read)


def held_back(before: Mapping[str, Flow], now: Mapping[str, Flow]) -> dict[str, float]:
    """Return the members that held writers back for more than :data:`MOST_PAUSED` of the time between two looks; pure.

    Example:
        >>> held_back({"sw1": Flow(0, 10.0)}, {"sw1": Flow(900_000_000, 11.0)})
        {'sw1': 0.9}

    Args:
        before: By node; one that is not in it was not asked then, and passes.
        now: By node. A count that is smaller than before is that of a member that has been restarted.
    """
    shares = {
        name: (flow.paused_ns - before[name].paused_ns) / 1e9 / max(flow.at_s - before[name].at_s, 1e-3)
        for name, flow in now.items()
        if name in before and flow.paused_ns >= before[name].paused_ns
    }
    return {name: round(share, 2) for name, share in shares.items() if share > MOST_PAUSED}


class Ease:
    """Looks at members again and again; remembers what it saw last.

    Args:
        book: The open book.
        names: The members' nodes.
        size: What each should count; None where that is not to be looked at.
    """

    def __init__(self, book: Book, names: Sequence[str], size: int | None) -> None:
        self._book, self._names, self._size = book, list(names), size
        self._flow: dict[str, Flow] = {}

    def look(self) -> tuple[bool, str]:
        """Tell whether all are Synced, count as many as they should, and hold no one back; and what is seen."""
        params, fleet = self._book.params, self._book.fleet
        members = fleet.each(lambda host: host.ask(found_on(params, host.name, port=False), quiet=True), self._names)
        late = [
            f"{name}: {member.state}, cluster size {member.wsrep.size if member.wsrep else 0}"
            for name, member in members.items()
            if not member.synced or member.wsrep is None or self._size not in (None, member.wsrep.size)
        ]
        if late:
            self._flow = {}
            return False, "; ".join(late)
        paused = fleet.each(lambda host: host.ask(_flow(service_name(params, host.name)), quiet=True), self._names)
        now = {name: Flow(ns, time.monotonic()) for name, ns in paused.items() if ns is not None}
        before, self._flow = self._flow, now
        if before.keys() != now.keys():
            return False, "flow control looked at once"
        held = held_back(before, now)
        return not held, "; ".join(
            f"{name}: flow control holds writers back {share:.0%} of the time" for name, share in held.items()
        )
