"""Hosts that keep what they are asked to run, for tests of what a change really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any


class Host:
    """Keeps what is run; what it is asked gets the given answers one after the other, the last of them from then on."""

    def __init__(self, name: str, *answers: Any) -> None:
        self.name, self.answers, self.ran, self.asked = name, list(answers), list[str](), list[str]()

    def ask(self, probe: Any, **_: Any) -> Any:
        self.asked.append(probe.command)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def run(self, command: str, **_: Any) -> Any:
        self.ran.append(str(command))
        return SimpleNamespace(ok=True, stdout="")


class Fleet(dict[str, Host]):
    """Such hosts by name."""

    def each(self, work: Callable[[Host], Any], names: Iterable[str] | None = None) -> dict[str, Any]:
        return {name: work(self[name]) for name in (self if names is None else names)}
