"""What stands behind a rehearsed instance: something that takes a while to come up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Condition", "Machines", "MemoryMachines"]


@dataclass(frozen=True)
class Condition:
    """How a machine is now.

    Args:
        running: It is up and can be logged in to.
        doing: What is being done with it, for a person; empty when nothing is.
        public_address: Empty while it has none.
        private_address: Likewise.
        gone: It was there and is no more.
        halted: It is switched off.
    """

    running: bool = False
    doing: str = ""
    public_address: str = ""
    private_address: str = ""
    gone: bool = False
    halted: bool = False


class Machines(Protocol):
    """Where rehearsed instances run. Calls come from several threads, and none may block: a machine comes up by itself."""

    def begin(self, id: int, hostname: str, public_keys: tuple[str, ...], second_disk_gb: int) -> None:
        """Begin to make a machine that lets these keys in as root; nothing new where it was begun before, by any process.

        Args:
            id: By which it is asked for from now on.
            hostname: Its name.
            public_keys: Lines for ``authorized_keys``.
            second_disk_gb: Size of the disk for docker, GB; 0: none.
        """

    def condition(self, id: int) -> Condition:
        """Return how the machine is now."""

    def power_on(self, id: int) -> None:
        """Begin to switch it on."""

    def end(self, id: int) -> None:
        """Begin to take it away."""


class MemoryMachines:
    """Machines that are only counted: addressed after a part of their time, running at its end.

    Args:
        up_s: Seconds until a machine runs.
        end_s: Seconds until one that is cancelled is gone.
        clock: Seconds that pass; a test sets its own.
    """

    def __init__(self, up_s: float = 0.0, end_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._up_s = up_s
        self._end_s = end_s
        self._clock = clock
        self._guard = threading.Lock()
        self._begun: dict[int, float] = {}
        self._ended: dict[int, float] = {}
        self._halted: set[int] = set()
        self.made: dict[int, tuple[str, tuple[str, ...], int]] = {}

    def begin(self, id: int, hostname: str, public_keys: tuple[str, ...], second_disk_gb: int) -> None:
        with self._guard:
            self._begun[id] = self._clock()
            self.made[id] = (hostname, public_keys, second_disk_gb)

    def power_on(self, id: int) -> None:
        with self._guard:
            self._halted.discard(id)

    def halt(self, id: int) -> None:
        """Switch it off, as a person in the portal may."""
        with self._guard:
            self._halted.add(id)

    def end(self, id: int) -> None:
        with self._guard:
            self._ended.setdefault(id, self._clock())

    def condition(self, id: int) -> Condition:
        with self._guard:
            now, at = self._clock(), list(self._begun).index(id) + 1
            # Addresses that are kept for examples (RFC 5737), and private ones.
            public, private = f"203.0.113.{at % 254 + 1}", f"10.77.{at // 254}.{at % 254 + 1}"
            if id in self._ended:
                gone = now - self._ended[id] >= self._end_s
                return Condition(False, "" if gone else "Reclaim", public, private, gone)
            part = 1.0 if self._up_s <= 0 else (now - self._begun[id]) / self._up_s
            if part >= 1:
                return Condition(id not in self._halted, "", public, private, halted=id in self._halted)
            if part < 0.5:
                return Condition(False, "Assign Host")
            return Condition(False, "Setup Operating System", public, private if part >= 0.75 else "")
