"""Three nodes and two databases side by side: what is done to the one does not touch the other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import Lab, until
from .writer import SQL, ask, written

pytestmark = pytest.mark.long
NODES = ["t1", "t2", "t3"]
SHOP: dict[str, Any] = {"mariadb_cluster_name": "shop", "mariadb_port": 0}


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, swarm_managers=3, lab_disk_gb=4, mariadb_port=SQL, with_endpoint=True)


def both(lab: Lab) -> None:
    """The second database is there as well."""
    lab.need()
    if "shop_t1" not in lab.machine("t1").sh("docker service ls --format '{{.Name}}'"):
        lab.book("run", "--from", "07", **SHOP).expect(0)


def containers(lab: Lab, database: str) -> dict[str, str]:
    """The id of each member's container."""
    name = f"label=com.docker.swarm.service.name={database}_"
    return {node: lab.machine(node).sh(f"docker ps -q --filter {name}{node}").strip() for node in NODES}


def of_shop(lab: Lab, node: str, sql: str) -> str:
    return lab.machine(node).sh(
        f'docker exec $(docker ps -q --filter label=com.docker.swarm.service.name=shop_{node}) mariadb -N -B app -e "{sql}"'
    )


@contextlib.contextmanager
def not_touched(lab: Lab) -> Iterator[None]:
    """The first database serves all the time, and its members are the same ones."""
    before = containers(lab, "galera")
    assert all(before.values())
    with written(lab, NODES, NODES[:1]):
        yield
    assert containers(lab, "galera") == before


def test_each_has_an_endpoint_of_its_own(lab: Lab) -> None:
    both(lab)
    ways = {
        name: lab.book("endpoint", "--json", **params).expect(0).json
        for name, params in (("galera", {}), ("shop", SHOP))
    }
    assert ways["galera"]["writer"]["password_file"] != ways["shop"]["writer"]["password_file"]
    for params in ({}, SHOP):
        lab.book("verify", "--quiet", **params).expect(0, " 0 failed; ")
        lab.book("use", "--seconds", "3", **params).expect(0)
        lab.book("plan", "--check", **params).expect(0, "nothing to change")


def test_the_second_is_switched_restarted_and_scaled(lab: Lab) -> None:
    both(lab)
    of_shop(lab, "t1", "CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY); REPLACE INTO kept VALUES (42)")
    begun = lab.folder / "rolling.json"  # as a run that was killed leaves it
    begun.write_text(json.dumps({"what": "members", "done": ["t1"], "drained": "", "database": "shop"}))
    lab.book("roll", "members").refused(
        2, "a rolling change of members of the database shop was begun", "with mariadb_cluster_name: shop"
    )
    begun.unlink()
    with not_touched(lab):
        old = containers(lab, "shop")
        lab.book("switch-writer", "t2", **SHOP).expect(0)
        lab.book("roll", "members", **SHOP).expect(0)
        new = containers(lab, "shop")
        assert all(new[node] and new[node] != old[node] for node in NODES)
        lab.book("scale", "--yes", **SHOP, galera_nodes=["t1", "t2"]).expect(0)
        assert not containers(lab, "shop")["t3"]
        lab.book("run", "--from", "07", **SHOP).expect(0)
    assert {of_shop(lab, node, "SELECT id FROM kept") for node in NODES} == {"42"}


def test_a_node_waits_for_the_members_of_both(lab: Lab) -> None:
    both(lab)
    t1, nowhere = lab.machine("t1"), "node.labels.name==nowhere"
    t1.sh(f"docker service update -d --constraint-add {nowhere} shop_t2")
    until(lambda: not containers(lab, "shop")["t2"])
    lab.book("roll", "engines", wait_timeout=10).refused(
        3, "the gate before t", "0/1 shop_t2", "swarmbook explain gate-closed"
    )
    (lab.folder / "rolling.json").unlink()
    t1.sh(f"docker service update -d --constraint-rm {nowhere} shop_t2")
    lab.book("run", "--from", "07", **SHOP).expect(0)


def test_the_second_is_restored_and_recovered(lab: Lab) -> None:
    both(lab)
    of_shop(lab, "t1", "CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY); REPLACE INTO kept VALUES (42)")
    with not_touched(lab):
        lab.book("backup", **SHOP).expect(0)
        of_shop(lab, "t2", "DROP TABLE kept")
        lab.book("restore", "--yes", **SHOP).expect(0)
        assert {of_shop(lab, node, "SELECT id FROM kept") for node in NODES} == {"42"}
        for node in NODES:
            lab.machine("t1").sh(f"docker service scale -d shop_{node}=0")
        until(lambda: not any(containers(lab, "shop").values()))
        for node in NODES:
            lab.machine("t1").sh(f"docker service scale -d shop_{node}=1")
        lab.book("recover", "--yes", **SHOP).expect(0)
    assert {of_shop(lab, node, "SELECT id FROM kept") for node in NODES} == {"42"}


def test_a_node_that_carries_both_is_replaced(lab: Lab) -> None:
    both(lab)
    of_shop(lab, "t1", "CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY); REPLACE INTO kept VALUES (42)")
    with written(lab, NODES, ["t1", "t2"]):
        lab.docker.api.kill(lab.machine("t3").container)
        lab.book("replace", "t3", "--yes").expect(0)
        lab.book("run", "--from", "07", **SHOP).expect(0)
    assert of_shop(lab, "t3", "SELECT id FROM kept") == "42"
    for params in ({}, SHOP):
        lab.book("verify", "--quiet", **params).expect(0, " 0 failed; ")


def test_what_goes_is_named_for_both(lab: Lab) -> None:
    both(lab)
    said = lab.book("destroy").expect(2).said
    assert "galera-data" in said and "shop-data" in said
    assert ask(lab, "t1", "SELECT 1") == [(1,)]
