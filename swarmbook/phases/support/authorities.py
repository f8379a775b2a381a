"""How an authority is replaced without an outage: by stages, each of which all nodes have before the next one begins."""

from __future__ import annotations

from swarmbook.access.pki import Purpose, Stage, forget_first
from swarmbook.book.book import Book
from swarmbook.model.change import Action, Change

__all__ = ["advance", "replacement"]


def replacement(purpose: Purpose, stage: Stage | None = None) -> list[Change]:
    """Plan the rest of a replacement; nothing if none is going on.

    Args:
        purpose: Whose authority it is.
        stage: How far it is; None for one that goes on.
    """
    return [] if stage is Stage.STEADY else [Change("cluster", Action.REPLACE_AUTHORITY, (purpose.value,))]


def advance(book: Book, purpose: Purpose) -> bool:
    """Go on to the next stage of a replacement, under the cluster's lock.

    Args:
        book: The open book.
        purpose: Whose authority it is.

    Returns:
        Whether there is one.
    """
    authority = book.authority(purpose)
    if authority.stage is Stage.STEADY:
        return False
    with book.cluster.lock(f"{book.phase}: {purpose.value} CA"):
        authority.advance()
        forget_first(book.cluster.pki_folder)
    return True
