"""Being asked to stop: SIGINT, SIGTERM and SIGHUP, as a flag and a call."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["StopSignals"]


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag and a call, as long as the ``with`` block runs.

    No exception is thrown from the handler, so that a signal can never tear a save or a shutdown
    apart; repeated signals change nothing. Outside the main thread only :meth:`request` works.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._callbacks: list[Callable[[], object]] = []
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        return self.signum is not None

    @property
    def name(self) -> str:
        return signal.Signals(self.signum).name if self.signum is not None else ""

    def request(self, signum: int = signal.SIGINT) -> None:
        if self.signum is None:
            self.signum = signum
        for callback in list(self._callbacks):
            callback()

    @contextlib.contextmanager
    def subscribed(self, callback: Callable[[], object]) -> Iterator[None]:
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.request(signum)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                # nohup means: outlive the terminal. An ignored SIGINT only means "started with &",
                # and a person who sends one nevertheless wants the run to stop.
                if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                    continue
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for signum, before in self._before.items():
            signal.signal(signum, before if before is not None else signal.SIG_DFL)
        self._before.clear()
