"""Two nodes and all that goes wrong: runs that are killed, notebooks out of order, broken disks, engines, networks and keys.

One lab is built up bit by bit, phase after phase, and at each the trouble that belongs there is made, seen refused, and fixed. So the
tests stand in the order of the phases; each brings the lab to the phase it needs by :func:`at`, which costs nothing when it is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.model.ledger import read_run

from .conftest import SOON_S, Done, Lab, Running, until

NODES = ["n1", "n2"]
SQL = 3307
DISK = "/dev/disk/by-id/lab-second-disk"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, swarm_managers=1, lab_disk_gb=3, mariadb_port=SQL, wait_timeout=120)


def at(lab: Lab, last: str) -> None:
    """The lab with every phase up to this one done."""
    done = getattr(lab, "done", "00")
    if done < last:
        lab.book("run", "--to", last).expect(0)
        lab.done = last  # type: ignore[attr-defined]


def reached(lab: Lab, last: str) -> None:
    lab.done = last  # type: ignore[attr-defined]


def killed(lab: Lab, run: Running) -> None:
    """Kill a run as hard as can be; nothing that it has started goes on for long."""
    run.process.send_signal(signal.SIGKILL)
    assert run.wait().code == -signal.SIGKILL
    until(lambda: not lab.kernels(), timeout=SOON_S, why=lambda: f"kernels left behind: {lab.kernels()}")
    assert lab.summary()["status"] == "running", "a run that was killed cannot have said more"


def first_status(lab: Lab, number: str) -> list[str]:
    """Statuses of the code cells of a notebook of the last run, or nothing when it is not there yet."""
    for path in lab.runs[-1].glob(f"{number}_*.ipynb") if lab.runs else []:
        book = nbformat.read(path, as_version=4)
        return [cell.metadata.papermill.status for cell in book.cells if cell.cell_type == "code"]
    return []


def galera_volume(lab: Lab, node: str, script: str) -> str:
    return lab.machine(node).sh(f"cd /var/lib/docker/volumes/galera-data/_data && {script}")


# -- 01 ----------------------------------------------------------------------------------------------------------------


def test_killed_while_machines_are_made(lab: Lab) -> None:
    run = lab.start("run")
    run.until(lambda: any(name.startswith("container") for name in lab.leftovers()))
    killed(lab, run)
    lab.book("run", "--to", "01").expect(0)
    reached(lab, "01")
    assert len(lab.leftovers()) == 5, lab.leftovers()
    for node in NODES:
        assert lab.ssh(node, "hostname").expect(0).out.strip() == node


@pytest.mark.parametrize("number", ["04", "07"])
def test_out_of_order_without_a_swarm(lab: Lab, number: str) -> None:
    at(lab, "01")
    lab.book("run", "--only", number).refused(
        2, "run 03 first", "n1 manages no swarm", "swarmbook run PARAMS --from 03"
    )


# -- 02: disks ---------------------------------------------------------------------------------------------------------


def test_disk_with_foreign_data(lab: Lab) -> None:
    at(lab, "01")
    n1, n2 = lab.machine("n1"), lab.machine("n2")
    n2.sh(
        f"mkfs.btrfs -q -L precious $(readlink -f {DISK}) && mount $(readlink -f {DISK}) /mnt && echo 'do not lose me' > /mnt/letter && umount /mnt"
    )
    done = lab.book("run", "--only", "02").refused(
        3,
        "ForeignData",
        "the second disk of n2 holds data that is not ours",
        "btrfs precious",
        "wipe_disks: [n2]",
        "swarmbook explain disk-not-empty",
    )
    assert DISK in done.said
    assert n2.sh(f"mount $(readlink -f {DISK}) /mnt && cat /mnt/letter && umount /mnt") == "do not lose me"
    assert n1.try_sh(f"blkid -p $(readlink -f {DISK})")[1] == "", "no disk of any node is touched"
    n2.sh(
        f"wipefs -a -q $(readlink -f {DISK}) && echo 'size=1G, type=83' | sfdisk -q --no-reread $(readlink -f {DISK})"
    )
    lab.book("run", "--only", "02", wipe_disks=["n1"]).refused(3, "the second disk of n2", "dos")
    done = lab.book("run", "--only", "02", wipe_disks=["n2"]).expect(
        2, "ConfirmationMissing", "This will be removed, for good:", f"n2: {DISK} wiped (dos)"
    )
    assert "n1" not in done.said, done
    assert n2.sh(f"blkid -p -o value -s PTTYPE $(readlink -f {DISK})") == "dos", "no one said yes"
    lab.book("run", "--only", "02", "--yes", wipe_disks=["n2"]).expect(0)
    yes = [event for event in read_run(lab.runs[-1]).events if event["event"] == "approval"]
    assert [(event["word"], event["how"], event["what"]) for event in yes] == [
        ("DESTROY", "--yes", [f"n2: {DISK} wiped (dos)"])
    ]
    for machine in (n1, n2):
        assert machine.sh("findmnt -n -o FSTYPE,LABEL /var/lib/docker").split() == ["btrfs", "docker"]
    reached(lab, "02")
    lab.done_listing = {node: listing(lab, node) for node in NODES}  # type: ignore[attr-defined]


def listing(lab: Lab, node: str) -> set[str]:
    """Every file of a machine but logs, caches and what systemd and the package manager write at any time."""
    skip = " ".join(
        f"-path {path} -prune -o"
        for path in (
            "/proc",
            "/sys",
            "/dev",
            "/run",
            "/tmp",
            "/lab",
            "/var/log",
            "/var/cache",
            "/var/backups",  # dpkg-db-backup.timer, at midnight
            "/var/lib/systemd",
            "/var/lib/apt",
        )
    )
    return set(lab.machine(node).sh(f"find / {skip} -print").splitlines())


# -- 03: engines -------------------------------------------------------------------------------------------------------


def test_broken_daemon_json(lab: Lab) -> None:
    at(lab, "02")
    n2 = lab.machine("n2")
    n2.sh("mkdir -p /etc/docker && echo '{\"debug\": tru' > /etc/docker/daemon.json")
    lab.book("run", "--only", "03").refused(
        3,
        "the engine's settings are not readable",
        "n2: /etc/docker/daemon.json",
        "swarmbook ssh n2",
        "swarmbook explain engine-settings-not-read",
    )
    assert n2.sh("cat /etc/docker/daemon.json") == '{"debug": tru', "it was left alone"
    lab.book("plan", "--only", "03").refused(3, "the engine's settings are not readable")
    # The advice, typed: the file is moved, by way of `swarmbook ssh`.
    lab.ssh("n2", "mv /etc/docker/daemon.json /root/").expect(0)
    lab.book("plan", "--only", "03").expect(0)
    n2.sh("rm /root/daemon.json")


def test_engine_that_does_not_start(lab: Lab) -> None:
    at(lab, "02")
    n2 = lab.machine("n2")
    n2.sh("mkdir -p /etc/docker && echo '{\"no-such-setting\": true}' > /etc/docker/daemon.json")
    done = lab.book("run", "--only", "03").refused(
        3,
        "EngineUnavailable",
        "the engine on n2 does not start",
        "no-such-setting",
        "swarmbook ssh n2 journalctl -u docker",
        "--from 03",
        "swarmbook explain engine-does-not-start",
    )
    logs = told_why(lab, done, "03", "n2  engine", "no-such-setting")
    assert "engine: does not answer" in logs["n2"] and "==== 1 system" in logs["n1"]
    # Fixed as one would: the file is theirs again, as it was, and goes.
    n2.sh("rm -f /etc/docker/daemon.json /etc/docker/daemon.json.before-swarmbook")


def told_why(lab: Lab, done: Done, number: str, *parts: str) -> dict[str, str]:
    """After a failure: a file for each node in the run's folder, bounded; the lines that matter on the terminal, in notebook and ledger."""
    run = lab.runs[-1]
    found = {path.stem: path.read_text() for path in (run / "logs").iterdir()}
    assert set(found) == set(NODES), done
    assert all(1000 < len(text.encode()) <= 512 * 1024 for text in found.values())
    shown = done.said.partition("the lines that matter:")[2].partition("logs of n1, n2")[0]
    book = nbformat.read(next(run.glob(f"{number}_*.ipynb")), as_version=4)
    (cell,) = [cell for cell in book.cells if cell.cell_type == "code" and cell.metadata.papermill.status == "failed"]
    (failure,) = [
        event
        for event in map(json.loads, (run / "ledger.jsonl").read_text().splitlines())
        if event["event"] == "failure"
    ]
    places = {"the terminal": shown, "the notebook": cell.outputs[-1].text, "the ledger": "\n".join(failure["lines"])}
    assert all(part in text for part in parts for text in places.values()), f"{parts} not in each of {places}"
    assert len(shown.strip().splitlines()) <= 12
    lab.swarmbook("audit", str(run)).expect(0, "unchanged since it was recorded", "failed")
    return found


