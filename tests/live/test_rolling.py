"""Restarts and updates, node after node, while the cluster is written to."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from .conftest import Lab, until
from .writer import SQL, ask, written

pytestmark = pytest.mark.long
NODES = ["r1", "r2", "r3"]
MEMBER = "label=com.docker.swarm.service.name=galera_"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, swarm_managers=3, lab_disk_gb=3, mariadb_port=SQL, wait_timeout=240)


def members(lab: Lab) -> dict[str, str]:
    """The id of each member's container."""
    return {node: lab.machine(node).sh(f"docker ps -q --filter {MEMBER}{node}").strip() for node in NODES}


def began(lab: Lab, unit: str) -> dict[str, str]:
    """When a unit began, on each node."""
    ask_when = f"systemctl show -p ActiveEnterTimestampMonotonic --value {unit}"
    return {node: lab.machine(node).sh(ask_when).strip() for node in NODES}


def availability(lab: Lab) -> set[str]:
    return set(lab.machine("r1").sh("docker node ls --format '{{.Availability}} {{.Status}}'").splitlines())


def test_members(lab: Lab) -> None:
    lab.need()
    before = members(lab)
    with written(lab, NODES, NODES):
        lab.book("roll", "members").expect(0)
    now = members(lab)
    assert all(now[node] and now[node] != before[node] for node in NODES)
    lab.book("verify").expect(0)


def test_a_gate_that_does_not_open_stops_it_and_it_goes_on_from_there(lab: Lab) -> None:
    lab.need()
    before, r1 = members(lab), lab.machine("r1")
    r1.sh("docker service scale -d galera_r2=0")
    until(lambda: ask(lab, "r1", "SHOW STATUS LIKE 'wsrep_cluster_size'")[0][1] == "2")
    lab.book("roll", "members", wait_timeout=10).refused(
        3, "the gate before r", "does not open", "r2: not running", "swarmbook explain gate-closed"
    )
    now = members(lab)
    assert (now["r1"], now["r3"]) == (before["r1"], before["r3"]), "a member went while another was down"
    lab.book("roll", "engines").refused(
        2, "a rolling change of members was begun", "swarmbook explain rolling-under-way"
    )
    r1.sh("docker service scale -d galera_r2=1")
    lab.book("roll", "members").expect(0)
    now = members(lab)
    assert all(now[node] and now[node] != before[node] for node in NODES)
    assert not (lab.folder / "rolling.json").exists()


def test_engines(lab: Lab) -> None:
    lab.need()
    before = began(lab, "docker.service")
    with written(lab, NODES, NODES):
        lab.book("roll", "engines").expect(0)
    now = began(lab, "docker.service")
    assert all(now[node] != before[node] for node in NODES)


def test_system_with_a_reboot_and_a_kill_while_a_node_is_drained(lab: Lab) -> None:
    lab.need()
    before = began(lab, "lab-machine.service")
    with written(lab, NODES, NODES):
        run = lab.start("roll", "system")
        kept = lab.folder / "rolling.json"
        run.until(lambda: kept.exists() and json.loads(kept.read_text())["drained"])
        run.until(lambda: any("Drain" in line for line in availability(lab)))
        run.send(signal.SIGKILL)
        lab.book("roll", "system").expect(0)
    now = began(lab, "lab-machine.service")
    assert all(now[node] != before[node] for node in NODES), "each was booted again"
    assert availability(lab) == {"Active Ready"}
    lab.book("verify").expect(0)
    lab.book("run").expect(0)
    assert lab.summary()["changes"] == 0


def test_what_is_no_change_is_refused(lab: Lab) -> None:
    lab.swarmbook("roll", lab.file(), "everything").expect(2, "is not one of")
