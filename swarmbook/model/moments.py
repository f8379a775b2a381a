"""The way to a moment: from which backup, and through which pieces of the archive of binary logs; or why there is none. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum

from swarmbook.model.archive import Piece, Span, joined, number_of, span_in_words
from swarmbook.model.snapshots import Snapshot

__all__ = ["Moment", "Part", "Reach", "Refusal", "Way", "Why", "reach_of", "read_moment", "shown", "way_to"]

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)Z?", re.ASCII)
_GTID = re.compile(r"(\d{1,10}-\d{1,10})-(\d{1,19})", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """A moment that is to be restored: a time, or a transaction.

    Args:
        at: The time: transactions that are of this second, or of a later one, are not in it.
        source: Domain and server of the transaction's GTID.
        number: Of the transaction: it is the last that is in it.
    """

    at: datetime | None = None
    source: str = ""
    number: int = 0

    def __str__(self) -> str:
        return shown(self.at) if self.at is not None else f"{self.source}-{self.number}"

    @property
    def word(self) -> str:
        """In one word."""
        return str(self).removesuffix(" UTC").replace(" ", "T")


def shown(when: datetime) -> str:
    """Show a time to a person."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def read_moment(text: str) -> Moment:
    """Read a moment.

    Example:
        >>> read_moment("7-7-812").number, str(read_moment("2026-11-28 14:03:07"))
        (812, '2026-11-28 14:03:07 UTC')

    Args:
        text: A time, UTC, as ``YYYY-MM-DD HH:MM:SS``, or a GTID.

    Raises:
        ValueError: It is neither.
    """
    if found := _GTID.fullmatch(text):
        return Moment(source=found[1], number=int(found[2]))
    if not (found := _TIME.fullmatch(text)):
        raise ValueError(f"neither a time nor a GTID: {text[:80]!r}")
    year, month, day, hour, minute, second = map(int, found.groups())
    return Moment(datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc))


@dataclass(frozen=True)
class Part:
    """What is replayed of one piece.

    Args:
        piece: The piece.
        after: The number after which it begins.
        through: The last number that is in it.
    """

    piece: Piece
    after: int
    through: int


@dataclass(frozen=True)
class Way:
    """How a moment is reached.

    Args:
        base: The backup.
        source: Domain and server of the GTIDs.
        parts: What is replayed, in order.
        before: The first transaction of this time, or of a later one, ends it; None where the last part's end does.
    """

    base: Snapshot
    source: str
    parts: tuple[Part, ...]
    before: datetime | None = None

    @property
    def size(self) -> int:
        """Bytes that are fetched beside the backup."""
        return sum(part.piece.size for part in self.parts)


class Why(str, Enum):
    """Why there is no way to a moment."""

    NO_BACKUP = "no backup is from before it"
    NO_GTID = "the backup before it knows no GTID: it was taken when the members wrote no binary log"
    AFTER_THE_END = "it is after the end of the archive"
    GAP = "it is behind a gap in the archive"
    UNKNOWN = "no backup and no piece of the archive has this transaction"


@dataclass(frozen=True)
class Refusal:
    """There is no way to a moment.

    Args:
        why: In a word.
        gap: What is missing.
        earliest: The earliest moment that can be had; empty where there is none.
        latest: The latest one on the way to this.
    """

    why: Why
    gap: str = ""
    earliest: str = ""
    latest: str = ""