def test_interrupted(lab: Lab) -> None:
    at(lab, "02")
    run = lab.start("run", "--only", "03")
    run.until(lambda: "running" in first_status(lab, "03")[3:])  # behind parameters and bootstrap: the first step
    done = run.send(signal.SIGINT).expect(130, "Interrupted", "interrupted", "next:", "swarmbook explain interrupted")
    statuses = first_status(lab, "03")
    assert "interrupted" in statuses and statuses[-1] == "not-run", f"{statuses}{done}"
    assert "completed" not in statuses[statuses.index("interrupted") :]
    summary = lab.summary()
    assert (summary["status"], summary["exit_code"]) == ("interrupted", 130)
    assert summary["chapters"][0]["steps"][-1]["status"] == "not-run"
    until(lambda: not lab.kernels(), timeout=SOON_S, why=lambda: f"kernels left behind: {lab.kernels()}")


def test_killed_while_the_swarm_is_formed(lab: Lab) -> None:
    """What is left is neither nothing nor a swarm of two; the next test's runs go on from there."""
    at(lab, "02")
    run = lab.start("run")
    run.until(
        lambda: lab.machine("n1").try_sh("docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null")[1] == "active"
    )
    killed(lab, run)


def test_full_disk(lab: Lab) -> None:
    at(lab, "02")
    n1, n2 = lab.machine("n1"), lab.machine("n2")
    # All but 60 MB: less than the images take.
    n2.sh(
        "free=$(df --output=avail -B1M /var/lib/docker | tail -n 1); fallocate -l $((free - 60))M /var/lib/docker/ballast"
    )
    try:
        done = lab.book("run", "--only", "03").refused(
            3, "space", "df -h /var/lib/docker", "swarmbook explain images-do-not-fit"
        )
        assert "n2" in done.said.partition("where:")[2].splitlines()[0], done
        assert "n1" not in done.said.partition("where:")[2].splitlines()[0], f"n1 has room:{done}"
    finally:
        n2.sh("rm /var/lib/docker/ballast; sync")
    lab.book("run", "--to", "03").expect(0)
    reached(lab, "03")
    nodes = n1.sh("docker node ls --format '{{.Hostname}} {{.Status}} {{.ManagerStatus}}'").splitlines()
    assert sorted(line.strip() for line in nodes) == ["n1 Ready Leader", "n2 Ready"]


