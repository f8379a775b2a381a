"""The application: writers and readers at work, each by its own connection and in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from swarmbook.application import accounts
from swarmbook.application.journal import Keeper, file_of
from swarmbook.application.reader import SETTINGS, Reader
from swarmbook.application.session import Client, Door
from swarmbook.application.tally import Seen, Tally
from swarmbook.application.writer import Writer

__all__ = ["Application"]

#: Seconds from one transfer's begin to the next one's, and from one read's to the next one's, for each connection. What is
#: measured is how the cluster serves a steady load, not how much it can bear: on two cores, more would be that.
_TRANSFER_S, _READ_S = 0.02, 0.05


class Application:
    """Writers and readers; as a context it starts them, and stops them at the end.

    Args:
        writing: Doors to the member that takes writes.
        reading: Doors to members that are read from.
        folder: Where the journals go; empty.
        connections: How many writers; half as many read, two at least.
    """

    def __init__(self, writing: Sequence[Door], reading: Sequence[Door], folder: Path, connections: int) -> None:
        self._writing, self._reading, self._folder, self._connections = writing, reading, folder, connections
        self._over = threading.Event()
        self._tally = Tally()
        self._threads: list[threading.Thread] = []
        self._ended: Seen | None = None
        self._broken: list[BaseException] = []

    def prepare(self) -> None:
        """Make the tables.

        Raises:
            SwarmbookError: No door opens, or the database refuses.
        """
        client = Client(self._writing, 0, threading.Event(), lambda member: None)
        try:
            accounts.prepare(client.session())
        finally:
            client.close()

    def __enter__(self) -> Application:
        """Start them."""
        self._tally = Tally()
        work: list[Callable[[], None]] = []
        for number in range(1, self._connections + 1):
            client = Client(self._writing, number, self._over, self._tally.met)
            keeper = Keeper(file_of(self._folder, number), number)
            work.append(Writer(number, client, keeper, self._tally, _TRANSFER_S).run)
        for number in range(max(2, self._connections // 2)):
            client = Client(self._reading, number, self._over, lambda member: None, SETTINGS)
            work.append(Reader(client, self._tally, _READ_S).run)
        self._threads = [threading.Thread(target=self._guarded, args=(one,), daemon=True) for one in work]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop them: a transfer that is under way comes to its end."""
        self._ended = self._tally.seen()
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._broken and exc[1] is None:
            raise self._broken[0]

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (
            BaseException
        ) as error:  # a fault of our own: it ends the application, and is raised where it was started
            self._broken.append(error)
            self._over.set()

    def seen(self) -> Seen:
        """Return what it has done so far; after the end, all that it had done when it was told to stop."""
        if self._ended is None:
            return self._tally.seen()
        final = self._tally.seen()
        last = max([self._ended.seconds, *(commit.at for commit in final.commits)])
        return Seen(last, final.commits, final.reads, final.met, final.failed, final.unknown, final.undone)

    def go_on(self, seconds: float, told: Callable[[Seen], None], every_s: float = 1.0) -> None:
        """Let it run.

        Args:
            seconds: For how long.
            told: Hears how far it is, again and again.
            every_s: Seconds between two words; more where telling takes long.
        """
        ends = time.monotonic() + seconds
        while not self._over.is_set() and (left := ends - time.monotonic()) > 0:
            self._over.wait(min(left, every_s))
            told(self.seen())
