"""Figures of an application that ran: commits per second, latency, gaps, who was the writer; pure."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swarmbook.application.accounts import TOTAL
from swarmbook.application.tally import Commit, Seen

__all__ = ["Column", "Figures", "columns", "figures", "gaps", "percentile", "writers"]

#: Seconds without a commit from which on it is called a gap.
GAP_S = 0.5


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Args:
        seconds: How long the application ran until it was asked to stop.
        acknowledged: Transfers that were acknowledged; also those that were under way then.
        again: ... at a second try.
        failed: Tries that failed.
        unknown: Transfers of which no one knows what became of them.
        undone: Transfers that are known not to have been done.
        per_second: Transfers that were acknowledged, per second.
        median_s: Latency that half of them did not exceed, seconds.
        p95_s: ... 95 of 100.
        p99_s: ... 99 of 100.
        slowest_s: ... none.
        gap_s: Longest time without a commit, seconds.
        gap_at: When it began, in seconds since the application's begin.
        reads: How many there were.
        stale: Reads that missed a transfer which had been acknowledged before they began.
        wrong: Reads in which the accounts did not hold together what they always hold.
        writers: When each writer was first met, in seconds since the begin, and its name.
    """

    seconds: float
    acknowledged: int
    again: int
    failed: int
    unknown: int
    undone: int
    per_second: float
    median_s: float
    p95_s: float
    p99_s: float
    slowest_s: float
    gap_s: float
    gap_at: float
    reads: int
    stale: int
    wrong: int
    writers: tuple[tuple[float, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return them as data for programs: seconds to the microsecond."""
        data = {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return {**data, "writers": [{"at": round(at, 3), "member": member} for at, member in self.writers]}


@dataclass(frozen=True)
class Column:
    """A short time of the run.

    Args:
        begin: When it began, in seconds since the application's begin.
        per_second: Commits per second in it.
        median_s: Latency that half of them did not exceed, seconds; nothing where there is none.
        slowest_s: Latency of the slowest.
    """

    begin: float
    per_second: float
    median_s: float | None = None
    slowest_s: float | None = None


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that so many of 100 do not exceed: one of them, never one in between; 0 where there is none.

    Args:
        values: In any order.
        part: From 0 to 100.

    Example:
        >>> percentile([3.0, 1.0, 2.0, 4.0], 50)
        2.0
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)] if ordered else 0.0


def gaps(commits: Iterable[Commit], seconds: float, longer_s: float = GAP_S) -> list[tuple[float, float]]:
    """List the times without a commit, each from when to when; what is before the first and after the last counts.

    Args:
        commits: In any order.
        seconds: How long the application ran.
        longer_s: Only those that were longer.
    """
    moments = [0.0, *sorted(commit.at for commit in commits if commit.at < seconds), seconds]
    return [(one, other) for one, other in itertools.pairwise(moments) if other - one > longer_s]


def writers(met: Iterable[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """List when another member was first met as the writer: the first one, and each change.

    Args:
        met: When, and which member a writer's new session led to.
    """
    found: list[tuple[float, str]] = []
    for at, member in sorted(met):
        if not found or found[-1][1] != member:
            found.append((at, member))
    return tuple(found)


def figures(seen: Seen) -> Figures:
    """Compute the figures.

    Args:
        seen: What the application has done.
    """
    took = [commit.seconds for commit in seen.commits]
    within = sum(commit.at < seen.seconds for commit in seen.commits)
    empty = gaps(seen.commits, seen.seconds, 0.0)
    begin, end = max(empty, key=lambda gap: gap[1] - gap[0], default=(0.0, 0.0))
    return Figures(
        seen.seconds,
        len(took),
        sum(commit.again for commit in seen.commits),
        seen.failed,
        seen.unknown,
        seen.undone,
        within / seen.seconds if seen.seconds else 0.0,
        percentile(took, 50),
        percentile(took, 95),
        percentile(took, 99),
        max(took, default=0.0),
        end - begin,
        begin,
        len(seen.reads),
        sum(read.stale for read in seen.reads),
        sum(read.total != TOTAL for read in seen.reads),
        writers(seen.met),
    )


def columns(commits: Sequence[Commit], begin: float, end: float, most: int = 160) -> tuple[float, list[Column]]:
    """Divide a time into columns of one width.

    Args:
        commits: In order.
        begin: Seconds since the application's begin.
        end: Likewise; behind the last commit that counts.
        most: How many columns at most.

    Returns:
        The width of a column in seconds, and the columns.
    """
    wide = next(each for each in _WIDTHS if (end - begin) / each <= most)
    moments = [commit.at for commit in commits]
    found = []
    for number in range(max(1, math.ceil((end - begin) / wide))):
        at = begin + number * wide
        there = commits[bisect_left(moments, at) : bisect_left(moments, min(at + wide, end))]
        took = [commit.seconds for commit in there]
        lasts = min(wide, end - at) or wide
        middle, slowest = (percentile(took, 50), max(took)) if took else (None, None)
        found.append(Column(at, len(took) / lasts, middle, slowest))
    return wide, found


_WIDTHS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 1200.0, 3600.0, math.inf)