# -- 04: Consul --------------------------------------------------------------------------------------------------------


def test_out_of_order_without_consul(lab: Lab) -> None:
    at(lab, "03")
    lab.book("run", "--only", "05").refused(2, "run 04 first", "--from 04")


def test_port_of_consul_in_use(lab: Lab) -> None:
    at(lab, "03")
    n1 = lab.machine("n1")
    squat(n1, 8501)
    try:
        lab.book("run", "--only", "04", wait_timeout=20).refused(
            3, "8501", "n1", "in use", "swarmbook explain consul-port-taken"
        )
        assert "sshd" in lab.ssh("n1", "ss -lntup").expect(0).out, "it shows who it is"
    finally:
        n1.sh("systemctl stop squatter")
    lab.book("run", "--only", "04").expect(0)
    reached(lab, "04")


def squat(machine: Any, port: int) -> None:
    """Something listens there that is not ours: a second sshd, since every machine has one."""
    machine.sh(f"systemd-run -q --unit=squatter /usr/sbin/sshd -D -p {port} -o PidFile=none")
    until(lambda: machine.try_sh(f"ss -Hltn 'sport = :{port}' | grep -q .")[0] == 0)


# -- 06: the overlay ---------------------------------------------------------------------------------------------------


def test_out_of_order_without_the_overlay(lab: Lab) -> None:
    at(lab, "04")
    lab.book("run", "--only", "07").refused(2, "run 06 first", "no network backend", "--from 06")
    lab.book("run", "--only", "08").refused(2, "run 07 first", "no container of galera_n", "--from 07")


