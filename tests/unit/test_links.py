"""Which ports a node reaches: tried for real on the loopback, and what is made of the answers."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swarmbook.access.node import Node
from swarmbook.phases.provision.links import Port, Tries, _try, try_links

from .doubles import Fleet, Host

SQL = Port("tcp", 3306, "the database")
MakeNode = Callable[..., Node]


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that is ours, and at which no one listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def test_a_port_is_open_or_refused(node: MakeNode, listening: int, refusing: int) -> None:
    other = node("sw2", private_address="127.0.0.1")
    ports = [Port("tcp", listening, "x"), Port("tcp", refusing, "x")]
    probe = _try(node("sw1"), [other], {"sw2": ports[:1]}, {"sw2": ports[1:]}, 1500)
    done = subprocess.run(["sh", "-c", probe.command], capture_output=True, text=True, check=True)
    tries = probe.answer(done.stdout, "sw1")
    assert (tries.closed, tries.refused) == (frozenset(), {("sw2", refusing)})


def test_a_way_that_there_is_not_is_closed(node: MakeNode, refusing: int) -> None:
    other = node("sw2", private_address="255.255.255.255")  # no connection goes there, and none is refused
    probe = _try(node("sw1"), [other], {"sw2": [SQL]}, {"sw2": []}, 1500)
    done = subprocess.run(["sh", "-c", probe.command], capture_output=True, text=True, check=True)
    assert probe.answer(done.stdout, "sw1").closed == {("sw2", 3306)}


@pytest.mark.parametrize(
    ("held", "seen", "closed", "tried"),
    [
        pytest.param(True, Tries(frozenset(), frozenset(), {}), (), 1, id="reached"),
        pytest.param(True, Tries(frozenset({("sw2", 3306)}), frozenset(), {}), (SQL,), 1, id="dropped"),
        pytest.param(
            True, Tries(frozenset(), frozenset({("sw2", 3306)}), {}), (), 0, id="a container that is not ready"
        ),
        pytest.param(
            False, Tries(frozenset(), frozenset({("sw2", 3306)}), {}), (SQL,), 1, id="our own listener refused"
        ),
    ],
)
def test_what_is_made_of_it(node: MakeNode, held: bool, seen: Tries, closed: tuple[Port, ...], tried: int) -> None:
    none = Tries(frozenset(), frozenset(), {})
    folder = "/run/swarmbook-preflight-abcdef"
    answers: dict[str, list[Any]] = {
        "sw1": [seen] if held else [folder, seen, frozenset()],
        "sw2": [none] if held else [folder, none, frozenset()],
    }
    fleet: Any = Fleet({name: Host(name, *given) for name, given in answers.items()})
    busy = {name: frozenset({SQL} if held else ()) for name in answers}
    heard = try_links(fleet, [node("sw1"), node("sw2")], [SQL], busy, {"sw1": 1500, "sw2": 1500})
    assert heard["sw1"].closed.get("sw2", ()) == closed and heard["sw1"].tried == {"sw2": tried}
    assert heard["sw2"].closed == {}