@dataclass(frozen=True)
class Reach:
    """How far one backup leads, by the archive of its history.

    Args:
        base: The backup.
        number: Of its last transaction.
        source: Domain and server of the GTIDs.
        pieces: Of its history.
    """

    base: Snapshot
    number: int
    source: str
    pieces: tuple[Piece, ...]

    @property
    def last(self) -> int:
        """The last number without a gap."""
        rows = joined([(self.number, self.number), *(span for piece in self.pieces for span in piece.spans)])
        return next(last for first, last in rows if first <= self.number <= last)

    @property
    def gap(self) -> Span | None:
        """What is missing behind it, where something follows."""
        beyond = [first for piece in self.pieces for first, _ in piece.spans if first > self.last]
        return (self.last + 1, min(beyond) - 1) if beyond else None

    @property
    def until(self) -> datetime:
        """What was committed before this is within reach."""
        whole = [piece.until for piece in self.pieces if piece.until is not None and piece.last <= self.last]
        return max([self.base.ended, *whole])

    @property
    def latest(self) -> str:
        """The latest moment within reach, for a person."""
        return f"{shown(self.until)}, GTID {self.source}-{self.last}"

    def parts(self, through: int) -> tuple[Part, ...]:
        """Choose pieces as far as a number within reach: as few as can be."""
        found, at = [], self.number
        while at < through:
            able = [
                (last, piece) for piece in self.pieces for first, last in piece.spans if first <= at + 1 <= last
            ]  # fmt: skip
            last, piece = max(able, key=lambda each: (each[0], each[1].time))
            found.append(Part(piece, at, min(last, through)))
            at = last
        return tuple(found)

    def refused(self, why: Why, earliest: str) -> Refusal:
        """Say why no further, and where the gap is, if it is one.

        Args:
            why: Where it is none.
            earliest: The earliest moment that can be had.
        """
        gap = self.gap
        if gap is None or why is Why.NO_BACKUP:
            return Refusal(why, "", earliest, self.latest)
        return Refusal(Why.GAP, span_in_words(self.source, gap), earliest, self.latest)


def way_to(moment: Moment, snapshots: Sequence[Snapshot], pieces: Sequence[Piece], owner: str) -> Way | Refusal:
    """Find the way to a moment: the last backup before it, and what the archive has from there on.

    A number comes twice where a cluster was restored: its new history counts on from the backup. A GTID is then the one of the
    latest history that has it; a time is not ambiguous.

    Args:
        moment: Where to.
        snapshots: Of the repository, the oldest first.
        pieces: Of the archive.
        owner: Whose may be taken: see :attr:`Snapshot.owner`.
    """
    bases = [one for one in snapshots if one.complete and one.owner == owner]
    held = [one for one in pieces if one.owner == owner]
    with_gtid = [reach for base in bases if (reach := reach_of(base, held)) is not None]
    earliest = shown(with_gtid[0].base.ended) if with_gtid else ""
    if moment.at is not None:
        return _to_time(moment.at, bases, with_gtid, earliest)
    return _to_number(moment, with_gtid, earliest)


def reach_of(base: Snapshot, pieces: Sequence[Piece]) -> Reach | None:
    """Return how far a backup leads; None where it knows no GTID.

    Args:
        base: The backup.
        pieces: Of the archive, of its owner.
    """
    own = tuple(piece for piece in pieces if piece.history == base.history and piece.spans)
    source = own[-1].source if own else base.gtid.rpartition("-")[0].rpartition(",")[2]
    number = number_of(base, source) if source else None
    own = tuple(piece for piece in own if piece.source == source)
    return Reach(base, number, source, own) if number is not None and base.history else None


def _to_time(at: datetime, bases: Sequence[Snapshot], reaches: Sequence[Reach], earliest: str) -> Way | Refusal:
    before = [base for base in bases if base.ended <= at]
    if not before:
        return Refusal(Why.NO_BACKUP, "", earliest, reaches[-1].latest if reaches else "")
    reach = next((each for each in reaches if each.base is before[-1]), None)
    if reach is None:
        return Refusal(Why.NO_GTID, "", earliest, shown(before[-1].ended))
    last = reach.last
    ends = [
        piece.last for piece in reach.pieces if piece.until is not None and piece.until >= at and piece.last <= last
    ]
    if not ends:
        return reach.refused(Why.AFTER_THE_END, earliest)
    return Way(reach.base, reach.source, reach.parts(min(ends)), at)


def _to_number(moment: Moment, reaches: Sequence[Reach], earliest: str) -> Way | Refusal:
    ours = [reach for reach in reaches if reach.source == moment.source]
    # The latest history first, and of that the latest backup.
    for reach in reversed(ours):
        if reach.number <= moment.number <= reach.last:
            return Way(reach.base, reach.source, reach.parts(moment.number))
    behind = [
        reach for reach in reversed(ours) if any(moment.number <= piece.last for piece in reach.pieces) and reach.number < moment.number
    ]  # fmt: skip
    if behind:
        return behind[0].refused(Why.GAP, earliest)
    if ours and moment.number < min(reach.number for reach in ours):
        return Refusal(Why.NO_BACKUP, "", earliest, ours[-1].latest)
    if ours:
        return Refusal(Why.AFTER_THE_END, "", earliest, ours[-1].latest)
    return Refusal(Why.UNKNOWN, "", earliest, reaches[-1].latest if reaches else "")