def test_overlay_on_a_network_of_the_nodes(lab: Lab) -> None:
    at(lab, "04")
    route = next(
        r["dst"]
        for r in json.loads(lab.machine("n1").sh("ip -j -4 route"))
        if r.get("dev") == "eth0" and r["dst"] != "default"
    )
    lab.book("run", "--only", "06", overlay_subnet=route).refused(
        2,
        f"overlay_subnet {route}",
        f"n1 has a route to {route}",
        "choose another overlay_subnet",
        "swarmbook explain subnet-taken",
    )
    assert lab.machine("n1").try_sh("docker network inspect backend")[0] != 0
    assert route in lab.ssh("n1", "ip route").expect(0).out, "the advice shows it"
    lab.book("run", "--only", "06").expect(0)


# -- 07: Galera --------------------------------------------------------------------------------------------------------


def test_port_of_the_member_in_use(lab: Lab) -> None:
    at(lab, "06")
    n2 = lab.machine("n2")
    squat(n2, SQL)
    try:
        lab.book("run", "--only", "07").refused(
            3,
            f"port {SQL} is in use on n2",
            "sshd",
            "choose another mariadb_port",
            "swarmbook explain member-port-taken",
        )
        assert lab.machine("n1").try_sh("docker volume inspect galera-data")[0] != 0, "nothing was begun"
    finally:
        n2.sh("systemctl stop squatter")
    image = n2.sh("docker inspect --format '{{.Image}}' $(docker ps -q | head -n 1)")
    n2.sh(f"docker run -d --name shop-db -p {SQL}:9 --entrypoint sleep {image} 300")
    try:
        lab.book("run", "--only", "07").refused(3, f"port {SQL} is in use on n2", "the container shop-db publishes it")
    finally:
        n2.sh("docker rm -f shop-db")


def test_killed_while_a_member_joins(lab: Lab) -> None:
    at(lab, "06")
    run = lab.start("run", "--from", "07")
    n2 = lab.machine("n2")
    run.until(lambda: n2.sh("docker ps -q --filter label=com.docker.swarm.service.name=galera_n2"))
    killed(lab, run)
    founded = galera_volume(lab, "n1", "cat bootstrapped; ls")
    assert "bootstrap.used" in founded.split() and "bootstrap" not in founded.split()
    killed_run = lab.runs[-1]
    lab.swarmbook("audit", str(killed_run)).expect(1, "the run ended without an end: killed")
    lab.swarmbook("run", "--resume", str(killed_run)).expect(
        0, "How to reach it:", f"resuming {killed_run.name} (running)"
    )
    assert [chapter["number"] for chapter in lab.summary()["chapters"]] == ["07", "08"], (
        "what the killed run was to run"
    )
    lab.book("plan", "--check").expect(0, "nothing to change")
    reached(lab, "08")
    assert galera_volume(lab, "n1", "cat bootstrapped; ls") == founded, "bootstrapped a second time"
    assert lab.summary()["status"] == "completed"


# -- what was pinned and kept -------------------------------------------------------------------------------------------


def test_another_host_key(lab: Lab) -> None:
    at(lab, "08")
    known = lab.folder / "known_hosts"
    good = known.read_text()
    lines = good.splitlines()
    keys = [line.split()[-1] for line in lines]
    known.write_text("".join(line.replace(keys[1], keys[0]) + "\n" for line in lines))
    try:
        lab.book("verify").refused(
            3,
            "HostKeyMismatch",
            "n2 shows another host key",
            keys[1],
            "n2 (root@127.0.0.1:",
            "swarmbook explain host-key-changed",
        )
        rows = lab.book("status", "--json").expect(3).json
        assert [row["ssh"].split(":")[0] for row in rows] == ["ok", "HostKeyMismatch"]
        # The advice holds: 01 reads the keys from inside the machines and pins them again.
        lab.book("run", "--only", "01").expect(0)
        assert known.read_text() == good
    finally:
        known.write_text(good)


