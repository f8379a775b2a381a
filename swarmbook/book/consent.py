"""Consent: what costs or destroys is done after its typed word, and within the plan that the run is held to."""

from __future__ import annotations

from collections.abc import Iterable

from swarmbook.base.errors import ConfirmationMissing
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.model.change import Change, Word, typed
from swarmbook.model.plan import FILE, Plan, read_plan
from swarmbook.model.rundir import RunFolder
from swarmbook.show.changes import sentence

__all__ = ["confirm", "held_plan"]


_DONE = {
    Word.ORDER: "ordered",
    Word.DESTROY: "removed",
    Word.CANCEL: "removed",
    Word.LOSE: "given up",
    Word.RESTORE: "replaced",
    Word.PROMOTE: "promoted",
}


def held_plan() -> Plan | None:
    """Return the plan that this run is held to, if it is held to one."""
    folder = RunFolder.of_this_process()
    return read_plan(folder.path / FILE) if folder is not None and (folder.path / FILE).exists() else None


def confirm(book: Book, changes: Iterable[Change]) -> None:
    """Refuse what costs or destroys without its typed word.

    Raises:
        ConfirmationMissing: The word is neither in the parameter ``confirm`` nor typed into the notebook's box.
    """
    words: dict[Word, list[Change]] = {}
    for change in changes:
        if change.word is not None:
            words.setdefault(change.word, []).append(change)
    for word, wanting in words.items():
        wanted, things = typed(word, wanting), [f"{change.host}: {sentence(change)}" for change in wanting]
        if book.params.confirm == wanted or book.grants(wanted, things):
            continue
        raise ConfirmationMissing(
            f"not confirmed: {many(len(things), 'thing')} would be {_DONE[word]}",
            wanted=f"confirm = {wanted!r}",
            seen=f"confirm = {book.params.confirm!r}\n" + "\n".join(things),
            next=f"set confirm to {wanted!r} in the parameters cell, or on a terminal type the word when asked",
        )
