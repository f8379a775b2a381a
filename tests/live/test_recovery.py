"""Power cuts and outages: what comes back by itself, what is decided, and what is not guessed."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence

import pytest

from .conftest import Lab, Machine, until
from .writer import SQL, Writer, ask

NODES = ["r1", "r2", "r3"]
#: Seconds in which machines that came back may take to serve again; a slow computer is no fault.
BACK_S = 300


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, swarm_managers=3, lab_disk_gb=3, mariadb_port=SQL, wait_timeout=240)


def states(lab: Lab) -> dict[str, str]:
    rows = lab.book("status", "--json").json
    return {row["node"]: row.get("galera", "") for row in rows}


def power_cut(lab: Lab, nodes: Sequence[str]) -> None:
    """Take the power from machines: nothing is said goodbye to, nothing is written."""
    for node in nodes:
        lab.docker.api.kill(lab.machine(node).inspect()["Id"])


def all_serve(lab: Lab) -> None:
    until(
        lambda: set(states(lab).values()) == {"Synced, Primary"},
        timeout=BACK_S,
        why=lambda: f"not all serve: {states(lab)}",
    )


def rows(lab: Lab) -> int:
    if not ask(lab, NODES[0], "SHOW TABLES LIKE 'rows_written'"):
        return 0
    return int(ask(lab, NODES[0], "SELECT COUNT(*) FROM app.rows_written")[0][0])


def test_after_a_power_cut_of_all_they_come_back_by_themselves(lab: Lab) -> None:
    lab.need()
    with Writer(lab, NODES) as writer:
        until(lambda: len(writer.acknowledged) > 20)
    before = rows(lab)
    power_cut(lab, NODES)
    for node in ("r3", "r1", "r2"):
        lab.machine(node).start()
    all_serve(lab)
    assert rows(lab) == before, "nothing that was acknowledged may be gone"
    lab.book("run", "--from", "07").expect(0)
    assert not [step for chapter in lab.summary()["chapters"] for step in chapter["steps"] if step["changes"]]


def test_an_engine_that_is_silent_for_half_a_minute_keeps_its_containers(lab: Lab) -> None:
    """By the engine's own settings it would count as down after 15 s, and the swarm would start its database again."""
    lab.need()
    machine = lab.machine("r3")
    before = machine.sh("docker ps -q --no-trunc")
    assert len(before.split()) >= 2
    engine = machine.sh("pidof dockerd").strip()
    machine.sh(f"kill -STOP {engine}; sleep 30; kill -CONT {engine}")
    lab.book("run", "--only", "03").expect(0)
    assert not [step for chapter in lab.summary()["chapters"] for step in chapter["steps"] if step["changes"]]
    assert machine.sh("docker ps -q --no-trunc") == before