def test_another_ssh_key(lab: Lab, tmp_path: Path) -> None:
    at(lab, "08")
    key, public = lab.folder / "id_ed25519", lab.folder / "id_ed25519.pub"
    kept = key.read_bytes(), public.read_bytes()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    key.write_bytes((tmp_path / "key").read_bytes())
    public.write_bytes((tmp_path / "key.pub").read_bytes())
    try:
        lab.book("verify").refused(
            3, "LoginRefused", "n1 does not accept the cluster's SSH key", str(key), "swarmbook explain login-refused"
        )
        assert {row["ssh"].split(":")[0] for row in lab.book("status", "--json").expect(3).json} == {"LoginRefused"}
        # The advice holds: 01 puts the key that is here on the machines.
        lab.book("run", "--only", "01").expect(0)
        lab.book("status").expect(0)
    finally:
        key.write_bytes(kept[0])
        public.write_bytes(kept[1])
        for node in NODES:
            lab.machine(node).sh(f"echo '{kept[1].decode().strip()}' > /root/.ssh/authorized_keys")


def test_no_ssh_key(lab: Lab) -> None:
    at(lab, "08")
    key = lab.folder / "id_ed25519"
    kept = key.read_bytes()
    key.unlink()
    try:
        lab.book("verify").refused(3, "the cluster's SSH key is gone", str(key), "swarmbook explain key-gone")
    finally:
        key.write_bytes(kept)
        key.chmod(0o600)
    lab.book("status").expect(0)


@pytest.mark.parametrize(
    ("content", "parts"),
    [({"format": 99}, ["newer swarmbook", "format 99"]), ("{", ["not readable"])],
    ids=["newer", "torn"],
)
def test_cluster_folder_that_is_not_ours_to_read(lab: Lab, content: Any, parts: list[str]) -> None:
    at(lab, "08")
    file = lab.folder / "cluster.json"
    kept = file.read_text()
    file.write_text(content if isinstance(content, str) else json.dumps({**json.loads(kept), **content}))
    written = file.read_text()
    try:
        for verb in ("run", "verify", "status", "destroy"):
            lab.book(verb, *(["--yes"] if verb == "destroy" else [])).refused(3, str(file), *parts)
        lab.swarmbook("ls").refused(3, str(file), *parts, "swarmbook explain inventory-not-read")
        assert file.read_text() == written
    finally:
        file.write_text(kept)
    lab.swarmbook("ls").expect(0, "n1")


def test_lab_of_another_folder(lab: Lab, make_lab: Callable[..., Lab]) -> None:
    """The same name from another home: refused, and nothing of the first is touched."""
    at(lab, "01")
    other = make_lab(NODES)
    other.params["cluster"] = lab.name
    other.name = lab.name
    before = lab.leftovers()
    try:
        other.book("run", swarm_managers=1).refused(
            3,
            "ForeignData",
            "belongs to another folder",
            str(lab.folder),
            "another name",
            "swarmbook explain lab-of-another-folder",
        )
        other.book("cancel", "--yes", swarm_managers=1).refused(3, "belongs to another folder")
        assert lab.leftovers() == before
        other.params["cluster"] = other.name = f"{lab.name}b"
        other.book("plan", swarm_managers=1).expect(0)
    finally:
        other.name = "t-nobody"  # it has nothing to take away


# -- machines that are gone ---------------------------------------------------------------------------------------------


def test_stopped_machine_is_told_and_started_again(lab: Lab) -> None:
    at(lab, "08")
    lab.machine("n2").stop()
    done = lab.book("verify").refused(
        3,
        "HostUnreachable",
        "n2 does not answer over SSH",
        "n2 (root@127.0.0.1:",
        "swarmbook run PARAMS --only 01",
        "swarmbook explain host-unreachable",
    )
    assert "n2  node: does not answer: the provider says: container" in done.said and "is exited" in done.said, done
    assert "galera: galera_n1, running" in (lab.runs[-1] / "logs" / "n1.txt").read_text()
    found = lab.book("logs", "--since", "1h", "--json").expect(3).json
    assert [(node["node"], node["answered"]) for node in found["nodes"]] == [("n1", True), ("n2", False)]
    lab.book("logs", "n1", "--out", "why").expect(0, "n1.txt")
    assert [path.name for path in (lab.home / "why").iterdir()] == ["n1.txt"]
    lab.book("logs", "n9").refused(2, "no node n9", "n1, n2")
    rows = lab.book("status", "--json").expect(3).json
    assert [row["ssh"].split(":")[0] for row in rows] == ["ok", "HostUnreachable"]
    lab.book("run", "--only", "01").expect(0)
    assert lab.machine("n2").inspect()["State"]["Running"]
    lab.book("run").expect(0)


