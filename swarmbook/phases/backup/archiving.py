"""The binary logs of a member, closed and streamed into the repository: what lies between two backups can be had again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from swarmbook.access.binlog import Held, Reader, Unwhole
from swarmbook.access.channel import Flow
from swarmbook.access.commands import Script
from swarmbook.access.restic import Restic
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, OutOfOrder, WorldError
from swarmbook.base.secrets import mask
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.archive import Piece, lacking, number_of, span_in_words, tags_of
from swarmbook.model.checks import Check, Table, equal
from swarmbook.model.moments import reach_of, shown
from swarmbook.model.snapshots import Snapshot
from swarmbook.phases.backup.logs import Written, closed, lacked, stream, written
from swarmbook.phases.backup.source import source_among
from swarmbook.phases.backup.step import seen_in
from swarmbook.phases.endpoint.agents import ask_agents, writer_among
from swarmbook.phases.support.members import member_name
from swarmbook.phases.support.repository import LOGS, alone_at, owner_of, place_of_backups, repository_of

__all__ = ["archive", "archived"]

_LAST_WORDS = 2000


@look(hosts=1, sentence="archived the binary logs of a member")
def archive(book: Book) -> Table | list[Check]:
    """Archive what the members have committed since the last time; nothing where they write no binary log."""
    rows = archived(book, book.params.backup_timeout)
    return rows or Table(["binary logs"], [["none: mariadb_binlog_days is 0, so the members write none"]])


def archived(book: Book, patience_s: float) -> list[Check]:
    """Archive what the members have committed since the last time.

    Args:
        book: The open book.
        patience_s: Seconds to wait where another command has the repository for itself.

    Returns:
        What is archived now; nothing where the members write no binary log.

    Raises:
        OutOfOrder: There is no backup that the archive could go on from.
        WorldError: No member may be asked, the repository does not open, or the logs are not whole: then there is no piece of them.
    """
    params, owner = book.params, owner_of(book)
    says = ask_agents(book, all_of_them=False)
    node = source_among(says, len(params.members()), writer_among(params, says))
    container = says[node].container
    log = book.fleet[node].ask(written(container))
    if not log.on:
        return []
    with alone_at(book, patience_s):
        _, there, found = seen_in(book)
        bases = _bases(book, found if there else [], owner, log)
        restic = repository_of(book)
        pieces = [one for one in restic.pieces() if one.owner == owner]
        own = [one for one in pieces if (one.history, one.source) == (log.history, log.source)]
        new = None
        if log.number > (last := _last(own, bases, log)):
            new = _take(book, restic, node, container, log, last)
    return _rows(node, log, [*own, new.piece] if new else own, bases, new)


@dataclass(frozen=True)
class _New:
    """A piece that was just archived.

    Args:
        piece: The piece.
        waited_s: Seconds for which its first transaction was on the members alone: from its commit until the piece was there.
        seconds: How long it took.
    """

    piece: Piece
    waited_s: float
    seconds: float


def _bases(book: Book, found: Sequence[Snapshot], owner: str, log: Written) -> list[Snapshot]:
    """Return the backups of this history, the oldest first."""
    own = [one for one in found if one.complete and one.owner == owner and one.history == log.history]
    bases = [one for one in own if number_of(one, log.source) is not None]
    if not bases:
        raise OutOfOrder(
            "there is no backup that the archive could go on from",
            where=place_of_backups(book),
            wanted="a backup of the cluster as it is now, since it was founded or restored, with a GTID",
            seen=f"{many(len(own), 'backup')} of it, none with a GTID",
            next="swarmbook backup PARAMS",
        )
    kept = datetime.now(timezone.utc) - timedelta(days=book.params.archive_days)
    return [one for one in bases if one.time >= kept] or bases[-1:]


def _last(own: Sequence[Piece], bases: Sequence[Snapshot], log: Written) -> int:
    """Return the number after which the archive goes on."""
    return max((one.last for one in own), default=number_of(bases[0], log.source) or 0)


def _take(book: Book, restic: Restic, node: str, container: str, log: Written, last: int) -> _New | None:
    """Stream the logs that the archive lacks into a new piece."""
    params, began = book.params, time.monotonic()
    now = book.fleet[node].ask(closed(container, log.domain))
    until = datetime.fromtimestamp(now.until, timezone.utc)
    logs, span = lacked(now.logs, last)
    if not logs:
        return None
    piece = Piece(
        "", datetime.now(timezone.utc), book.cluster.name, params.mariadb_cluster_name, member_name(params, node),
        log.history, log.source, (span,), until, sum(each.size for each in logs),
    )  # fmt: skip
    # They say what they hold. Where something is missing in the middle, the piece is given the tags of what it holds indeed.
    for _ in range(2):
        held, id_ = _stream(
            book, restic, node, stream(container, log.folder, [each.name for each in logs]), piece, last
        )
        if id_:
            ended = datetime.now(timezone.utc)
            waited = (until - held.first).total_seconds() if held.first else 0.0
            passed = time.monotonic() - began
            return _New(replace(piece, id=id_, time=ended), max(waited, 0.0) + passed, passed)
        piece = replace(piece, spans=held.spans)
    raise _failed(node, "its logs were others when they were read again")


def _stream(book: Book, restic: Restic, node: str, script: Script, piece: Piece, last: int) -> tuple[Held, str]:
    """Stream logs into a new snapshot; there is none, and no id, where they hold something else than its tags say."""
    reader = Reader(int(piece.source.partition("-")[0]), after=last)
    limit_s = book.params.backup_timeout
    with restic.intake(piece.cluster, tags_of(piece), LOGS) as intake:

        def sink(data: bytes) -> None:
            try:
                reader.feed(data)
            except Unwhole as error:
                raise _failed(node, str(error)) from None
            intake.write(data)

        try:
            output = book.fleet[node].run(script, check=False, timeout_s=limit_s, flow=Flow(sink=sink))
        except CommandFailed as error:
            raise _failed(node, error.seen or error.what) from None
        if not output.ok:
            raise _failed(node, output.stderr)
        try:
            held = reader.end()
        except Unwhole as error:
            raise _failed(node, str(error)) from None
        if held.source != piece.source:
            raise _failed(node, f"its transactions are of {held.source or 'none'}, the cluster's of {piece.source}")
        if held.spans == piece.spans:
            intake.commit(limit_s)
    return held, intake.id


def _failed(node: str, said: str) -> WorldError:
    return WorldError(
        f"the binary logs of the member on {node} were not archived; there is no piece of them",
        where=node,
        wanted="whole binary logs",
        seen=mask(said.strip()[-_LAST_WORDS:]) or "nothing",
        next=f"swarmbook logs PARAMS {node}; then: swarmbook archive PARAMS",
        code=Code.BACKUP_FAILED,
    )


def _rows(node: str, log: Written, own: Sequence[Piece], bases: Sequence[Snapshot], new: _New | None) -> list[Check]:
    """Say what is archived; a gap behind the last backup is a failure, since no moment behind it can be had."""
    reach = reach_of(bases[-1], own)
    assert reach is not None
    first = number_of(bases[0], log.source) or 0
    gaps = lacking([span for one in own for span in one.spans], first)
    rows = [
        Check(node, "archived now", "what is new", _in_words(log, new), True),
        Check("here", "longest outside the archive", "measured", f"{new.waited_s:.0f} s" if new else "nothing waited", True),
        Check("here", "moments that can be had", "from the last backup up to now", f"{shown(bases[-1].ended)} to {reach.latest}", True),
    ]  # fmt: skip
    before = [gap for gap in gaps if gap[1] <= reach.number]
    if before:
        said = "; ".join(span_in_words(log.source, gap) for gap in before)
        rows.append(Check("here", "gaps before the last backup", "none", said, True))
    seen = f"{span_in_words(log.source, reach.gap)}: take another backup" if reach.gap else "none"
    return [*rows, equal("here", "gaps since the last backup", "none", seen)]


def _in_words(log: Written, new: _New | None) -> str:
    if new is None:
        return f"nothing is new since GTID {log.source}-{log.number}"
    said = "; ".join(span_in_words(log.source, span) for span in new.piece.spans)
    return f"GTID {said}, {new.piece.size / 1e6:,.1f} MB in {new.seconds:.1f} s"
