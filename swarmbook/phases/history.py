"""Phase 08, at its end: who worked when, from what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarmbook.base.errors import WorldError
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.step import look
from swarmbook.model.checks import Table
from swarmbook.model.ledger import FILE, BrokenChain, read_chain
from swarmbook.model.rundir import RunFolder
from swarmbook.record.reader import from_chain
from swarmbook.show.drawing import busy, timeline

__all__ = ["course"]

Work = Sequence[tuple[str, float, float]]


@look(hosts=0)
def course(book: Book) -> Table:
    """Show which host worked when: in a run from its first notebook on, by hand in this notebook.

    Raises:
        WorldError: The run's ledger does not hold together.
    """
    folder = RunFolder.of_this_process()
    work = of_run(folder.path) if folder else book.transcript.work_since(0, book.opened)
    if work:
        title = f"Who worked when in {'this run' if folder else 'this notebook'}"
        show_picture(timeline(work, title), f"{title}: the table below")
    hosts = sorted({host for host, _, _ in work})
    spans = {host: [(begin, end) for name, begin, end in work if name == host] for host in hosts}
    rows = [[host, str(len(its)), f"{busy(its):.1f}"] for host, its in spans.items()]
    return Table(["host", "commands", "seconds at work"], rows)


def of_run(folder: Path) -> Work:
    """Give host, begin and end in seconds since the run's begin, of each command in the ledger of a run's folder.

    Args:
        folder: The run's folder; the run may still be writing.

    Raises:
        WorldError: The ledger does not hold together.
    """
    path = folder / FILE
    try:
        return list(from_chain(folder, read_chain(path.read_bytes())).work())
    except BrokenChain as error:
        raise WorldError(
            "the ledger of this run does not hold together",
            where=str(path),
            seen=str(error),
            next=f"swarmbook audit {typed(folder)}",
        ) from None