def test_a_member_that_does_not_run(lab: Lab) -> None:
    at(lab, "08")
    n1, n2 = lab.machine("n1"), lab.machine("n2")
    n1.sh("docker service scale -d galera_n2=0")
    until(
        lambda: not n2.sh("docker ps -q --filter label=com.docker.swarm.service.name=galera_n2"),
        why="the member still runs",
    )
    try:
        lab.book("verify").refused(
            3, "the member on n2 does not run", "swarmbook logs PARAMS n2", "swarmbook explain member-down"
        )
        line = (
            lab.book("verify", "--quiet")
            .expect(3, f"{lab.name}: NOT FINE: ", "08 verify_galera failed: WorldError: the member on n2 does not run")
            .said
        )
        assert line.count("\n") == 1, line
    finally:
        n1.sh("docker service scale -d galera_n2=1")
    lab.book("run", "--only", "07").expect(0)
    lab.book("verify", "--quiet").expect(0, f"{lab.name}: fine: ")


def test_a_member_that_does_not_listen_yet_is_no_firewall(lab: Lab) -> None:
    """As while it joins: its container's port has a listener on the host, and what is in it refuses."""
    at(lab, "08")
    n1, n2 = lab.machine("n1"), lab.machine("n2")
    n1.sh("docker service scale -d galera_n2=0")
    until(
        lambda: not n2.sh("docker ps -q --filter label=com.docker.swarm.service.name=galera_n2"),
        why="the member still runs",
    )
    try:
        image = n2.sh("docker images -q swarmbook/galera").split()[0]
        n2.sh(f"docker run -d --name quiet -p {SQL}:3306 --entrypoint sleep {image} 600")
        n1.sh(f"! bash -c 'exec 3<>/dev/tcp/{n2.sh('hostname -i').split()[0]}/{SQL}' 2>/dev/null")
        lab.book("run", "--only", "01").expect(0)
    finally:
        n2.sh("docker rm -fv quiet")  # with its volume, which would be no one's to remove
        n1.sh("docker service scale -d galera_n2=1")
    lab.book("run", "--only", "07").expect(0)


def test_an_agent_that_the_swarm_is_about_to_start_is_waited_for(lab: Lab) -> None:
    """Between the end of a container and the start of the next, the swarm leaves five seconds."""
    at(lab, "08")
    lab.machine("n2").sh("docker rm -f $(docker ps -q --filter label=com.docker.swarm.service.name=consul_client)")
    lab.book("run", "--only", "04").expect(0)
    assert lab.summary()["changes"] <= 1, "the swarm may have been faster"
    # What counts: when the run is over, the agent is there, and the others see it.
    assert lab.machine("n2").sh("docker ps -q --filter label=com.docker.swarm.service.name=consul_client")
    lab.book("run", "--only", "05").expect(0)
    lab.book("verify", "--quiet").expect(0, f"{lab.name}: fine: ")


def test_an_engine_that_was_stopped_is_started_by_an_approved_plan(lab: Lab) -> None:
    """What 04 and 07 then wait for is part of the plan, or the run would stop at what no one approved."""
    at(lab, "08")
    lab.machine("n2").sh("systemctl stop docker.service docker.socket")
    lab.book("plan", "--out", "stopped.json").expect(0, "engine started")
    digest = hashlib.sha256((lab.home / "stopped.json").read_bytes()).hexdigest()
    lab.book("run", "--approve", digest).expect(0)
    lab.book("verify", "--quiet").expect(0, f"{lab.name}: fine: ")


# -- away and built again ------------------------------------------------------------------------------------------------


def test_destroy_leaves_the_machines_and_nothing_else(lab: Lab) -> None:
    at(lab, "08")
    ids = [lab.machine(node).inspect()["Id"] for node in NODES]
    lab.book("destroy", "--yes").expect(0, "This will be removed, for good:", "galera-data", "consul_server")
    assert [lab.machine(node).inspect()["Id"] for node in NODES] == ids
    for node in NODES:
        machine = lab.machine(node)
        assert lab.ssh(node, "hostname").expect(0).out.strip() == node
        if listed := getattr(lab, "done_listing", None):
            new = listing(lab, node) - listed[node] - {"/var/lib/containerd"}  # empty, but its package's
            assert not new, f"on {node}: {sorted(new)}"
        assert machine.sh("ls -A /var/lib/docker") == ""
        assert machine.sh("findmnt -n -o FSTYPE /var/lib/docker") == "btrfs", "02's work stays"
        running = machine.sh("ps -eo comm").split()
        assert not {"dockerd", "containerd", "mariadbd", "consul"} & set(running), running
        assert not {"docker0", "docker_gwbridge"} & {link["ifname"] for link in json.loads(machine.sh("ip -j link"))}
        assert "DOCKER-USER" not in machine.sh("iptables-save"), "rules of the engine"
    lab.book("destroy", "--yes").expect(0, "Nothing to destroy.")
    lab.done = "02"  # type: ignore[attr-defined]


