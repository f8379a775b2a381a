"""Three nodes with MariaDB 10.11: upgraded to 11.8 member after member, while an application works; and no way leads back.

Debian 12 has the one and Debian 13 the other: both images are built here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Lab

pytestmark = pytest.mark.long
NODES = ["u1", "u2", "u3"]
OLD = {"mariadb_version": "10.11"}


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """It begins with the earlier series, and with an endpoint."""
    return make_lab(NODES, with_endpoint=True)


def built(lab: Lab) -> None:
    lab.need(lambda: lab.book("run", **OLD))


def of_member(lab: Lab, node: str, sql: str) -> str:
    return lab.machine(node).sh(
        f'docker exec $(docker ps -q --filter name=galera_{node}) mariadb -u root -N -B -e "{sql}"'
    )


def status(lab: Lab, node: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        lab.machine(node).sh(f"docker exec $(docker ps -q --filter name=galera_{node}) galera-status")
    )
    return found


def test_the_earlier_series_is_built(lab: Lab) -> None:
    built(lab)
    for node in NODES:
        assert status(lab, node)["version"].startswith("10.11."), node
    assert sum(status(lab, node)["writer"] for node in NODES) == 1
    lab.book("plan", "--check", **OLD).expect(0, "nothing to change")


def test_a_backup_from_before_the_upgrade(lab: Lab) -> None:
    """It is tried by the series that it is of, and refused by another one, before and after the members have changed."""
    built(lab)
    lab.book("backup", "--verify", **OLD).expect(0)
    lab.book("restore").refused(2, "is of MariaDB 10.11", "swarmbook explain snapshot-of-another-series")


def test_members_are_upgraded_one_after_the_other_and_nothing_is_lost(lab: Lab) -> None:
    built(lab)
    of_member(
        lab,
        "u1",
        "CREATE TABLE app.kept (id INT PRIMARY KEY, text VARCHAR(20)); INSERT INTO app.kept VALUES (7, 'seven')",
    )
    working = lab.start("use", "--seconds", "150", "--json")
    working.until(
        lambda: any(
            "acknowledged" in path.read_text() for path in (lab.home / "use" / lab.name).glob("*/writer-*.jsonl")
        )
    )
    lab.book("run", "--only", "07").expect(0)
    for node in NODES:
        found = status(lab, node)
        assert found["version"].startswith("11.8."), node
        assert (found["state_comment"], found["cluster_size"]) == ("Synced", 3)
        assert of_member(lab, node, "SELECT text FROM app.kept") == "seven"
        log = lab.machine(node).sh(
            f"docker logs $(docker ps -q --filter name=galera_{node}) 2>&1 | grep -c 'the system tables are of MariaDB 11.8'"
        )
        assert log == "1", node
    done = working.wait().expect(0)
    found = json.loads(done.out[done.out.index("{\n") :])
    assert found["holds"] and not found["wrong"] and not found["undone"], done
    assert len(found["writers"]) == 2, "the writer went last, and handed over once"
    lab.book("run").expect(0)
    lab.book("plan", "--check").expect(0, "nothing to change")


def test_no_way_leads_back(lab: Lab) -> None:
    built(lab)
    if status(lab, "u1")["version"].startswith("10.11."):
        lab.book("run", "--only", "07").expect(0)
    before = {node: status(lab, node)["version"] for node in NODES}
    lab.book("run", **OLD).refused(2, "no member was changed", "swarmbook explain no-downgrade")
    assert {node: status(lab, node)["version"] for node in NODES} == before
