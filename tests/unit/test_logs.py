"""Collecting, without machines: times, the files' size and shape, masks, nodes that do not answer, the script on this computer."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.hosts import Host, Output
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import HostUnreachable, UsageError
from swarmbook.book.book import Book
from swarmbook.diagnosis import logs
from swarmbook.diagnosis.symptoms import Section
from swarmbook.params import Params
from swarmbook.testing.errors import raises

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", "2026-11-25T02:58:30"),
        ("2h", "2026-11-25T01:00:00"),
        ("1d", "2026-11-24T03:00:00"),
        ("2026-11-25T02:57:37Z", "2026-11-25T02:57:37"),
        ("2026-11-25T04:57:37+02:00", "2026-11-25T02:57:37"),
        ("2026-11-25 02:57", "2026-11-25T02:57:00"),
    ],
)
def test_since(text: str, moment: str) -> None:
    assert logs.since_text(logs.parse_since(text, NOW)) == moment


@pytest.mark.parametrize("text", ["", "soon", "2", "2 weeks", "-5m", "$(id)"])
def test_since_that_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        logs.parse_since(text, NOW)


def test_page_is_bounded_and_keeps_ends() -> None:
    big = "\n".join(f"line {number} of many" for number in range(200_000))
    page = logs._page(
        "sw1", [Section("system: load", "uptime", "up"), Section("galera: g", "docker logs g", big)], "now"
    )
    assert len(page.encode()) < logs._MOST
    assert "line 0 of many" in page and "line 199999 of many" in page and "characters left out ...]" in page
    assert page.splitlines()[:4] == ["sw1, collected now by swarmbook", "", "   1 system: load", "   2 galera: g"]
    assert "$ uptime\nup\n" in page


@pytest.fixture
def book(node: Callable[..., Any], home: Path) -> Book:
    book = Book("", Params(cluster="lab", nodes=["sw1", "sw2", "sw3"]))
    book.cluster.save_nodes([node("sw1"), node("sw2")], "lab")
    return book


def answering(monkeypatch: pytest.MonkeyPatch, run: Callable[[Host, str], Output]) -> None:
    monkeypatch.setattr(Host, "run", lambda host, command, **_: run(host, command))
    monkeypatch.setattr(logs, "_states", lambda book: {"sw2": "container 1a2b is exited"})


def _mark(script: str) -> str:
    return next(line.partition("=")[2] for line in script.splitlines() if line.startswith("MARK="))


def test_one_answers_one_does_not_one_is_not_made(book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.register("hunter2-hunter2")

    def run(host: Host, script: str) -> Output:
        if host.name == "sw2":
            raise HostUnreachable("sw2 does not answer over SSH", seen="timed out")
        return Output(0, f"{_mark(script)} galera: g, exited 1\tdocker logs g\n[ERROR] it was hunter2-hunter2\n", "")

    answering(monkeypatch, run)
    found = logs.collect(book, tmp_path / "logs", phase="07")
    assert [(n.node, n.answered, n.trouble) for n in found.nodes] == [
        ("sw1", True, ""),
        ("sw2", False, "HostUnreachable: sw2 does not answer over SSH (timed out)"),
        ("sw3", False, "it is not in the cluster's inventory: 01 has not made it"),
    ]
    assert "[ERROR] it was ********" in (tmp_path / "logs" / "sw1.txt").read_text()
    assert "the provider says: container 1a2b is exited" in (tmp_path / "logs" / "sw2.txt").read_text()
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"sw1.txt", "sw2.txt", "sw3.txt"}
    assert str(found.lines[0]).startswith("sw2  node: does not answer: HostUnreachable")
    assert "sw1  galera: g: [ERROR] it was ********" in [str(line) for line in found.lines]
    assert "hunter2" not in str(found.to_json())


def test_a_node_that_never_ends_is_left(book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()

    def run(host: Host, script: str) -> Output:
        if host.name == "sw2":
            leave.wait(60)
        return Output(124 if host.name == "sw1" else 0, f"{_mark(script)} system: load\tuptime\nup\n", "")

    answering(monkeypatch, run)
    monkeypatch.setattr(logs, "_ALL_S", 0.3)
    try:
        found = logs.collect(book, tmp_path, names=["sw1", "sw2"])
        assert [(n.answered, n.trouble) for n in found.nodes] == [
            (True, "not everything came within 30 s"),
            (False, "no answer within 0.3 s"),
        ]
        stopped = logs.collect(book, tmp_path, names=["sw2"], stopped=lambda: True)
        assert stopped.nodes[0].trouble == "stopped by a signal"
    finally:
        leave.set()


def test_no_such_node(book: Book, tmp_path: Path) -> None:
    with raises(Code.NODE_UNKNOWN, "sw9", "lab"):
        logs.collect(book, tmp_path, names=["sw9"])


def test_the_script_where_there_is_no_engine(book: Book, tmp_path: Path) -> None:
    """The very script, with a PATH on which there is no docker: it ends well, and says what is not there."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "awk", "timeout", "cat", "head", "tail", "grep", "df", "env", "tr"):
        found = subprocess.run(
            ["sh", "-c", f"command -v {name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        (tools / name).symlink_to(found)
    script = logs._script(book, "@@mark", NOW)
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False, env={"PATH": str(tools)}
    )
    assert done.returncode == 0, done.stderr
    found = logs._sections(done.stdout, "@@mark")
    assert [section.source for section in found] == ["system", "disk", "network", "kernel", "engine"]
    assert "Docker is not installed" in found[-1].text
    assert "Filesystem" in found[1].text and found[1].command.startswith("df -h / /var/lib/docker")


def test_the_script_bounds_lines_and_sections() -> None:
    script = (Path(logs.__file__).parent / "logs.sh").read_text()
    bound = script[script.index("bound()") : script.index("# section NAME")]
    said = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; head -c 9000 /dev/zero | tr '\\0' x; echo; echo last"
    done = subprocess.run(
        ["sh", "-c", f"{bound}\n{{ {said}; }} | bound"], capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "[1502 earlier lines left out]" and len(lines) == 1501
    assert lines[-2:] == ["[a line of 9000 characters left out]", "last"]
