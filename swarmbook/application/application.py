"""The application: writers and readers at work, each by its own connection and in its own thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
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
        self._ended: float | None = None
        self._ready = threading.Barrier(1)
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
        """Start them: all at once, when each has its session.

        Raises:
            SwarmbookError: One gets none.
        """
        self._tally = Tally()
        workers: list[Writer | Reader] = []
        for number in range(1, self._connections + 1):
            client = Client(self._writing, number, self._over, self._tally.met)
            keeper = Keeper(file_of(self._folder, number), number)
            workers.append(Writer(number, client, keeper, self._tally, _TRANSFER_S))
        for number in range(max(2, self._connections // 2)):
            client = Client(self._reading, number, self._over, lambda member: None, SETTINGS)
            workers.append(Reader(client, self._tally, _READ_S))
        self._ready = threading.Barrier(len(workers) + 1, self._tally.begin)
        self._threads = [threading.Thread(target=self._guarded, args=(worker,), daemon=True) for worker in workers]
        for thread in self._threads:
            thread.start()
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            self._stop()
            raise self._broken[0] from None
        except BaseException:
            self._ready.abort()
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop them: a transfer that is under way comes to its end."""
        self._ended = self._tally.now()
        self._stop()
        if self._broken and exc[1] is None:
            raise self._broken[0]

    def _stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, worker: Writer | Reader) -> None:
        with contextlib.closing(worker):
            try:
                worker.connect()
                self._ready.wait()
                worker.run()
            except threading.BrokenBarrierError:  # who broke it says why
                pass
            except BaseException as error:  # no door, or a fault of our own: raised where it was started
                self._broken.append(error)
                self._over.set()
                self._ready.abort()

    def seen(self) -> Seen:
        """Return what it has done so far; after its end, up to when it was asked to stop, and what came to its end after that."""
        seen = self._tally.seen()
        return seen if self._ended is None else replace(seen, seconds=self._ended)

    def go_on(self, seconds: float, heard: Callable[[Seen], None], every_s: float = 1.0) -> None:
        """Let it run.

        Args:
            seconds: For how long.
            heard: Hears how far it is, again and again.
            every_s: Seconds between two words; more where telling takes long.
        """
        ends = time.monotonic() + seconds
        while not self._over.is_set() and (left := ends - time.monotonic()) > 0:
            self._over.wait(min(left, every_s))
            heard(self.seen())
