"""Phase 05: whether the walls stand, and the cluster's ports are shut to this computer, which is no node."""

from __future__ import annotations

from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable
from swarmbook.phases.support.outside import outside_checks
from swarmbook.phases.support.wall import WALL, Wall

__all__ = ["from_outside", "stands"]


def stands(host: str, wall: Wall) -> Check:
    """Compare a wall with what was confirmed; pure.

    Args:
        host: Its node.
        wall: What of it is there.
    """
    lacks = "" if wall.loaded else "not loaded"
    lacks = lacks or ("" if wall.intact else "changed by hand") or ("" if wall.boots else "not loaded at boot")
    return Check(host, "wall", "stands", f"{lacks}; run 03 again" if lacks else "stands", not lacks)


@look()
def from_outside(book: Book) -> CheckTable:
    """See that the walls stand, and try the cluster's ports at the nodes' public addresses: none of them takes a connection."""
    walls = book.fleet.each(lambda host: host.ask(WALL)) if book.params.walled() else {}
    rows = [stands(host, wall) for host, wall in walls.items()]
    return CheckTable([*rows, *outside_checks(book, before_wall=False)])
