"""Phase 28, first step: how far the standby is behind, and what would be lost if its source were gone now."""

from __future__ import annotations

from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Table
from swarmbook.phases.standby.pair import look_at

__all__ = ["lag"]


@look(hosts=lambda book: len(book.params.members()))
def lag(book: Book) -> Table:
    """Show what the source has committed, and what of it has arrived and been applied here."""
    pair = look_at(book)
    here, there, domain = pair.here, pair.there, pair.source.domain
    holder = here.holder(book.params)
    replica = here.says[holder].replica if holder in here.says else None
    row = pair.row
    follows = (
        "nothing was followed yet"
        if row is None
        else "took over"
        if not row.wanted
        else "follows"
        if row.hosts
        else "fenced: the other one took over"
    )
    committed = there.own if there is not None else None
    rows = [
        [pair.source.owner, "serves" if there is not None else f"does not answer: {pair.why}"],
        ["its last transaction", f"{domain}-{domain}-{committed}" if committed is not None else "unknown"],
        ["this cluster", follows],
        ["of it, applied here", str(pair.arrived)],
        ["not here yet", "unknown" if committed is None or row is None else str(max(0, committed - pair.arrived))],
        ["followed on", f"{holder}: {replica.state}" if replica is not None else "no member"],
        ["behind, as the replica counts", f"{replica.seconds} s" if replica is not None and replica.seconds is not None else "unknown"],
        ["what keeps it", replica.error if replica is not None and replica.error else "nothing"],
    ]  # fmt: skip
    return Table(["", "now"], rows)