def test_all_stopped_cleanly(lab: Lab) -> None:
    """No one keeps a view after a clean stop; it is decided, and nothing has to be typed, since nothing can be lost.

    Two at once are refused; one that is killed when it has decided is begun again.
    """
    lab.need()
    before = rows(lab)
    for node in NODES:
        lab.machine(node).stop()
    for node in NODES:
        lab.machine(node).start()
    until(lambda: set(states(lab).values()) == {"starting"}, timeout=BACK_S, why=lambda: f"{states(lab)}")
    lab.book("run", "--only", "07").refused(
        3, "no member is in service, and there is data", "swarmbook recover PARAMS", "swarmbook explain nobody-serves"
    )
    data = "/var/lib/docker/volumes/galera-data/_data"
    for node in NODES:  # what an earlier decision left: a member that used its mark keeps it under this name
        lab.machine(node).sh(f"rm -f {data}/recover.used")
    first = lab.start("recover")
    first.until((lab.folder / "lock.json").exists)
    with first.held():
        lab.book("recover").refused(
            3, "LockHeld", f"process {first.process.pid}", "swarmbook explain somebody-works-on-it"
        )
    # The mark itself lives for a second, and can be missed.
    decided = f"test -e {data}/recover -o -e {data}/recover.used"
    first.until(lambda: any(lab.machine(node).try_sh(decided)[0] == 0 for node in NODES))
    first.process.send_signal(signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL
    until(lambda: not lab.kernels(), why=lambda: f"kernels left behind: {lab.kernels()}")
    lab.book("recover").expect(0, "Decide, and go on")
    all_serve(lab)
    assert rows(lab) == before
    uuids = {ask(lab, node, "SHOW STATUS LIKE 'wsrep_cluster_state_uuid'")[0][1] for node in NODES}
    assert len(uuids) == 1, "one went on, and no second cluster came of it"
    lab.book("verify").expect(0)
    lab.book("recover").expect(0)
    assert not [step for chapter in lab.summary()["chapters"] for step in chapter["steps"] if step["changes"]]


@pytest.mark.long
def test_who_goes_on_is_not_guessed(lab: Lab) -> None:
    """One machine does not come back: refused; chosen by hand, and it joins when it is back."""
    lab.need()
    before = rows(lab)
    power_cut(lab, NODES)
    for node in NODES[:2]:
        lab.machine(node).start()
    until(
        lambda: [state for state in states(lab).values() if state] == ["starting", "starting"],
        timeout=BACK_S,
        why=lambda: f"{states(lab)}",
    )
    lab.book("recover").refused(
        3,
        "r3 does not answer",
        "r1 would lose an unknown number of transactions",
        "--member NODE",
        "swarmbook explain recovery-undecided",
    )
    lab.book("recover", "--member", "r9").refused(2, "r9 carries no member", "r1, r2, r3")
    asked = lab.book("recover", "--member", "r2", "--yes").refused(2, "LOSE UNKNOWN typed on a terminal")
    assert set(states(lab).values()) <= {"starting", ""}, "nothing may have been started"
    digest = re.search(r"--approve (sha256:[0-9a-f]{64})", asked.said)
    assert digest, asked
    lab.book("recover", "--member", "r2", "--approve", digest[1]).expect(0)
    assert rows(lab) == before
    lab.machine("r3").start()
    all_serve(lab)
    lab.book("verify").expect(0)


@pytest.mark.long
def test_a_survivor_is_told_that_it_is_primary(lab: Lab) -> None:
    lab.need()
    power_cut(lab, ["r2"])
    until(lambda: ask(lab, "r1", "SHOW STATUS LIKE 'wsrep_cluster_size'")[0][1] == "2")
    power_cut(lab, ["r3"])
    until(lambda: "non-Primary" in states(lab)["r1"], timeout=BACK_S)
    asked = lab.book("recover", "--member", "r1").refused(2, "LOSE UNKNOWN")
    digest = re.search(r"--approve (sha256:[0-9a-f]{64})", asked.said)
    assert digest, asked
    lab.book("recover", "--member", "r1", "--approve", digest[1]).expect(0)
    until(lambda: states(lab)["r1"] == "Synced, Primary", why=lambda: f"{states(lab)}")
    for node in NODES[1:]:
        lab.machine(node).start()
    all_serve(lab)


@pytest.mark.long
def test_the_last_one_that_ran_goes_on_alone_and_the_others_join(lab: Lab) -> None:
    """Two are stopped cleanly, and then the power of the third one fails: it was the whole component."""
    lab.need()
    before = rows(lab)
    for node in NODES[1:]:
        lab.machine(node).stop()
    power_cut(lab, NODES[:1])
    for node in NODES:
        lab.machine(node).start()
    all_serve(lab)
    assert rows(lab) == before


@pytest.mark.long
def test_the_only_member_survives_every_stop(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(["r1"], swarm_managers=1, lab_disk_gb=3, mariadb_port=SQL, wait_timeout=240)
    lab.book("run").expect(0)
    machine: Machine = lab.machine("r1")
    for stop in (machine.stop, lambda: power_cut(lab, ["r1"]), machine.stop):
        stop()
        machine.start()
        all_serve(lab)
    lab.book("verify").expect(0)
