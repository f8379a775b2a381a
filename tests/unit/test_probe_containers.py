"""Containers that look from inside: a manager that is slow to assign an address is waited for, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from swarmbook.access.hosts import Host
from swarmbook.base.errors import CommandFailed, WaitTimeout
from swarmbook.book.book import Book
from swarmbook.phases.support.probes import Probes

#: As an engine 26.1 said it on a lab of seven nodes at a load of 35.
LATE = (
    "exit 1\ndocker: Error response from daemon: attaching to network failed, make sure your network options are correct and "
    "check manager logs: context deadline exceeded."
)
WRONG = "exit 1\ndocker: Error response from daemon: network backend not found."


class Slow:
    name = "sw1"

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    def ask(self, probe: Any) -> str:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.startswith("exit"):
            raise CommandFailed("a command failed on sw1", where="sw1: docker run", seen=answer)
        return answer


def started(host: Slow, timeout_s: float = 30) -> str:
    book = cast(Book, SimpleNamespace(params=SimpleNamespace(wait_timeout=timeout_s)))
    return Probes(book, "backend")._started(cast(Host, host), cast(Any, None))


def test_a_manager_that_is_busy_is_waited_for() -> None:
    assert started(Slow(LATE, LATE, "10.200.0.9")) == "10.200.0.9"


def test_for_a_while() -> None:
    with pytest.raises(WaitTimeout) as caught:
        started(Slow(LATE), 0.2)
    assert "a container on the network backend starts: not within 0.2 s" in str(caught.value)
    assert "context deadline exceeded" in str(caught.value) and "wait_timeout" in str(caught.value)


def test_what_does_not_pass_is_said_at_once() -> None:
    host = Slow(WRONG, "10.200.0.9")
    with pytest.raises(CommandFailed, match="network backend not found"):
        started(host)
    assert host.answers == ["10.200.0.9"]
