"""What is refused before there is a machine. Needs no lab, and leaves none."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MISTAKES = """\
cluster: {name}
nodes: [sw1, sw2, sw2]
nodes: [sw1, sw2]
swarm_managers: 2
colour: green
mariadb_prot: 3306
lab_disk_gb: many
overlay_subnet: 10.201.7.0/24
mariadb_password: hunter2-hunter2
"""


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Any]) -> Any:
    return make_lab(["sw1", "sw2", "sw3"])


def untouched(lab: Any) -> bool:
    return not lab.leftovers() and not (lab.home / "clusters").exists() and not (lab.home / "runs").exists()


def test_all_mistakes_are_told_at_once(lab: Any) -> None:
    path = lab.home / "params" / "mistakes.yaml"
    path.write_text(MISTAKES.format(name=lab.name))
    done = lab.swarmbook("run", "params/mistakes.yaml").expect(
        2, "params/mistakes.yaml", "nothing was touched", "next:", "swarmbook explain parameters-wrong"
    )
    lines = [line.strip().removeprefix("seen:").strip() for line in done.said.splitlines()]
    reported = {int(line.split(":")[0].removeprefix("line ")): line for line in lines if line.startswith("line ")}
    for number, part in {
        3: "given twice",
        5: "colour",
        6: "mariadb_port",
        7: "lab_disk_gb",
        9: "mariadb_password",
    }.items():
        assert any(part in line for line in done.said.splitlines()), f"{part}:{done}"
        assert number in reported, f"line {number} is not reported:{done}"
    assert done.said.count("fix:") == len(reported)
    assert "hunter2" not in done.said, "the secret that stood where a reference should"
    # What the message says, typed: the parameters are listed, and with its lines corrected nothing is wrong any more.
    listed = lab.swarmbook("params").expect(0).said
    assert all(name in listed for name in ("mariadb_port", "lab_disk_gb", "overlay_subnet", "mariadb_password"))
    path.write_text(
        f"cluster: {lab.name}\nnodes: [sw1, sw2]\nswarm_managers: 1\nmariadb_port: 3306\nlab_disk_gb: 10\nmariadb_password: generate\n"
    )
    lab.swarmbook("plan", "params/mistakes.yaml").expect(0, "machine created")
    assert untouched(lab)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"swarm_managers": 2}, ["swarm_managers", "2 managers", "1 or 3"]),
        ({"swarm_managers": 5}, ["swarm_managers", "5 managers, but 3 nodes"]),
        ({"nodes": ["sw1", "sw1", "sw3"]}, ["nodes", "sw1 is named twice"]),
        ({"overlay_subnet": "10.201.7.0/24"}, ["overlay_subnet", "10.201.7.0/24", "10.201.0.0/16"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_only_shows_in_the_whole(lab: Any, changes: dict[str, Any], parts: list[str]) -> None:
    lab.swarmbook("run", lab.file(**changes)).expect(2, "line ", "fix:", "next:", *parts)
    assert untouched(lab)


def test_a_parameter_file_that_is_not_there(lab: Any) -> None:
    lab.swarmbook("run", "params/nowhere.yaml").refused(
        2, "params/nowhere.yaml", "swarmbook explain parameters-not-read"
    )
    name = Path(lab.file()).name
    assert name in lab.call(["ls", "params/"]).expect(0).out.split()
    lab.swarmbook("plan", f"params/{name}").expect(0)
    lab.swarmbook("init", "mybook").expect(0)
    lab.swarmbook("plan", "mybook/params/lab.yaml", env={"SWARMBOOK_HOME": str(lab.home / "mybook")}).expect(0)
    shutil.rmtree(lab.home / "mybook")


def test_a_folder_without_the_book(lab: Any, tmp_path: Path) -> None:
    lab.call([*_swarmbook(), "run", str(lab.home / lab.file())], env={"SWARMBOOK_HOME": str(tmp_path)}).refused(
        2, str(tmp_path), "SWARMBOOK_HOME", "swarmbook explain book-not-here"
    )
    lab.call([*_swarmbook(), "init", "mine"], env={"SWARMBOOK_HOME": str(tmp_path)}).expect(0)
    lab.call(
        [*_swarmbook(), "plan", str(lab.home / lab.file())], env={"SWARMBOOK_HOME": str(lab.home / "mine")}
    ).expect(0)
    shutil.rmtree(lab.home / "mine")


def test_a_secret_reference_that_leads_nowhere(lab: Any) -> None:
    lab.swarmbook("run", lab.file(mariadb_password="env:NO_SUCH_VARIABLE")).expect(2, "NO_SUCH_VARIABLE", "next:")
    assert untouched(lab)


@pytest.mark.parametrize("value", ["galera", "Galera-2026!", "bootstrap_galera", "7 chars", "two\nlines of it"])
def test_a_secret_that_may_not_be_one(lab: Any, value: str) -> None:
    done = lab.swarmbook("run", lab.file(mariadb_password="env:MY_PW"), env={"MY_PW": value})
    done.refused(
        2, "mariadb_password", "environment variable MY_PW", "nothing was touched", "swarmbook explain secret-unfit"
    )
    assert value not in done.said or value == "galera", "it is in the address of a page, too"
    lab.swarmbook("plan", lab.file(mariadb_password="env:MY_PW"), env={"MY_PW": secrets.token_urlsafe(18)}).expect(0)
    lab.swarmbook("plan", lab.file(mariadb_password="generate")).expect(0)
    assert untouched(lab)


def test_init_scripts_that_are_not_there(lab: Any) -> None:
    lab.swarmbook("run", lab.file(mariadb_init_scripts="no/such/folder")).refused(
        2, "no/such/folder", "mariadb_init_scripts", "swarmbook explain init-scripts-not-there"
    )
    lab.swarmbook("plan", lab.file(mariadb_init_scripts="no/such/folder")).refused(2, "no/such/folder")
    (lab.home / "there").mkdir()
    (lab.home / "there" / "a.sql").write_text("SELECT 1;\n")
    for folder in ("", str(lab.home / "there")):
        lab.swarmbook("plan", lab.file(mariadb_init_scripts=folder)).expect(0)
    assert untouched(lab)


def test_init_scripts_that_would_not_be_loaded(lab: Any) -> None:
    (lab.home / "init").mkdir()
    (lab.home / "init" / "seed.zip").write_bytes(b"PK")
    (lab.home / "init" / "a.sql").write_text("source b.dump;\n")
    lab.swarmbook("run", lab.file(mariadb_init_scripts="init")).refused(
        2, "seed.zip: an archive", "a.sql: reads b.dump", "swarmbook explain init-scripts-refused"
    )
    lab.swarmbook("plan", lab.file(mariadb_init_scripts="init")).refused(2, "seed.zip: an archive")
    (lab.home / "init" / "seed.zip").unlink()
    (lab.home / "init" / "b.dump").write_text("SELECT 1;\n")
    lab.swarmbook("plan", lab.file(mariadb_init_scripts="init")).expect(0)
    assert untouched(lab)


def test_a_plan_that_nothing_vouches_for(lab: Any) -> None:
    lab.swarmbook("plan", lab.file(), "--out", "sent.json").expect(0, "no key to sign with yet")
    lab.swarmbook("run", "--plan", "sent.json").refused(
        2, "the plan is not believed", "unsigned", "--approve sha256:", "swarmbook explain record-not-believed"
    )
    assert untouched(lab)


@pytest.mark.parametrize("verb", ["verify", "status", "rebuild"])
def test_no_cluster_yet(lab: Any, verb: str) -> None:
    done = lab.swarmbook(verb, lab.file())
    done.refused(
        2,
        "swarmbook run PARAMS",
        "swarmbook explain out-of-order" if verb == "verify" else "swarmbook explain cluster-not-there",
    )
    assert not lab.leftovers()


def test_out_of_order_without_machines(lab: Any) -> None:
    lab.swarmbook("run", lab.file(), "--only", "03").refused(
        2, "run 01 first", "sw1, sw2, sw3", "swarmbook run PARAMS --only 01", "swarmbook explain out-of-order"
    )
    assert not lab.leftovers()
    assert not lab.folder.exists(), "keys of a cluster that is not there"


def test_what_costs_is_not_ordered_unasked(lab: Any) -> None:
    file, runs = lab.file(lab_hourly_cost=0.1), len(lab.runs)
    lab.swarmbook("plan", file).expect(0, "machine created, 0.100 an hour", "asks for ORDER", "3 machines", "0.300")
    lab.swarmbook("run", file).expect(
        2, "ConfirmationMissing", "costs money", "3 machines, 0.300 an hour", "ORDER", "--approve"
    )
    lab.swarmbook("run", file, "--approve", "0" * 64).refused(2, "for another plan")
    assert not lab.leftovers() and not lab.folder.exists() and len(lab.runs) == runs


def test_nothing_to_take_away(lab: Any) -> None:
    lab.swarmbook("destroy", lab.file(), "--yes").expect(0, "Nothing to destroy.")
    lab.swarmbook("cancel", lab.file(), "--yes").expect(0, "Nothing to cancel.")


def test_no_engine(lab: Any) -> None:
    nowhere = f"unix://{lab.home}/no.sock"
    lab.swarmbook("run", lab.file(), env={"DOCKER_HOST": nowhere}).refused(
        3, "EngineUnavailable", "DOCKER_HOST", nowhere, "swarmbook explain engine-not-there"
    )
    # Only the key had been made; what is taken away without an engine is just that.
    lab.swarmbook("cancel", lab.file(), "--yes", env={"DOCKER_HOST": nowhere}).expect(0)
    assert not lab.folder.exists()
    nowhere_else = "unset DOCKER_HOST; exec swarmbook plan"  # as the message says it
    path = {"DOCKER_HOST": nowhere, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lab.call(["sh", "-c", f"{nowhere_else} {lab.file()}"], env=path).expect(0, "machine created")


def _swarmbook() -> list[str]:
    return [str(Path(sys.executable).parent / "swarmbook")]


def test_a_drill_is_for_labs_only(lab: Any) -> None:
    (lab.home / "params" / "own.yaml").write_text(
        f"cluster: {lab.name}\nprovider: generic\nnodes: [sw1]\nswarm_managers: 1\n"
        "hosts: [sw1=root@192.0.2.1]\nssh_key_file: ~/.ssh/id_ed25519\n"
    )
    done = lab.swarmbook("drill", "params/own.yaml", "--fault", "power").expect(
        2, "labs only", "provider: generic", "next:", "swarmbook explain drill-needs-lab"
    )
    assert "nothing was touched" in done.said
    lab.swarmbook("explain", "drill-needs-lab").expect(0, "swarmbook drill params/lab.yaml")
