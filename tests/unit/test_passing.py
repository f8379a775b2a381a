"""What passes by itself on a fresh host is waited for, with a limit, and named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.access.commands import sh
from swarmbook.access.probe import Refused
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed
from swarmbook.phases.support import passing
from swarmbook.phases.support.passing import STARTING, USERS_OF_PACKAGES, USERS_SCRIPT, await_start, run_with_packages
from swarmbook.testing.errors import raises

INSTALL = sh("apt-get install -y jq")
LOCKED = "exit 100\nE: Could not get lock /var/lib/apt/lists/lock. It is held by process 431 (apt-get)"


class Host:
    """Answers with one thing after the other; the last one stays."""

    name = "sw1"

    def __init__(self, answers: list[str], results: list[str] | None = None) -> None:
        self.answers, self.results, self.ran = answers, results or [""], list[str]()

    def ask(self, probe: Any, **_: Any) -> str:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def run(self, command: str, **_: Any) -> Any:
        self.ran.append(command)
        said = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if said:
            raise CommandFailed("a command failed on sw1", seen=said)
        return SimpleNamespace(ok=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    real = passing.wait_for
    monkeypatch.setattr(passing, "wait_for", lambda *a, **k: real(*a, **k, first_s=0.001, slowest_s=0.001))


def test_nobody_works_with_the_package_manager() -> None:
    host: Any = Host([""])
    run_with_packages(host, INSTALL, 60)
    assert host.ran == [INSTALL]


def test_who_works_with_it_is_waited_for() -> None:
    host: Any = Host(["unattended-upgr (process 431)", "dpkg (process 500)", ""])
    run_with_packages(host, INSTALL, 60)
    assert host.ran == [INSTALL]


def test_one_who_came_between_the_look_and_the_command_is_waited_for_too() -> None:
    host: Any = Host([""], [LOCKED, LOCKED, ""])
    run_with_packages(host, INSTALL, 60)
    assert host.ran == [INSTALL] * 3


@pytest.mark.parametrize("make", [lambda: Host(["dpkg (process 500)"]), lambda: Host([""], [LOCKED])])
def test_one_who_does_not_end_is_named_when_the_time_is_over(make: Callable[[], Any]) -> None:
    with raises(Code.PACKAGES_LOCKED, "sw1", "process", "wait_timeout"):
        run_with_packages(make(), INSTALL, 0.01)


def test_another_failure_is_not_waited_for() -> None:
    host: Any = Host([""], ["exit 100\nE: Unable to locate package jq"])
    with raises(Code.COMMAND_FAILED, "Unable to locate package"):
        run_with_packages(host, INSTALL, 60)
    assert host.ran == [INSTALL]


def test_a_first_start_is_waited_for_and_named() -> None:
    await_start(Host(["cloud-init is at work: a", "cloud-init is at work: b", ""]), 60)  # type: ignore[arg-type]
    with raises(Code.STARTS_YET, "sw1", "cloud-init is at work: Unpacking", "wait_timeout"):
        await_start(Host(["cloud-init is at work: Unpacking"]), 0.01)  # type: ignore[arg-type]


def test_answers() -> None:
    assert USERS_OF_PACKAGES.answer("users\n 431 unattended-upgr\n 500 my dpkg\n", "sw1") == (
        "unattended-upgr (process 431), my dpkg (process 500)"
    )
    assert USERS_OF_PACKAGES.answer("users\n", "sw1") == STARTING.answer("starting\n", "sw1") == ""
    assert STARTING.answer("starting\n cloud-init is at work:   50 %\n", "sw1") == "cloud-init is at work: 50 %"
    with pytest.raises(Refused):
        USERS_OF_PACKAGES.answer("users\n $(reboot) dpkg\n", "sw1")


def test_who_has_a_lock_open_is_found(tmp_path: Any) -> None:
    lock = tmp_path / "lock"
    script = USERS_SCRIPT.replace("/var/lib/dpkg/lock ", f"{lock} ")
    assert str(lock) in script
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == ""
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1], 'w'); print('open', flush=True); input()", str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"open\n"
        found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
        assert found.split()[0] == str(holder.pid)
    finally:
        holder.communicate(b"\n")
