"""The archive of binary logs: pieces in a repository, as their tags describe them, and which transactions they hold. No I/O.

A GTID is ``DOMAIN-SERVER-NUMBER``. What stands before the number is the same for all transactions of a cluster; the numbers
go up by one, on every member alike. So what an archive lacks is seen from the numbers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from swarmbook.model.snapshots import Snapshot, tagged

__all__ = ["MARK", "Piece", "Span", "joined", "lacking", "number_of", "read_pieces", "span_in_words", "tags_of"]

#: The tag that all pieces have; the snapshots of whole databases have another one.
MARK = "swarmbook-binlog"
#: The first and the last number of transactions in a row.
Span = tuple[int, int]
_SPAN = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_SOURCE = re.compile(r"[0-9]{1,10}-[0-9]{1,10}")
#: More than this are not kept of one piece: what they hold counts as missing.
_SPANS = 20


@dataclass(frozen=True)
class Piece:
    """One piece of the archive: some binary logs of one member, in order.

    Args:
        id: restic's.
        time: When it was begun.
        cluster: The book's cluster.
        database: The parameter ``mariadb_cluster_name``.
        member: It was taken from.
        history: The ``uuid`` of the cluster's history: a restored cluster counts on from a backup, in a history of its own.
        source: Domain and server of its GTIDs, as ``DOMAIN-SERVER``.
        spans: Numbers of its transactions.
        until: What was committed before this is in it, or in an earlier one.
        size: Bytes of the logs.
    """

    id: str
    time: datetime
    cluster: str = ""
    database: str = ""
    member: str = ""
    history: str = ""
    source: str = ""
    spans: tuple[Span, ...] = ()
    until: datetime | None = None
    size: int = 0

    @property
    def short(self) -> str:
        """As restic shows it."""
        return self.id[:8]

    @property
    def owner(self) -> str:
        """Whose it is: the cluster, and its database."""
        return f"{self.cluster}/{self.database}"

    @property
    def last(self) -> int:
        """The number of its last transaction."""
        return self.spans[-1][1] if self.spans else 0


def tags_of(piece: Piece) -> list[str]:
    """Return the tags that describe a piece. It is born with them: giving it others would want the repository for itself.

    Example:
        >>> tags_of(Piece("", datetime(2030, 1, 1), "lab", "galera", "galera-sw2", "u", "7-7", ((1, 5), (9, 9))))[4:]
        ['history=u', 'source=7-7', 'numbers=1-5+9-9']
    """
    said = {
        "cluster": piece.cluster,
        "database": piece.database,
        "member": piece.member,
        "history": piece.history,
        "source": piece.source,
        # A comma would begin another tag.
        "numbers": "+".join(f"{first}-{last}" for first, last in piece.spans[:_SPANS]),
        "until": f"{piece.until.timestamp():.0f}" if piece.until is not None else "",
        "bytes": str(piece.size or ""),
    }
    return [MARK, *(f"{key}={value}" for key, value in said.items() if value)]


def read_pieces(rows: Any) -> list[Piece]:
    """Read what restic lists; what is no piece is left out.

    Args:
        rows: Of ``restic snapshots --json``.

    Raises:
        ValueError: It is no list of pieces.
    """
    found = [_piece(*row) for row in tagged(rows, MARK)]
    return sorted(found, key=lambda one: (one.time, one.id))


def _piece(name: str, time: datetime, said: Mapping[str, str]) -> Piece:
    source = said.get("source", "")
    if source and not _SOURCE.fullmatch(source):
        raise ValueError(f"no domain and server: {source[:80]!r}")
    return Piece(
        name,
        time,
        said.get("cluster", ""),
        said.get("database", ""),
        said.get("member", ""),
        said.get("history", ""),
        source,
        tuple(_span(each) for each in said.get("numbers", "").split("+") if each),
        datetime.fromtimestamp(int(said["until"]), timezone.utc) if "until" in said else None,
        max(int(said.get("bytes", 0)), 0),
    )


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    if not found or int(found[1]) > int(found[2]):
        raise ValueError(f"no numbers: {text[:80]!r}")
    return int(found[1]), int(found[2])


def joined(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap or touch.

    Example:
        >>> joined([(7, 9), (1, 3), (4, 5), (2, 3)])
        [(1, 5), (7, 9)]
    """
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def lacking(spans: Iterable[Span], after: int) -> list[Span]:
    """List what is missing between a number and the last that is there.

    Example:
        >>> lacking([(1, 5), (9, 12), (14, 14)], 3)
        [(6, 8), (13, 13)]

    Args:
        spans: What is there.
        after: The number after which it is looked at.
    """
    found, at = [], after
    for first, last in joined(spans):
        if first > at + 1:
            found.append((at + 1, first - 1))
        at = max(at, last)
    return found


def span_in_words(source: str, span: Span) -> str:
    """Name transactions by their GTIDs.

    Example:
        >>> span_in_words("7-7", (6, 8)), span_in_words("7-7", (6, 6))
        ('7-7-6 to 7-7-8', '7-7-6')
    """
    first, last = span
    return f"{source}-{first}" if first == last else f"{source}-{first} to {source}-{last}"


def number_of(snapshot: Snapshot, source: str) -> int | None:
    """Return the number of the last transaction in a whole backup; None where it does not say.

    Example:
        >>> number_of(Snapshot("", datetime(2030, 1, 1), gtid="0-1-3,7-7-812"), "7-7")
        812

    Args:
        snapshot: The backup.
        source: Domain and server of the archive.
    """
    domain = source.partition("-")[0]
    parts: Sequence[str] = snapshot.gtid.split(",")
    return next((int(gtid.rpartition("-")[2]) for gtid in parts if gtid.partition("-")[0] == domain), None)
