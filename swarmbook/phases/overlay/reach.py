"""What an overlay carries, from every node to every other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarmbook.access.commands import Script, lines, sh
from swarmbook.base.errors import OutOfOrder, WaitTimeout
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import CheckTable, equal
from swarmbook.phases.overlay.step import network_named
from swarmbook.phases.support.images import image_there, nodes_without_image
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.probes import Probes

__all__ = ["Carried", "pending", "reach", "read_pings"]

#: Bytes of IP's and ICMP's headers.
_HEADERS = 28
#: Bytes that every network carries.
_SMALL = 64
#: A node learns from gossip where an address lives, at first from no one; from the moment on at which small packets pass, this
#: many seconds are enough for a full one that was only lost.
_LOST_S = 10.0


@dataclass(frozen=True)
class Carried:
    """What got from one node's container to another's.

    Args:
        small: A small packet.
        full: One of the network's MTU.
        more: One that has a byte more.
    """

    small: bool = False
    full: bool = False
    more: bool = False


#: Source, target.
Pair = tuple[str, str]

# All at once: the kernel refuses what does not fit at once, but ping waits for its second all the same.
_PING = """({ ping -q -c 1 -W 1 -M do -s @{size} @{address} >/dev/null 2>&1 && echo @{name} @{what}; } || true) &"""


def _pings(addresses: Mapping[str, str], mtu: int) -> Script:
    """Send a small packet, one that fits and one that does not to every address; DF is set, so that nothing is cut in two.

    Args:
        addresses: By the name of their node.
        mtu: Of the network, bytes.
    """
    sizes = {"small": _SMALL, "full": mtu - _HEADERS, "more": mtu - _HEADERS + 1}
    every = [
        sh(_PING, size=size, address=address, name=name, what=what)
        for name, address in addresses.items()
        for what, size in sizes.items()
    ]
    return lines(*every, sh("wait"))


def read_pings(answer: Iterable[str], targets: Iterable[str]) -> dict[str, Carried]:
    """Read what got through.

    Args:
        answer: Lines ``NODE SIZE``, one for each packet that came back.
        targets: The nodes that were pinged.
    """
    came = {tuple(line.split()) for line in answer}
    return {name: Carried(*((name, size) in came for size in ("small", "full", "more"))) for name in targets}


def pending(seen: Mapping[Pair, Carried], since: Mapping[Pair, float], now: float) -> list[Pair]:
    """List what is not decided yet: nothing has passed, or a full packet may only have been lost.

    Args:
        seen: What got through, the best of all rounds.
        since: When a small packet first got through, seconds.
        now: The same clock.
    """
    return [pair for pair, carried in seen.items() if not carried.full and now - since.get(pair, now) < _LOST_S]


@look()
def reach(book: Book) -> CheckTable:
    """Ping every node's container from every other's: a packet of the full MTU passes, one byte more does not."""
    manager = require_swarm(book)
    found = book.fleet[manager].ask(network_named(book.params.overlay_network))
    if found is None:
        raise OutOfOrder(
            f"run the step before first: no network {book.params.overlay_network}",
            where=manager,
            next="swarmbook run PARAMS --from 06",
        )
    lacking = nodes_without_image(book.engines(), image_there(book, "consul"))
    if lacking:
        raise OutOfOrder(
            f"run 04 first: no Consul on {', '.join(lacking)}",
            where=", ".join(lacking),
            wanted="the image the probes run from",
            next="swarmbook run PARAMS --from 04",
        )
    with Probes(book, found.name) as inside:
        seen = _until_decided(book, inside, found.mtu)
    return CheckTable(
        equal(
            source,
            f"{found.mtu} bytes to {target}, and {found.mtu + 1}",
            "passes, does not",
            f"{_word(carried.full)}, {_word(carried.more)}",
        )
        for (source, target), carried in seen.items()
    )


def _until_decided(book: Book, inside: Probes, mtu: int) -> dict[Pair, Carried]:
    """Ping in rounds, each time those of which it is not known yet whether they are reached."""
    names = list(inside.addresses)
    seen = {(source, target): Carried() for source in names for target in names if source != target}
    since: dict[Pair, float] = {}

    def one_round() -> tuple[bool, str]:
        due: dict[str, dict[str, str]] = {}
        for source, target in pending(seen, since, time.monotonic()):
            due.setdefault(source, {})[target] = inside.addresses[target]
        answers = book.fleet.each(lambda host: inside.ask(host, _pings(due[host.name], mtu)), due)
        now = time.monotonic()
        for source, answer in answers.items():
            for target, came in read_pings(answer, due[source]).items():
                before = seen[source, target]
                seen[source, target] = Carried(before.small or came.small, came.full, came.more)
                if came.small:
                    since.setdefault((source, target), now)
        left = pending(seen, since, now)
        return not left, "; ".join(f"{source} does not reach {target}" for source, target in left[:10])

    with contextlib.suppress(WaitTimeout):  # the table shows what was seen last
        wait_for("every node reaches every other on the overlay", one_round, timeout_s=book.params.wait_timeout)
    return seen


def _word(passes: bool) -> str:
    return "passes" if passes else "does not"
