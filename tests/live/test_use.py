"""Three nodes and an application that uses them, by the commands as they are typed: while the writer is killed, too."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Lab, Running
from .writer import ask

# 20, and 09 in a browser and by hand, are tried by the others.
pytestmark = pytest.mark.long
NODES = ["u1", "u2", "u3"]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    # The writer by a port of the nodes, the readers through SSH: both ways are gone.
    return make_lab(NODES, lab_disk_gb=8, mariadb_port=3306, endpoint_writer_port=3307)


def journals(lab: Lab) -> Path:
    """The folder of the application that began last."""
    return max((path for path in (lab.home / "use" / lab.name).glob("*/")), key=lambda path: path.stat().st_ctime_ns)


def works(lab: Lab, running: Running, more: int = 50) -> None:
    """Wait until so many commits more have been acknowledged."""

    def count() -> int:
        folder = lab.home / "use" / lab.name
        return sum(path.read_text().count('"acknowledged"') for path in folder.glob("*/writer-*.jsonl"))

    before = count()
    running.until(lambda: count() >= before + more, pause=0.1)


def writer(lab: Lab) -> str:
    """The node of the writer; nothing while there is none."""
    rows = lab.book("status", "--json").json
    return next((row["node"] for row in rows if row["galera"].endswith("writer")), "")


def tables(lab: Lab) -> list[tuple[Any, ...]]:
    return ask(lab, NODES[0], "SHOW TABLES LIKE 'swarmbook%%'")


def test_there_has_to_be_an_endpoint(lab: Lab) -> None:
    lab.book("use").refused(2, "no machines", "swarmbook run ")
    lab.need()
    lab.book("use").refused(2, "run 20 first: there is no endpoint", "swarmbook run PARAMS --only 20")
    lab.book("run", "--only", "09").expect(2, "run 20 first: there is no endpoint", "swarmbook run PARAMS --only 20")


def test_the_writer_is_killed_meanwhile(lab: Lab) -> None:
    lab.need()
    lab.book("run", "--only", "20").expect(0)
    first = writer(lab)
    running = lab.start("use", "--seconds", "25", "--json")
    works(lab, running)
    lab.machine(first).sh(
        f"docker kill $(docker ps -q --filter label=com.docker.swarm.service.name=galera_{first} | head -n 1)"
    )
    works(lab, running)
    done = running.wait().expect(0)
    found = json.loads(done.out[done.out.index("{\n") :])
    assert found["holds"] and found["acknowledged"] > 100 and not found["wrong"], done
    members = [each["member"] for each in found["writers"]]
    assert members[0] == f"galera-{first}" and len(set(members)) > 1, "the application went on with another writer"
    assert found["gap_s"] > 0.5, "a killed member is silent for a while"
    checked = {row["host"] for row in found["checks"]}
    assert checked == {"application", *(f"galera-{node}" for node in NODES)}, "the one that came back is asked as well"
    assert len(list((lab.home / found["journals"]).glob("writer-*.jsonl"))) == 4
    assert not tables(lab), "they are removed at the end"


def test_ctrl_c_ends_it_well(lab: Lab) -> None:
    lab.need()
    running = lab.start("use", "--seconds", "600", "--keep")
    works(lab, running)
    lab.book("use").refused(3, "at work on cluster", "one application at a time")
    done = running.send(signal.SIGINT).expect(
        0, "commits acknowledged", "longest time without a commit", "stale reads", "each once", "The journals: use/"
    )
    assert "FAILED" not in done.out
    assert len(tables(lab)) == 2, "it was asked to leave them"
    secret = lab.secret("galera-password")
    assert secret not in done.said
    assert not any(secret in path.read_text() for path in journals(lab).iterdir())


def test_the_notebook_draws_it(lab: Lab) -> None:
    lab.need()
    lab.book("run", "--only", "09", use_seconds=4).expect(0, "09 use_it", "Hold it against what is there")
    folder = lab.runs[-1]
    assert "commits per second" in (folder / "use.svg").read_text()
    assert json.loads((folder / "use.json").read_text())["acknowledged"] > 0
    assert not tables(lab), "those that were kept are replaced, and removed"
    checks = [
        event
        for event in map(json.loads, (folder / "ledger.jsonl").read_text().splitlines())
        if event["event"] == "check"
    ]
    assert any(check["name"] == "commits acknowledged, and there" and check["ok"] for check in checks)
