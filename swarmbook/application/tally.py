"""What the application has done so far, kept while it runs: read by who draws it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Commit", "Read", "Seen", "Tally"]


@dataclass(frozen=True)
class Commit:
    """A transfer that was acknowledged.

    Args:
        at: When, in seconds since the application began.
        seconds: How long it took, a second try included.
        again: Whether it took a second try.
        member: Which member acknowledged it.
    """

    at: float
    seconds: float
    again: bool = False
    member: str = ""


@dataclass(frozen=True)
class Read:
    """A read.

    Args:
        at: When, in seconds since the application began.
        stale: Whether a transfer was missing that had been acknowledged before the read began.
        total: What all accounts held together.
    """

    at: float
    stale: bool
    total: int


@dataclass(frozen=True)
class Seen:
    """How far the application is.

    Args:
        seconds: Since it began.
        commits: Acknowledged, in order.
        reads: In order.
        met: When, in seconds since it began, and which member a writer's new session led to.
        failed: How many tries failed.
        unknown: Transfers of which no one knows what became of them.
        undone: Transfers that are known not to have been done.
    """

    seconds: float
    commits: tuple[Commit, ...] = ()
    reads: tuple[Read, ...] = ()
    met: tuple[tuple[float, str], ...] = ()
    failed: int = 0
    unknown: int = 0
    undone: int = 0


class Tally:
    """Counts; safe from several threads.

    Args:
        clock: Seconds, of which only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began, self._guard = clock, clock(), threading.Lock()
        self._commits: list[Commit] = []
        self._reads: list[Read] = []
        self._met: list[tuple[float, str]] = []
        self._count = {"failed": 0, "unknown": 0, "undone": 0}
        self._latest: dict[int, int] = {}

    def now(self) -> float:
        """Return the seconds since the application began."""
        return self._clock() - self._began

    def begin(self) -> None:
        """Begin to count the seconds: all have their sessions."""
        with self._guard:
            self._began = self._clock()
            self._met = [(0.0, member) for _, member in self._met]

    def committed(self, writer: int, number: int, commit: Commit) -> None:
        """Count a transfer that was acknowledged."""
        with self._guard:
            self._commits.append(commit)
            self._latest[writer] = number

    def read(self, read: Read) -> None:
        """Count a read."""
        with self._guard:
            self._reads.append(read)

    def met(self, member: str) -> None:
        """Note which member a writer's new session leads to."""
        with self._guard:
            self._met.append((self.now(), member))

    def failed(self) -> None:
        """Count a try that failed."""
        self._add("failed")

    def unknown(self) -> None:
        """Count a transfer of which no one knows what became of it."""
        self._add("unknown")

    def undone(self) -> None:
        """Count a transfer that is known not to have been done."""
        self._add("undone")

    def _add(self, what: str) -> None:
        with self._guard:
            self._count[what] += 1

    def latest(self) -> dict[int, int]:
        """Return the number of the last transfer that was acknowledged, by writer."""
        with self._guard:
            return dict(self._latest)

    def seen(self) -> Seen:
        """Return how far it is."""
        with self._guard:
            commits = tuple(sorted(self._commits, key=lambda commit: commit.at))
            return Seen(self.now(), commits, tuple(self._reads), tuple(self._met), **self._count)
