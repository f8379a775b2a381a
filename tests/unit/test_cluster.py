"""A cluster's folder: inventory, lock, refusals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmbook.access.cluster import FORMAT, Cluster, home
from swarmbook.access.node import Endpoint, Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import LockHeld, WorldError
from swarmbook.testing.errors import raises

MakeNode = Callable[..., Node]
HOLDER = """
import sys, time
from swarmbook.access.cluster import Cluster
with Cluster("lab").lock("07: bootstrap"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(home: Path, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until a line comes, or it is killed."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout and process.stdin
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_nodes_survive_the_disk(node: MakeNode) -> None:
    cluster = Cluster("lab")
    nodes = [node("sw1", ports={2376: Endpoint("127.0.0.1", 49001)}), node("sw2", user="admin")]
    cluster.save_nodes(nodes, "lab")
    assert Cluster("lab").nodes == nodes
    assert cluster.file.stat().st_mode & 0o777 == 0o600
    assert cluster.known_hosts.read_text().splitlines() == [
        "[127.0.0.1]:2201 ssh-ed25519 AAAA1",
        "[127.0.0.1]:2202 ssh-ed25519 AAAA2",
    ]


def test_how_a_port_is_reached(node: MakeNode) -> None:
    machine = node("sw1", ports={2376: Endpoint("127.0.0.1", 49001)})
    assert str(machine.reach(2376)) == "127.0.0.1:49001"
    assert str(machine.reach(8501)) == "192.0.2.1:8501"


def test_nothing_there_yet() -> None:
    cluster = Cluster("lab")
    assert not cluster.exists()
    assert cluster.nodes == []


def test_a_newer_format_is_refused(node: MakeNode) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node()], "lab")
    data = json.loads(cluster.file.read_text())
    cluster.file.write_text(json.dumps({**data, "format": FORMAT + 1}))
    with raises(Code.INVENTORY_NOT_READ) as caught:
        _ = cluster.nodes
    assert f"format {FORMAT + 1}" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "text", ["{", "", "[]", '{"format": "x"}', '{"format": 1}', '{"format": 1, "nodes": [{"name": "sw1"}]}']
)
def test_an_inventory_that_is_not_readable(text: str) -> None:
    cluster = Cluster("lab")
    cluster.folder.mkdir(parents=True)
    cluster.file.write_text(text)
    with pytest.raises(WorldError) as caught:
        _ = cluster.nodes
    assert str(cluster.file) in str(caught.value)


def test_nodes_that_were_not_provisioned(node: MakeNode) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node("sw1")], "lab")
    with raises(Code.OUT_OF_ORDER, "run 01 first", "sw2, sw3") as caught:
        cluster.require_nodes(["sw1", "sw2", "sw3"], "02")
    assert "swarmbook run PARAMS --only 01" in str(caught.value)


def test_taking_a_node_out_is_refused(node: MakeNode) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node("sw1"), node("sw2"), node("sw3")], "lab")
    with raises(Code.NODE_TAKEN_OUT, "sw2") as caught:
        cluster.require_nodes(["sw1", "sw3"], "02")
    assert "put sw2 back into" in str(caught.value)
    assert [n.name for n in cluster.require_nodes(["sw3", "sw2", "sw1"], "02")] == ["sw3", "sw2", "sw1"]


def test_a_lock_that_another_process_holds(holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockHeld) as caught, Cluster("lab").lock("mine"):
        pytest.fail("two at once")
    message = str(caught.value)
    assert f"process {holder.pid}: 07: bootstrap" in message
    assert re.search(r"for \d+ s \(since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", message)
    assert f"ps -fwwp {holder.pid}" in message


def test_a_lock_that_was_given_back(holder: subprocess.Popen[str]) -> None:
    holder.communicate("\n", timeout=10)
    with Cluster("lab").lock("mine"):
        pass


def test_the_lock_of_a_killed_process_is_free(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    cluster = Cluster("lab")
    assert (cluster.folder / "lock.json").exists()
    with cluster.lock("mine"):
        assert json.loads((cluster.folder / "lock.json").read_text())["pid"] == os.getpid()


def test_a_lock_within_a_lock() -> None:
    cluster = Cluster("lab")
    with cluster.lock("a"), cluster.lock("b"):
        assert json.loads((cluster.folder / "lock.json").read_text())["what"] == "a"


def test_clusters_do_not_lock_each_other(holder: subprocess.Popen[str]) -> None:
    with Cluster("other").lock("mine"):
        pass


def test_a_kernel_works_under_the_lock_of_its_run(root: Path) -> None:
    cluster = Cluster("lab")
    script = "from swarmbook.access.cluster import Cluster\nwith Cluster('lab').lock('kernel'): print('in')\nwith Cluster('lab').lock('kernel'): print('in')"
    with cluster.lock("run"):
        command = [sys.executable, "-c", script]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(
            command, env={**environment, **cluster.child_environment()}, capture_output=True, text=True, check=True
        )
        assert done.stdout == "in\nin\n"
        assert (cluster.folder / "lock.json").exists()
        stranger = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "LockHeld" in stranger.stderr
        other = subprocess.run(
            command,
            env={**environment, **Cluster("other").child_environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "LockHeld" in other.stderr


def test_an_environment_left_over_from_a_run_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, holder: subprocess.Popen[str]
) -> None:
    monkeypatch.setenv("SWARMBOOK_LOCK_OWNER", "lab:999999999")
    with pytest.raises(LockHeld), Cluster("lab").lock("mine"):
        pytest.fail("two at once")


def test_the_lock_leaves_nothing_behind(home: Path) -> None:
    cluster = Cluster("lab")
    with cluster.lock("try"):
        assert cluster.folder.stat().st_mode & 0o777 == 0o700
    assert not cluster.folder.exists()
    with cluster.lock("cancel"):
        (cluster.folder / "cluster.json").write_text("{}")
        cluster.remove()
    assert not cluster.folder.exists()


def test_the_lock_goes_when_its_block_fails() -> None:
    cluster = Cluster("lab")
    with pytest.raises(ZeroDivisionError), cluster.lock("a"):
        _ = 1 / 0
    with Cluster("lab").lock("b"):
        pass


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() == tmp_path
    monkeypatch.delenv("SWARMBOOK_HOME")
    book = tmp_path / "book"
    for folder in ("notebooks/deep", "params"):
        (book / folder).mkdir(parents=True)
    monkeypatch.chdir(book / "notebooks" / "deep")
    assert home() == book
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path


def test_host_keys_are_pinned_as_ssh_looks_for_them(tmp_path: Path) -> None:
    """No client finds a name in brackets for port 22."""
    import paramiko

    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm5hn7tLcyTyPHwZ1cWu9oTqGQ2nXm3Qd0p0r3m1cPZ"
    cluster = Cluster("lab", tmp_path)
    nodes = [
        Node(name, name, "192.0.2.1", "192.0.2.1", end, key)
        for name, end in (("n1", Endpoint("192.0.2.1", 22)), ("n2", Endpoint("127.0.0.1", 2201)))
    ]
    cluster.folder.mkdir(parents=True)
    cluster.save_nodes(nodes, "lab")
    known = paramiko.HostKeys(str(cluster.known_hosts))
    assert known.lookup("192.0.2.1") and known.lookup("[127.0.0.1]:2201")
