"""Which ports a node reaches: tried for real on the loopback, and what is made of the answers, round by round."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.node import Node
from swarmbook.base.codes import Code
from swarmbook.phases.provision.links import (
    Answers,
    Links,
    Listening,
    Port,
    Try,
    _arrived,
    _clear,
    _listen,
    _try,
    try_links,
)
from swarmbook.testing.errors import raises

from .doubles import Fleet, Host
from .sshd import free_port

#: Where listeners have their folder: on a host it is root's /run, and who tests may be someone else.
_RUN = "/run" if os.access("/run", os.W_OK) else tempfile.gettempdir()
SQL = Port("tcp", 3306, "the database")
VXLAN = Port("udp", 4789, "VXLAN")
MakeNode = Callable[..., Node]


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that is ours, and at which no one listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def asked(probe: Any) -> Any:
    command = str(probe.command).replace("/run/swarmbook-", f"{_RUN}/swarmbook-")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=120)
    return probe.answer(done.stdout.replace(f"{_RUN}/swarmbook-", "/run/swarmbook-"), "sw1")


def test_a_port_is_open_or_refused(listening: int, refusing: int) -> None:
    tries = [Try("sw2", "tcp", listening), Try("sw2", "tcp", refusing)]
    answers = asked(_try("sw1", tries, {"sw2": "127.0.0.1"}, 1500))
    assert (answers.through, answers.refused) == (frozenset(tries[:1]), frozenset(tries[1:]))


def test_a_way_that_there_is_not_has_no_answer() -> None:
    """No connection goes to a broadcast address, and none is refused."""
    tries = [Try("sw2", "tcp", 3306), Try("sw2", "udp", 4789)]
    assert asked(_try("sw1", tries, {"sw2": "255.255.255.255"}, 1500)) == Answers()


def test_many_are_tried_at_once(listening: int) -> None:
    """More than fifty nodes have, and each is waited for as long as another one ends."""
    tries = [Try(f"sw{n}", "tcp", listening) for n in range(400)]
    answers = asked(_try("sw1", tries, {one.to: "127.0.0.1" for one in tries}, 1500))
    assert answers.through == frozenset(tries)


def test_listeners_take_what_comes_and_end() -> None:
    if shutil.which("systemd-socket-activate") is None:
        pytest.skip("this computer has no systemd-socket-activate")
    tcp, udp, held = free_port(), free_port(), free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", held))
        ports = [Port("tcp", tcp, "x"), Port("udp", udp, "x"), Port("udp", held, "x")]
        listener = asked(_listen("127.0.0.1", ports))
    try:
        assert {("tcp", tcp), ("udp", udp)} <= listener.ends
        answers = asked(_try("sw1", [Try("sw2", "tcp", tcp), Try("sw2", "udp", udp)], {"sw2": "127.0.0.1"}, 1500))
        assert answers.through == {Try("sw2", "tcp", tcp)}
        with contextlib.closing(socket.create_connection(("127.0.0.1", tcp), 60)):
            pass
        for _ in range(600):
            if (arrived := asked(_arrived(listener.folder))) == {("sw1", udp)}:
                break
        assert arrived == {("sw1", udp)}
    finally:
        asked(_clear(listener.folder))
    assert not Path(listener.folder.replace("/run/", f"{_RUN}/")).exists()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", tcp), 60).close()


# -- what is made of them --------------------------------------------------------------------------------------------------

ADDRESSES = {"sw1": "10.0.0.1", "sw2": "10.0.0.2"}
TCP, UDP, FULL = Try("sw2", "tcp", 3306), Try("sw2", "udp", 4789), Try("sw2", "full")
ENDS = [("tcp", 3306), ("udp", 4789)]


def links(listening: bool = True) -> Links:
    """What sw1 tries at sw2, which has test listeners or holds the ports itself."""
    at = {"sw2": ENDS}
    found = Links(ADDRESSES, at if listening else {}, {} if listening else at)
    found.take({"sw2": Answers(frozenset({Try("sw1", "full")}))}, {})
    return found


def test_what_came_through_is_reached() -> None:
    found = links()
    found.take({"sw1": Answers(frozenset({TCP, FULL}))}, {"sw2": {("sw1", 4789)}})
    assert found.over and str(found) == "4 of 4 tries through"
    heard = found.heard("sw1", [SQL, VXLAN], 1500)
    assert (heard.closed, heard.full, heard.tried) == ({}, {"sw2": True}, {"sw2": 2})


def test_as_long_as_a_round_brings_something_another_one_is_made() -> None:
    found = links()
    found.take({"sw1": Answers()}, {})
    assert not found.over, "a single round without an answer proves nothing"
    found.take({"sw1": Answers(frozenset({FULL}))}, {})
    assert not found.over
    for _ in range(2):
        assert not found.over
        found.take({"sw1": Answers()}, {})
    assert found.over
    heard = found.heard("sw1", [SQL, VXLAN], 1500)
    assert heard.closed == {"sw2": (SQL, VXLAN)} and heard.tried == {"sw2": 2}


def test_a_port_of_ours_whose_service_is_down_is_no_closed_port() -> None:
    """Seen after a power cut of all machines: the port is published, the member behind it waits, and `run` stopped in 01."""
    found = links(listening=False)
    found.take({"sw1": Answers(frozenset({FULL}), frozenset({TCP}))}, {})
    assert found.over
    heard = found.heard("sw1", [SQL, VXLAN], 1500)
    assert heard.closed == {} and heard.tried == {"sw2": 0}, "nor is it said to be reached"


def test_a_port_of_ours_that_is_dropped_is_behind_a_firewall() -> None:
    found = links(listening=False)
    for _ in range(3):
        found.take({"sw1": Answers(frozenset({FULL}))}, {})
    assert found.over and found.heard("sw1", [SQL, VXLAN], 1500).closed == {"sw2": (SQL,)}


def test_our_own_listener_that_is_refused_is_behind_a_firewall() -> None:
    found = links()
    for _ in range(3):
        found.take({"sw1": Answers(frozenset({FULL}), frozenset({TCP}))}, {"sw2": {("sw1", 4789)}})
    assert found.over and found.heard("sw1", [SQL, VXLAN], 1500).closed == {"sw2": (SQL,)}


def test_a_whole_packet_that_was_too_large_once_may_only_have_been_late() -> None:
    found = links()
    found.take({"sw1": Answers(frozenset({TCP}), split=frozenset({FULL}))}, {"sw2": {("sw1", 4789)}})
    assert not found.over and found.heard("sw1", [SQL], 1500).full == {"sw2": False}
    found.take({"sw1": Answers(frozenset({FULL}))}, {})
    assert found.over and found.heard("sw1", [SQL], 1500).full == {"sw2": True}


def test_a_node_without_ping_says_nothing_of_whole_packets() -> None:
    found = links()
    for _ in range(3):
        found.take({"sw1": Answers(frozenset({TCP}))}, {"sw2": {("sw1", 4789)}})
    assert found.over and found.heard("sw1", [SQL, VXLAN], 1500).full == {}


@pytest.mark.parametrize("used", [(), ("sw2",)])
def test_the_tries_of_a_fleet(node: MakeNode, used: tuple[str, ...]) -> None:
    folder = "/run/swarmbook-preflight-abcdef"
    back = Answers(frozenset({Try("sw1", "tcp", 3306), Try("sw1", "full")}))
    there = Answers(frozenset({TCP, FULL}))
    listener = Listening(folder, frozenset({("tcp", 3306)}))
    hosts = {
        "sw1": Host("sw1", listener, there, frozenset(), None),
        "sw2": Host("sw2", back) if used else Host("sw2", listener, back, frozenset(), None),
    }
    fleet: Any = Fleet(hosts)
    nothing: dict[str, frozenset[Port]] = {name: frozenset() for name in hosts}
    heard = try_links(
        fleet, [node(name) for name in hosts], [SQL], nothing, dict.fromkeys(hosts, 1500), used, timeout_s=60
    )
    assert heard["sw1"].closed == heard["sw2"].closed == {}
    assert heard["sw1"].tried == {"sw2": 0 if used else 1} and heard["sw2"].tried == {"sw1": 1}
    assert "rm -rf" in hosts["sw1"].asked[-1] and folder in hosts["sw1"].asked[-1]
    assert any("systemd-socket-activate" in script for script in hosts["sw2"].asked) is not bool(used)


def test_tries_that_take_longer_than_the_time_that_was_given(node: MakeNode) -> None:
    """It names how far it got, and what to raise; the listeners are ended all the same."""
    listener = Listening("/run/swarmbook-preflight-abcdef", frozenset({("tcp", 3306)}))
    hosts = {name: Host(name, listener, Answers(), frozenset(), None) for name in ("sw1", "sw2")}
    fleet: Any = Fleet(hosts)
    nothing: dict[str, frozenset[Port]] = {name: frozenset() for name in hosts}
    with raises(Code.WAIT_TIMEOUT, "sw1", "0 of 4 tries through", "wait_timeout"):
        try_links(fleet, [node(name) for name in hosts], [SQL], nothing, dict.fromkeys(hosts, 1500), timeout_s=0)
    assert all("rm -rf" in host.asked[-1] for host in hosts.values())