def test_what_a_stopped_engine_held_is_kept(lab: Lab) -> None:
    """An engine that its owner had stopped before the book came: its volume is not the book's to take away."""
    at(lab, "02")
    n1 = lab.machine(NODES[0])
    n1.sh("systemctl start docker && docker volume create theirs && systemctl stop docker docker.socket")
    lab.book("run", "--only", "03").expect(0)
    assert n1.sh("cat /etc/swarmbook/engine-before") == "held"
    lab.book("destroy", "--yes").expect(
        0,
        "the engine set back to stopped, with what it held",
        "/var/lib/docker, /var/lib/containerd, /opt/containerd emptied",
    )
    assert (
        n1.sh("ls -d /var/lib/docker/volumes/theirs/_data")
        and n1.sh("systemctl is-active docker || true") == "inactive"
    )
    assert lab.machine(NODES[1]).sh("ls -A /var/lib/docker") == ""
    lab.book("destroy", "--yes").expect(0, "Nothing to destroy.")
    n1.sh("find /var/lib/docker -mindepth 1 -delete")
    lab.done = "02"  # type: ignore[attr-defined]


def test_an_engine_that_does_not_answer_is_not_taken_for_an_empty_one(lab: Lab) -> None:
    at(lab, "03")
    n1 = lab.machine(NODES[0])
    n1.sh(
        "printf '#!/bin/sh\\necho no answer >&2; exit 1\\n' > /usr/local/bin/docker && chmod +x /usr/local/bin/docker"
    )
    lab.book("destroy", "--yes").refused(3, f"a command failed on {NODES[0]}", "no answer")
    n1.sh("rm /usr/local/bin/docker")
    reached(lab, "03")


def test_rebuild_by_an_approved_plan(lab: Lab) -> None:
    """Held to the plan from the first step to the last, though most of it was planned before there was anything to look at."""
    at(lab, "02")
    lab.book("plan", "--for", "rebuild", "--out", "rebuild.json").expect(0, "assumed")
    digest = hashlib.sha256((lab.home / "rebuild.json").read_bytes()).hexdigest()
    lab.book("rebuild", "--approve", "0" * 64).refused(
        2, "the approval is for another plan; nothing was touched", digest, "swarmbook explain approved-another-plan"
    )
    lab.book("rebuild", "--approve", digest).expect(0, "How to reach it:")
    assert [chapter["number"] for chapter in lab.summary()["chapters"]] == ["90", "03", "04", "05", "06", "07", "08"]
    reached(lab, "08")


@pytest.mark.long
def test_a_rebuild_that_was_killed_does_not_destroy_twice(lab: Lab) -> None:
    at(lab, "08")
    runs = len(lab.runs)
    run = lab.start("rebuild", "--yes")
    run.until(lambda: len(lab.runs) > runs and "completed" in first_status(lab, "03")[2:])
    killed(lab, run)
    parent = lab.runs[-1]
    lab.swarmbook("run", "--resume", str(parent)).expect(0, "How to reach it:")
    assert [chapter["number"] for chapter in lab.summary()["chapters"]] == ["03", "04", "05", "06", "07", "08"]
    assert next(c["proof"] for c in lab.summary()["chapters"] if c["number"] == "08") == "", (
        "no one said that it was done"
    )


def test_killed_in_the_middle_of_cancel(lab: Lab) -> None:
    at(lab, "01")
    run = lab.start("cancel", "--yes")
    run.until(lambda: len([name for name in lab.leftovers() if name.startswith("container")]) < len(NODES))
    run.process.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: not lab.kernels(), timeout=SOON_S, why=lambda: f"kernels left behind: {lab.kernels()}")
    lab.book("cancel", "--yes").expect(0)
    assert lab.leftovers() == []
    assert not lab.folder.exists()
    if os.geteuid() == 0:
        assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if lab.name in line]
