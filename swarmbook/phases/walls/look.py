"""Phase 05: whether the cluster's ports are shut to this computer, which is no node."""

from __future__ import annotations

from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import CheckTable
from swarmbook.phases.support.outside import outside_checks

__all__ = ["from_outside"]


@look()
def from_outside(book: Book) -> CheckTable:
    """Try the cluster's ports at the nodes' public addresses: behind a wall, none of them takes a connection."""
    return CheckTable(outside_checks(book, before_wall=False))
