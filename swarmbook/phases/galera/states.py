"""How the members' states went while a step worked: what it saw while it waited, and what Galera's own log says to the moment."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from swarmbook.access.commands import sh
from swarmbook.access.probe import Probe
from swarmbook.base.errors import SwarmbookError
from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.phases.support.members import of_service, service_name
from swarmbook.show.drawing import states

__all__ = ["course", "read_shifts", "states_shown"]

#: Seconds since 1970, and a state.
Moment = tuple[float, str]
#: Galera's words for a node's states (https://galeracluster.com/library/documentation/node-states.html). Before these a member starts.
_WORDS = {"JOINER": "Joiner", "JOINED": "Joined", "SYNCED": "Synced", "DONOR/DESYNCED": "Donor"}
#: Of a log, how much before the step began: clocks differ a little, and the state that it began with is asked for, too.
_BEFORE_S = 120


@contextlib.contextmanager
def states_shown(book: Book) -> Iterator[None]:
    """Draw a lane for each member in the end, of what ``book.samples`` got meanwhile; also when it ends badly."""
    book.samples.clear()
    interrupted = True  # who wants to stop does not want to wait for nodes
    try:
        yield
        interrupted = False
    except SwarmbookError:
        interrupted = False
        raise
    finally:
        if book.samples:
            shifts = {} if interrupted else _ask(book, time.time() - book.samples[0][0] + _BEFORE_S)
            show_picture(
                states(course(book.samples, shifts), "Members' states while they joined"), "how the members joined"
            )


def _ask(book: Book, since: float) -> Mapping[str, Sequence[Moment]]:
    """Ask for what each member's log says.

    Return nothing when a node does not answer: the step's table, or its error, says that.
    """
    try:
        return book.fleet.each(
            lambda host: host.ask(_shifts(service_name(book.params, host.name), since), quiet=True, timeout_s=10),
            book.params.members(),
        )
    except SwarmbookError:
        return {}


def _shifts(service: str, since: float) -> Probe[Sequence[Moment]]:
    """Ask for Galera's own words on a member's states, of the last seconds."""
    script = sh(
        "for c in $(@!{running} -q); do docker logs --timestamps --since @{since} $c 2>&1 | sed -nE @{shift}; done | as shifts",
        running=of_service(service),
        since=f"{since:.0f}s",
        shift=r"s/^([^ ]+) .*Shifting [A-Z/]+ -> ([A-Z/]+).*/\1 \2/p",
    )
    return Probe(script, lambda facts: read_shifts("\n".join(facts["shifts"])))


def read_shifts(output: str) -> list[Moment]:
    """Read when a member came to which state, from lines of a timestamp of Docker's and a word of Galera's."""
    found = []
    for line in output.splitlines():
        at, _, word = line.partition(" ")
        if word in _WORDS:
            found.append((datetime.fromisoformat(at[:26].rstrip("Z") + "+00:00").timestamp(), _WORDS[word]))
    return found


def course(
    samples: Sequence[tuple[float, str, str]], shifts: Mapping[str, Sequence[Moment]]
) -> list[tuple[float, str, str]]:
    """List every member's states in the order of time, by seconds since the first sample.

    Args:
        samples: Seconds since 1970, member, state: as seen from outside, a little late, and blind while a member receives its data.
        shifts: What each member's log says. From its first word on it is believed; before that, what was seen.
    """
    began = samples[0][0]
    lanes: list[tuple[float, str, str]] = []
    for name in dict.fromkeys([*shifts, *(name for _, name, _ in samples)]):
        logged = sorted(shifts.get(name, ()))
        earlier = [state for at, state in logged if at < began]
        later = [(at, state) for at, state in logged if at >= began]
        seen = [(at, state) for at, member, state in samples if member == name]
        if not seen and not logged:
            continue
        if earlier:
            seen = [(began, earlier[-1])]
        elif not seen:  # no wait, and nothing earlier in its log: it was in service all the time
            seen = [(began, "Synced")]
        first = later[0][0] if later else math.inf
        lanes += [
            (at - began, name, state) for at, state in [*(moment for moment in seen if moment[0] < first), *later]
        ]
    lanes.sort(key=lambda lane: lane[0])
    at, name, state = lanes[-1]
    return [
        *lanes,
        (max(at, samples[-1][0] - began), name, state),
    ]  # what holds at the last moment, holds until the step's end
