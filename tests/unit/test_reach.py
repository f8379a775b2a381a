"""What a node says of its pings, and when it is asked again."""

from __future__ import annotations

import subprocess

import pytest

from swarmbook.phases.dns import servers_found
from swarmbook.phases.overlay.reach import Carried, _pings, pending, read_pings

A, B = ("sw1", "sw2"), ("sw2", "sw1")


def test_what_came_back() -> None:
    answer = ["sw2 small", "sw2 full", "", "ping: bad number", "sw3 small", "sw9 full", "sw3 huge"]
    assert read_pings(answer, ["sw2", "sw3", "sw4"]) == {
        "sw2": Carried(True, True, False),
        "sw3": Carried(True, False, False),
        "sw4": Carried(False, False, False),
    }


@pytest.mark.parametrize(
    ("carried", "since", "asked_again"),
    [
        (Carried(), None, True),  # the node does not know yet where the other is: it is waited for
        (Carried(small=True), 100.0, True),  # lost, perhaps
        (Carried(small=True), 80.0, False),  # small ones pass for long: it is the MTU
        (Carried(full=True), None, False),
        (Carried(True, True, True), 100.0, False),
    ],
)
def test_it_is_asked_again_until_it_is_known(carried: Carried, since: float | None, asked_again: bool) -> None:
    seen = {A: carried, B: Carried(True, True, False)}
    assert pending(seen, {} if since is None else {A: since}, 101.0) == ([A] if asked_again else [])


def test_the_pings_are_a_script_that_a_shell_takes() -> None:
    script = _pings({"sw2": "192.0.2.1", "sw3": "192.0.2.2"}, 1450)
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=True).returncode == 0
    assert [script.count(f"-s {size} ") for size in (64, 1422, 1423)] == [2, 2, 2]


SERVERS = [f"10.0.0.{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("servers", "answer", "fine"),
    [
        (3, "10.0.0.3 10.0.0.1 10.0.0.2", True),
        (3, "10.0.0.3 10.0.0.1", False),
        (1, "10.0.0.1", True),
        (5, "10.0.0.5 10.0.0.1 10.0.0.3", True),
        (5, "10.0.0.5 10.0.0.1", False),
        (5, "10.0.0.5 10.0.0.1 10.0.0.9", False),
        (5, "", False),
    ],
)
def test_of_more_than_three_servers_the_name_leads_to_three(servers: int, answer: str, fine: bool) -> None:
    assert servers_found("sw1", SERVERS[:servers], answer.split()).ok is fine
