"""What ran where: one entry per command, kept for its step and for the ledger of the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmbook.base.plain import plain
from swarmbook.base.secrets import mask
from swarmbook.model.change import Change
from swarmbook.model.checks import Check
from swarmbook.model.ledger import Ledger
from swarmbook.model.material import Material
from swarmbook.model.plan import change_to_json

__all__ = ["Command", "Transcript"]


@dataclass(frozen=True)
class Command:
    """One command on one host; everything in it is masked already.

    Args:
        host: Name of the node, or ``here``.
        text: The command as one would type it.
        exit: Its exit code.
        seconds: How long it took.
        tail: The end of what it printed when it failed.
        began: When it began, in seconds since 1970; 0 where unknown. No part of what makes two commands the same.
    """

    host: str
    text: str
    exit: int
    seconds: float
    tail: str = ""
    began: float = field(default=0.0, compare=False)


class Transcript:
    """Collects commands; safe to use from several threads. Each command also goes into the ledger of the run, when there is one."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._ended: list[float] = []
        self._guard = threading.Lock()
        self._ledger = Ledger.of_this_process()

    def record(self, host: str, text: str, exit: int, seconds: float, output: str = "") -> None:
        """Add a command, masked."""
        tail = mask("\n".join(plain(output).strip().splitlines()[-5:]))[-800:] if exit else ""
        command = Command(host, mask(plain(text)), exit, round(seconds, 3), tail, time.time() - seconds)
        with self._guard:
            self._commands.append(command)
            self._ended.append(time.monotonic())
        if self._ledger is not None:
            # When it began is its time less its seconds.
            row = {name: value for name, value in vars(command).items() if name != "began"}
            self._ledger.append("command", **row)

    def checked(self, checks: Iterable[Check]) -> None:
        """Note what a step's checks wanted and saw; the ledger is their only place."""
        if self._ledger is not None:
            self._ledger.extend(("check", check.to_json()) for check in checks)

    def planned(self, step: str, changes: Iterable[tuple[Change, str]]) -> None:
        """Note what a step is about to do.

        Args:
            step: Its name within its phase.
            changes: Each with its sentence: the ledger is read without us, too.
        """
        if self._ledger is not None:
            rows = [{**change_to_json(change), "detail": words} for change, words in changes]
            self._ledger.append("plan", step=step, changes=rows)

    @property
    def recorded(self) -> bool:
        """Whether a run keeps what is noted here."""
        return self._ledger is not None

    def deployed(self, materials: Iterable[Material]) -> None:
        """Note what a step found deployed."""
        if self._ledger is not None:
            self._ledger.extend(("material", material.to_json()) for material in materials)

    def position(self) -> int:
        """Return the position of the next command, for :meth:`since`."""
        with self._guard:
            return len(self._commands)

    def since(self, position: int) -> tuple[Command, ...]:
        """Return the commands recorded from a position on."""
        with self._guard:
            return tuple(self._commands[position:])

    def work_since(self, position: int, began: float) -> list[tuple[str, float, float]]:
        """Return host, begin and end of each command recorded from a position on.

        Begin and end are in seconds since a moment of the monotonic clock.
        """
        with self._guard:
            pairs = list(zip(self._commands, self._ended))[position:]
        return [(command.host, max(ended - command.seconds - began, 0.0), ended - began) for command, ended in pairs]
