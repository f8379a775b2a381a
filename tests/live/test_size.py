"""Fifteen nodes, and a computer that is busy: slow is not closed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from .conftest import Lab

pytestmark = pytest.mark.long
NAMES = [f"s{number}" for number in range(1, 16)]
#: Processes that do nothing but keep the computer from doing something else.
BUSY = 12


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NAMES, mariadb_port=3306)


@contextlib.contextmanager
def busy() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def reached(lab: Lab) -> dict[str, str]:
    """What the last run's preflight said of the ports of the others, by node."""
    (notebook,) = lab.runs[-1].glob("01_*.ipynb")
    return {
        check["host"]: check["seen"]
        for cell in json.loads(notebook.read_text())["cells"]
        for output in cell.get("outputs", [])
        for check in (output.get("data", {}).get("application/vnd.swarmbook.step+json") or {}).get("checks", [])
        if check["name"] == "ports of the others"
    }


def test_fifteen_nodes_reach_each_other_and_the_preflight_says_so(lab: Lab) -> None:
    lab.book("run", "--only", "01").expect(0)
    assert reached(lab) == dict.fromkeys(NAMES, "reached")


def test_so_it_does_on_a_computer_that_is_busy(lab: Lab) -> None:
    with busy():
        lab.book("run", "--only", "01").expect(0)
    assert reached(lab) == dict.fromkeys(NAMES, "reached")


def test_a_port_that_is_closed_among_fifteen_is_found_on_a_busy_computer_too(lab: Lab) -> None:
    s7 = lab.machine("s7")
    s7.sh("iptables -A INPUT -p tcp --dport 8300 -j DROP")
    with busy():
        lab.book("run", "--only", "01").refused(1, "s1: ports of the others", "seen not reached: 8300/tcp of s7")
    s7.sh("iptables -D INPUT -p tcp --dport 8300 -j DROP")
    found = reached(lab)
    assert found.pop("s7") == "reached"
    assert all(seen.startswith("not reached: 8300/tcp of s7; open them") for seen in found.values()), found
