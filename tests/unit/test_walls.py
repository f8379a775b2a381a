"""What a wall's rules say, and what a look from outside makes of open ports."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from swarmbook.access.node import Endpoint, Jump, Node
from swarmbook.base.codes import Code
from swarmbook.params import Params
from swarmbook.phases.support import outside
from swarmbook.phases.support.ports import Port, Users, wanted_ports
from swarmbook.phases.support.wall import Wall, rules_for, sum_of
from swarmbook.phases.walls.look import stands
from swarmbook.phases.walls.step import wanted_walls

ON = Params(firewall="always", nodes=["sw1", "sw2"], swarm_managers=1, mariadb_port=3306)


def machine(name: str = "sw1", at: str = "10.0.0.1", public: str = "198.51.100.1", **more: Any) -> Node:
    return Node(name, name, at, public, Endpoint(public, 22), "ssh-ed25519 K", tunnel=True, **more)


NODES = [machine(), machine("sw2", "10.0.0.2", "198.51.100.2")]


def rules(**changes: Any) -> list[str]:
    """The rules of sw1, one a line."""
    params = ON.model_copy(update=changes)
    text = wanted_walls(params.view("03"), NODES, {}).rules["sw1"]
    return [line.strip() for line in text.split("chain entrance {")[1].splitlines() if line.startswith("    ")]


def numbers(rule: str) -> set[int]:
    listed = re.search(r"dport (\{[^}]*\}|[0-9]+)", rule)
    return {int(found) for found in re.findall(r"[0-9]+", listed[1])} if listed else set()


@pytest.mark.parametrize("changes", [{}, {"mariadb_port": 0}, {"docker_api_port": 3376, "consul_https_port": 9501, "mariadb_port": 3307}])  # fmt: skip
def test_every_port_of_the_cluster_is_shut_in_the_end_and_no_other(changes: dict[str, Any]) -> None:
    ports = wanted_ports(ON.model_copy(update=changes).view("03"))
    *_, tcp, udp = rules(**changes)
    for rule, protocol in ((tcp, "tcp"), (udp, "udp")):
        assert rule.startswith(f"{protocol} dport") and rule.endswith("counter drop")
        assert numbers(rule) == {port.number for port in ports if port.protocol == protocol}
    for rule in rules(**changes):
        assert 22 not in numbers(rule), "no rule speaks of SSH"
        assert ("drop" in rule) == (rule in (tcp, udp))


def test_only_a_node_gets_in_everywhere() -> None:
    for rule in rules():
        if "@nodes" in rule:
            assert "fib saddr . iif oif exists" in rule, "an address of a node counts where answers to it would go"
            assert 53 not in numbers(rule), "DNS is for the containers of its own node"
        elif "iifname" in rule and '"lo"' not in rule:
            assert numbers(rule) <= {53, 8501, 3306}
        elif "@clients" in rule:
            assert numbers(rule) == {3306}


def test_clients_are_those_of_the_parameters() -> None:
    assert (
        "elements = { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 }"
        in wanted_walls(ON.view("03"), NODES, {}).rules["sw1"]
    )
    no_one = wanted_walls(ON.model_copy(update={"mariadb_clients": []}).view("03"), NODES, {}).rules["sw1"]
    assert "set clients_3306 {\n    type ipv4_addr; flags interval; auto-merge\n  }" in no_one


def test_a_name_server_of_the_users_at_another_address_is_left_alone() -> None:
    assert "ip daddr != 10.0.0.1 meta l4proto { tcp, udp } th dport { 53 } accept" in rules()


def test_a_node_more_changes_the_rules_of_all() -> None:
    before, after = (wanted_walls(ON.view("03"), NODES[:count], {}).rules["sw1"] for count in (1, 2))
    assert sum_of(before) != sum_of(after) and "10.0.0.2" in after


def test_this_computer_is_let_in_where_it_reaches_ports_without_ssh() -> None:
    near = rules_for("10.0.0.1", ["10.0.0.1"], ["10.0.0.254"], {}, wanted_ports(ON.view("03")))
    assert "elements = { 10.0.0.1, 10.0.0.254 }" in near


def test_what_another_database_has_written_is_kept() -> None:
    seen = {"sw1": Wall(databases={3307: ("10.1.0.0/16",), 3306: ("0.0.0.0/0",)})}
    wanted = wanted_walls(ON.view("03"), NODES, seen)
    assert wanted.clients == {3306: tuple(ON.mariadb_clients), 3307: ("10.1.0.0/16",)}
    assert all("# database 3307: 10.1.0.0/16\n" in text for text in wanted.rules.values())


@pytest.mark.parametrize(
    ("wall", "seen"),
    [
        (Wall(loaded=True, intact=True, boots=True), "stands"),
        (Wall(), "not loaded; run 03 again"),
        (Wall(loaded=True, boots=True), "changed by hand; run 03 again"),
        (Wall(loaded=True, intact=True), "not loaded at boot; run 03 again"),
    ],
)
def test_a_wall_that_does_not_stand_is_reported(wall: Wall, seen: str) -> None:
    check = stands("sw1", wall)
    assert (check.seen, check.ok) == (seen, seen == "stands")


# -- from outside ------------------------------------------------------------------------------------------------------

OPEN = [Port("tcp", 2377, "swarm")]


def test_open_ports_are_a_finding_before_the_wall_and_a_failure_behind_it() -> None:
    def row(params: Params, opened: list[Port], *, before: bool = False) -> tuple[bool, Code, str]:
        check = outside.judge_outside(params.view("05"), NODES[0], opened, before_wall=before)
        return check.ok, check.code, check.seen

    assert row(ON, []) == (True, Code.CHECK_FAILED, "shut")
    ok, code, seen = row(ON, OPEN)
    assert (ok, code) == (False, Code.PORTS_OPEN) and "open at 198.51.100.1: 2377/tcp (swarm)" in seen
    assert row(ON, OPEN, before=True)[0] and "03 shuts them" in row(ON, OPEN, before=True)[2]
    without = ON.model_copy(update={"firewall": "never"})
    assert row(without, OPEN)[0] and "no wall" in row(without, OPEN)[2]


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (machine(near="10.0.0.254"), "on the nodes' own network"),
        (machine(jump=Jump(Endpoint("198.51.100.9", 22), "ssh-ed25519 J")), "behind a jump host"),
        (machine(public="127.0.0.1"), "only its SSH is forwarded"),
    ],
)
def test_what_cannot_be_seen_from_here_is_not_said_to_be_shut(node: Node, why: str) -> None:
    check = outside.judge_outside(ON.view("05"), node, OPEN, before_wall=False)
    assert check.ok and check.seen.startswith("not looked at") and why in check.seen


def test_a_connection_is_seen_and_a_closed_port_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert outside._connects("127.0.0.1", port) == "127.0.0.1"
    assert outside._connects("127.0.0.1", port) == ""


@pytest.mark.parametrize(
    ("source", "public", "networks", "is_client"),
    [
        ("10.5.0.1", "10.0.0.1", ["10.0.0.0/8"], True),
        ("10.5.0.1", "10.0.0.1", [], False),
        ("192.168.1.2", "8.8.8.8", ["10.0.0.0/8"], False),
        ("192.168.1.2", "8.8.8.8", ["9.9.9.0/24"], True),  # it may appear there as one of these
    ],
)
def test_a_client_of_the_database_is_no_stranger(
    source: str, public: str, networks: list[str], is_client: bool
) -> None:
    assert outside._is_client(source, machine(public=public), networks) is is_client


def test_users_are_named_for_every_port() -> None:
    assert all(port.users in (Users.NODES, Users.CONTAINERS) or Users.NODES | Users.CONTAINERS in port.users for port in wanted_ports(ON.view("03")))  # fmt: skip
