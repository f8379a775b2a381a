"""A cluster that grows and shrinks while it is written to: by `nodes`, `swarm_managers` and `galera_nodes`, and `scale`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Lab, until
from .writer import SQL, ask, written

FIVE = ["sw1", "sw2", "sw3", "sw4", "sw5"]
THREE = FIVE[:3]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(FIVE, swarm_managers=3, lab_disk_gb=3, mariadb_port=SQL, wait_timeout=240)


def extent(lab: Lab, manager: str = "sw1") -> dict[str, Any]:
    """What there is, asked past the book: the swarm, raft, members, machines."""
    machine = lab.machine(manager)
    nodes = machine.sh("docker node ls --format '{{.Hostname}} {{.ManagerStatus}}'").splitlines()
    token = lab.secret("consul-management-token")
    peers = machine.sh(
        f"docker exec -i -e CONSUL_HTTP_TOKEN={token} $(docker ps -q --filter label=com.docker.swarm.service.name=consul_server) "
        "consul operator raft list-peers -http-addr=https://127.0.0.1:8501 -ca-file=/run/consul/ca.pem -tls-server-name=server.lab1.consul | sed 1d"
    ).splitlines()
    size = ask(lab, manager, "SHOW STATUS LIKE 'wsrep_cluster_size'")[0][1]
    return {
        "swarm": sorted(line.split()[0] for line in nodes),
        "managers": sorted(line.split()[0] for line in nodes if len(line.split()) > 1),
        "raft": sorted(line.split()[0] for line in peers),
        "size": int(size),
        "machines": [name for name in FIVE if lab.machine(name).there],
    }


def whole(nodes: list[str], managers: list[str], members: int | None = None) -> dict[str, Any]:
    return {"swarm": nodes, "managers": managers, "raft": managers, "size": members or len(nodes), "machines": nodes}


def test_a_node_that_is_named_no_longer_is_not_forgotten(lab: Lab) -> None:
    lab.need()
    runs = len(lab.runs)
    for verb in ("verify", "status"):
        lab.book(verb, nodes=THREE).refused(
            3,
            "sw4, sw5 are no longer in the parameters' nodes",
            "swarmbook scale PARAMS, which lets sw4, sw5 leave",
            "swarmbook explain node-taken-out",
        )
    assert len(lab.runs) == runs and extent(lab) == whole(FIVE, THREE)


def test_no_member_leaves_while_another_is_down(lab: Lab) -> None:
    lab.need()
    sw1 = lab.machine("sw1")
    sw1.sh("docker service scale -d galera_sw2=0")
    until(lambda: ask(lab, "sw1", "SHOW STATUS LIKE 'wsrep_cluster_size'")[0][1] == "4")
    try:
        lab.book("scale", "--yes", nodes=THREE).refused(
            3,
            "no member leaves while not all that stay are Synced",
            "sw2: not running",
            "swarmbook explain members-not-synced",
        )
    finally:
        sw1.sh("docker service scale -d galera_sw2=1")
    lab.book("run", "--from", "07").expect(0)
    assert extent(lab) == whole(FIVE, THREE)


def test_what_goes_for_good_is_asked_for(lab: Lab) -> None:
    lab.need()
    said = lab.book("scale", nodes=THREE).expect(2).said
    for thing in ("machine sw4", "machine sw5", f"disk swarmbook-{lab.name}-sw4-disk", "CANCEL"):
        assert thing in said
    assert extent(lab) == whole(FIVE, THREE)


def test_five_become_three_while_they_are_written_to_and_a_kill_does_not_matter(lab: Lab) -> None:
    lab.need()
    with written(lab, THREE, ["sw1"]):
        run = lab.start("run", "--yes", nodes=THREE)
        run.until(lambda: ask(lab, "sw1", "SHOW STATUS LIKE 'wsrep_cluster_size'")[0][1] == "4")
        run.send(signal.SIGKILL)
        lab.book("run", "--yes", nodes=THREE).expect(0)
    assert extent(lab) == whole(THREE, THREE)
    done = lab.book(
        "run",
        nodes=THREE,
    ).expect(0)
    assert lab.summary()["changes"] == 0, done
    lab.book("status", nodes=THREE).expect(0)


@pytest.mark.long
def test_managers_are_demoted_and_promoted(lab: Lab) -> None:
    lab.need()
    lab.book("run", "--yes", nodes=THREE).expect(0)
    lab.book("run", nodes=THREE, swarm_managers=1).refused(
        3, "sw2 is a manager", "swarmbook scale PARAMS, which demotes it"
    )
    with written(lab, THREE, ["sw1"]):
        lab.book("scale", "--yes", nodes=THREE, swarm_managers=1).expect(0)
        assert extent(lab) == whole(THREE, ["sw1"])
        lab.book("scale", "--yes", nodes=THREE).expect(0)
    assert extent(lab) == whole(THREE, THREE)


@pytest.mark.long
def test_a_member_goes_and_comes_back_and_its_node_stays(lab: Lab) -> None:
    lab.need()
    lab.book("run", "--yes", nodes=THREE).expect(0)
    lab.book("run", nodes=THREE, galera_nodes=["sw2", "sw3"]).refused(
        3, "sw1 carries a member", "swarmbook scale PARAMS"
    )
    with written(lab, ["sw2", "sw3"], ["sw2"]):
        lab.book("scale", "--yes", nodes=THREE, galera_nodes=["sw2", "sw3"]).expect(0)
        assert (
            extent(lab, "sw2")["size"] == 2 and lab.machine("sw1").sh("docker volume ls -q").count("galera-data") == 1
        )
        lab.book("verify", nodes=THREE, galera_nodes=["sw2", "sw3"]).expect(0)
        lab.book("run", nodes=THREE).expect(0)
    assert extent(lab) == whole(THREE, THREE)


@pytest.mark.long
def test_a_machine_is_replaced_under_its_name(lab: Lab) -> None:
    lab.need()
    lab.book("run", "--yes", nodes=THREE).expect(0)
    lab.book("replace", "sw9", nodes=THREE).refused(2, "there is no node sw9")
    lab.book("replace", "sw1", "sw2", "--yes", nodes=THREE).refused(
        3, "the swarm would lose its majority without sw1, sw2"
    )
    said = lab.book("replace", "sw3", nodes=THREE).expect(2).said
    assert "machine sw3" in said and "CANCEL" in said
    key = lab.machine("sw3").sh("cat /etc/ssh/ssh_host_ed25519_key.pub")
    with written(lab, THREE, ["sw1"]):
        lab.book("replace", "sw3", "--yes", nodes=THREE).expect(0)
    assert extent(lab) == whole(THREE, THREE)
    assert lab.machine("sw3").sh("cat /etc/ssh/ssh_host_ed25519_key.pub") != key
    lab.book("run", nodes=THREE).expect(0)
    assert lab.summary()["changes"] == 0


@pytest.mark.long
def test_a_machine_that_is_gone_is_replaced_too(lab: Lab) -> None:
    lab.need()
    lab.book("run", "--yes", nodes=THREE).expect(0)
    lab.docker.api.remove_container(lab.machine("sw1").container, force=True)
    with written(lab, THREE, ["sw2"]):
        lab.book("replace", "sw1", "--yes", nodes=THREE).expect(0)
    assert extent(lab, "sw2") == whole(THREE, THREE)


@pytest.mark.long
def test_the_first_node_goes_and_another_takes_its_place(lab: Lab) -> None:
    """The founder, the first manager, the node that everything is asked of: sw1 goes, sw4 comes."""
    lab.need()
    lab.book("run", "--yes", nodes=THREE).expect(0)
    now = ["sw2", "sw3", "sw4"]
    with written(lab, now, ["sw2"]):
        lab.book("run", "--yes", nodes=now).expect(0)
    assert extent(lab, "sw2") == whole(now, now)
    lab.book("run", nodes=now).expect(0)
    assert lab.summary()["changes"] == 0
