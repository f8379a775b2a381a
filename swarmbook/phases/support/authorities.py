"""How an authority is replaced without an outage: by stages, each of which all nodes have before the next one begins."""

from __future__ import annotations

from collections.abc import Iterable

from swarmbook.access.pki import Purpose, Stage, forget_first
from swarmbook.book.book import Book
from swarmbook.model.change import Action, Change

__all__ = ["advance", "replacements", "replacing"]


def replacing(book: Book, *purposes: Purpose) -> tuple[Purpose, ...]:
    """List those of some purposes whose authorities are being replaced, and go on by themselves.

    The database's waits in its first stage: a person has to give its clients the next generation (``swarmbook rotate``).

    Args:
        book: The open book.
        purposes: Which.
    """

    def goes_on(purpose: Purpose) -> bool:
        stage = book.authority(purpose).stage
        return stage is Stage.ISSUING or (stage is Stage.INTRODUCED and purpose is not Purpose.DATABASE)

    return tuple(filter(goes_on, purposes))


def replacements(purposes: Iterable[Purpose]) -> list[Change]:
    """Plan the rest of some replacements.

    Args:
        purposes: What :func:`replacing` gave.
    """
    return [Change("cluster", Action.REPLACE_AUTHORITY, (purpose.value,)) for purpose in purposes]


def advance(book: Book, *purposes: Purpose) -> bool:
    """Take the replacements that go on to their next stage, under the cluster's lock.

    Args:
        book: The open book.
        purposes: Which to look at.

    Returns:
        Whether there was one; then it has to reach the nodes.
    """
    going_on = replacing(book, *purposes)
    if not going_on:
        return False
    with book.cluster.lock(f"{book.phase}: {', '.join(purpose.value for purpose in going_on)} CA"):
        for purpose in going_on:
            book.authority(purpose).advance()
        forget_first(book.cluster.pki_folder)
    return True
