"""Three nodes that are watched: all targets answer, each alert fires by a fault and goes out again, nothing is published, nothing stays.

What is believed is what Prometheus says by `swarmbook alerts`. The one short story is in CI; the sweep over all alerts is for the night.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swarmbook.params import load_params

from .conftest import Lab, until

#: What CI sees of it are the notebooks in the browser.
pytestmark = pytest.mark.long

NODES = ["p1", "p2", "p3"]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, lab_disk_gb=8, with_endpoint=True, with_watch=True, watch_interval=2, watch_alert_for=2)


#: What the server keeps of the exporters' password.
HASH = "SELECT JSON_VALUE(Priv, '$.authentication_string') FROM mysql.global_priv WHERE User = 'swarmbook_watch'"


def container(lab: Lab, node: str, service: str) -> str:
    return lab.machine(node).sh(f"docker ps -q --filter label=com.docker.swarm.service.name={service} | head -n 1")


def sql(lab: Lab, node: str, statement: str) -> str:
    return lab.machine(node).sh(f'docker exec {container(lab, node, f"galera_{node}")} mariadb -N -e "{statement}"')


def firing(lab: Lab) -> list[dict[str, Any]]:
    done = lab.book("alerts", "--json")
    assert done.code in (0, 1), done
    found: list[dict[str, Any]] = done.json
    assert bool(found) == (done.code == 1)
    return found


def named(lab: Lab, alert: str, node: str = "") -> list[dict[str, Any]]:
    return [each for each in firing(lab) if each["name"] == alert and node in ("", each["node"])]


@contextlib.contextmanager
def fires(lab: Lab, alert: str, node: str = "") -> Iterator[None]:
    """An alert that does not fire does so after the fault that is made inside, and goes out when that is repaired, outside."""
    assert not named(lab, alert, node), "it fires before there is a fault"
    yield
    until(lambda: named(lab, alert, node), pause=0.5, why=lambda: f"{alert} does not fire: {firing(lab)}")
    for each in named(lab, alert, node):
        assert each["what"] and "swarmbook " in each["next"]


def goes_out(lab: Lab, *alerts: str) -> None:
    until(
        lambda: not [each for each in firing(lab) if each["name"] in alerts],
        pause=0.5,
        why=lambda: f"still fires: {firing(lab)}",
    )


def writer(lab: Lab) -> str:
    def found() -> str:
        numbers = lab.book("metrics", "--json").expect(0).json
        there = [m["labels"]["node"] for m in numbers if m["name"] == "swarmbook_member_writer" and m["value"] == 1]
        return there[0] if len(there) == 1 else ""

    return str(until(found, pause=0.5, why="no writer"))


def ask(lab: Lab, code: str, **changes: Any) -> Any:
    """What Prometheus answers, by the library, as a process of its own: `asked` is its API."""
    script = (
        "import json, sys\nfrom swarmbook.book.book import Book\nfrom swarmbook.params import load_params\n"
        "from swarmbook.phases.watch.api import prometheus\nbook = Book('', load_params(sys.argv[1]))\n"
        f"with prometheus(book) as asked:\n    print(json.dumps({code}))\nbook.close()\n"
    )
    return lab.call([sys.executable, "-c", script, lab.file(**changes)]).expect(0).json


def down(lab: Lab, node: str) -> None:
    """Kill a member, and keep the swarm from starting it again."""
    manager = next(each for each in NODES if each != node)
    killed = container(lab, node, f"galera_{node}")
    # First the word that it is not wanted, or the swarm would start another; killed before that stops it.
    lab.machine(manager).sh(f"docker service scale -d galera_{node}=0 >/dev/null")
    lab.machine(node).try_sh(f"docker kill {killed}")


def back(lab: Lab, *nodes: str) -> None:
    for node in nodes:
        lab.machine(NODES[0]).sh(f"docker service scale -d galera_{node}=1 >/dev/null")


def listening(lab: Lab, node: str) -> list[str]:
    """Who listens on a machine itself, on a port of what watches; and which of its ports the swarm publishes."""
    said = lab.machine(node).sh("ss -Hltn | awk '{print $4}'; docker ps --format '{{.Ports}}'")
    return [
        line for line in said.split() if line.rpartition(":")[2].partition("->")[0] in ("9090", "9100", "9104", "9200")
    ]


def test_the_short_story(lab: Lab) -> None:
    """In CI: all of it once, with one alert."""
    said = lab.need().said
    assert "24 watch" in said
    targets = ask(lab, "[(t.job, t.node, t.health) for t in asked.targets()]")
    assert sorted(map(tuple, targets)) == sorted(
        (job, node, "up") for job in ("consul", "member", "mysqld", "node") for node in NODES
    )
    # A second run of it finds nothing to change.
    lab.book("run", "--only", "24").expect(0)
    assert {chapter["changes"] for chapter in lab.summary()["chapters"]} == {0}

    # Every query of the dashboard is one, and gives data.
    board = json.loads(lab.swarmbook("dashboard").expect(0).out)
    assert board == json.loads(files("swarmbook.phases.watch").joinpath("dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    counts = ask(lab, f"[(query, len(asked.value(query))) for query in {queries!r}]")
    assert not [query for query, count in counts if not count], counts

    # Numbers without Prometheus, read by its own client.
    text = lab.book("metrics").expect(0).out
    numbers = {
        (s.name, s.labels.get("node", "")): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }
    assert (
        numbers["swarmbook_members_wanted", ""] == sum(numbers["swarmbook_member_synced", node] for node in NODES) == 3
    )

    # A member is killed.
    other = next(node for node in NODES if node != writer(lab))
    with fires(lab, "GaleraSizeBelowWanted"):
        down(lab, other)
    back(lab, other)
    goes_out(lab, "GaleraSizeBelowWanted")

    # Nothing listens on a machine's own addresses, nor Prometheus on the overlay; the exporters do there.
    for node in NODES:
        assert not listening(lab, node)
    first = NODES[0]
    member = container(lab, first, f"galera_{first}")
    reach = "docker exec {} curl -s -m 3 -o /dev/null http://galera-watch_{}"
    assert lab.machine(first).try_sh(reach.format(member, "prometheus:9090/-/ready"))[0] != 0
    assert lab.machine(first).try_sh(reach.format(member, "mysqld-exporter:9104/"))[0] == 0

    # The secrets are where they belong, and nowhere else that is shown.
    for name in ("galera-watch-password", "galera-watch-reads-token", "galera-watch-registers-token"):
        secret = lab.secret(name)
        for node in NODES:
            assert secret not in lab.machine(node).sh("ps axeww; docker ps -q | xargs docker inspect")
        assert not any(secret in path.read_text(errors="replace") for path in lab.runs[-1].rglob("*") if path.is_file())

    # The operator's way to its page.
    running = lab.start("prometheus")
    running.until(lambda: "http://127.0.0.1:" in running.said)
    url = running.said.split("http://")[1].split("/")[0]
    got = subprocess.run(
        ["curl", "-s", "-m", "10", f"http://{url}/-/ready"], capture_output=True, text=True, check=False
    )
    assert "Ready" in got.stdout, got
    running.process.send_signal(2)
    running.wait()


def test_the_exporters_get_another_password(lab: Lab) -> None:
    """24 follows in the same command, and waits until the exporters log in with it."""
    lab.need()
    kept = lab.home / "clusters" / lab.name / "secrets" / "galera-watch-password"
    before, hash_before = kept.read_text("utf-8"), sql(lab, NODES[0], HASH)
    lab.book("rotate", "watch-password").expect(0)
    assert kept.read_text("utf-8") != before and sql(lab, NODES[0], HASH) != hash_before
    targets = ask(lab, "[(t.node, t.health) for t in asked.targets() if t.job == 'mysqld']")
    assert sorted(map(tuple, targets)) == [(node, "up") for node in NODES]
    services = lab.machine(NODES[0]).sh("docker service inspect galera-watch_mysqld-exporter")
    lab.book("run", "--only", "24").expect(0)
    assert {chapter["changes"] for chapter in lab.summary()["chapters"]} == {0}
    assert lab.machine(NODES[0]).sh("docker service inspect galera-watch_mysqld-exporter") == services
    listed = lab.machine(NODES[0]).sh("docker secret ls --format '{{.Name}}'")
    assert len([name for name in listed.split() if "watch" in name and "password" in name]) == 1, listed


def test_a_silent_machine_is_seen_and_left_out(lab: Lab) -> None:
    """Without Prometheus: a node that does not answer is a number."""
    lab.need()
    lab.machine("p3").sh("systemctl stop ssh.service ssh.socket 2>/dev/null; systemctl stop ssh.service")
    try:
        numbers = lab.book("metrics", "--json").expect(0).json
        assert {m["labels"]["node"]: m["value"] for m in numbers if m["name"] == "swarmbook_node_up"} == {
            "p1": 1,
            "p2": 1,
            "p3": 0,
        }
    finally:
        lab.machine("p3").sh("systemctl start ssh.service")


# -- each alert, by a fault of its own ---------------------------------------------------------------------------------


def test_a_member_without_quorum(lab: Lab) -> None:
    lab.need()
    node = next(each for each in NODES if each != writer(lab))
    ns = f"nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' {container(lab, node, f'galera_{node}')}) -n iptables"
    with fires(lab, "GaleraNotPrimary", node):
        for rule in ("INPUT -p tcp --dport 4567", "INPUT -p tcp --sport 4567", "OUTPUT -p tcp --dport 4567"):
            lab.machine(node).sh(f"{ns} -A {rule} -j DROP")
    lab.machine(node).sh(f"{ns} -F")
    goes_out(lab, "GaleraNotPrimary", "GaleraSizeBelowWanted")


def test_a_member_that_cannot_keep_up(lab: Lab) -> None:
    """Someone locks a table on one member, as a dump without --single-transaction does: all others wait for it."""
    lab.need()
    first = writer(lab)
    other = next(each for each in NODES if each != first)
    sql(
        lab,
        first,
        "CREATE DATABASE IF NOT EXISTS slow; CREATE TABLE IF NOT EXISTS slow.t (id BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB",
    )
    until(lambda: "t" in sql(lab, other, "SHOW TABLES IN slow"))
    with fires(lab, "GaleraFlowControl"):
        lab.machine(other).sh(
            f"docker exec -d {container(lab, other, f'galera_{other}')} mariadb -e 'LOCK TABLES slow.t READ; SELECT SLEEP(20)'"
        )
        # Bounded by itself: a client that is cut off goes on in its container.
        lab.machine(first).sh(
            f"docker exec -d {container(lab, first, f'galera_{first}')} timeout 25 bash -c "
            "'for i in $(seq 4000); do echo \"INSERT INTO slow.t VALUES ();\"; done | timeout 25 mariadb'"
        )
    goes_out(lab, "GaleraFlowControl")
    sql(lab, first, "DROP DATABASE slow")


def test_no_writer(lab: Lab) -> None:
    lab.need()
    first = writer(lab)
    inside = f"docker exec {container(lab, first, f'galera_{first}')} bash -c"
    with fires(lab, "WriterMissing"):
        lab.machine(first).sh(f"{inside} 'kill -STOP $(pgrep -f [i]mages.galera.agent)'")
    lab.machine(first).sh(f"{inside} 'kill -CONT $(pgrep -f [i]mages.galera.agent)'")
    goes_out(lab, "WriterMissing", "TargetDown")


def test_two_that_take_writes(lab: Lab) -> None:
    """An agent hangs, and someone opens its member by hand."""
    lab.need()
    other = next(each for each in NODES if each != writer(lab))
    inside = f"docker exec {container(lab, other, f'galera_{other}')} bash -c"
    with fires(lab, "WriterDoubled"):
        lab.machine(other).sh(f"{inside} 'kill -STOP $(pgrep -f [i]mages.galera.agent)'")
        sql(lab, other, "SET GLOBAL read_only = 0")
    lab.machine(other).sh(f"{inside} 'kill -CONT $(pgrep -f [i]mages.galera.agent)'")
    goes_out(lab, "WriterDoubled", "TargetDown")


def test_a_certificate_that_ends_soon(lab: Lab) -> None:
    lab.need()
    file = "/etc/docker/swarmbook/cert.pem"
    with fires(lab, "CertificateDays", "p2"):
        lab.machine("p2").sh(
            f"cp -a {file} /run/cert.before; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -days 3 "
            f"-keyout /run/x.key -out {file} 2>/dev/null"
        )
    lab.machine("p2").sh(f"mv -f /run/cert.before {file}; rm -f /run/x.key")
    goes_out(lab, "CertificateDays")


def test_a_disk_that_fills(lab: Lab) -> None:
    lab.need()
    at = "/var/lib/docker"
    with fires(lab, "DiskFilling", "p3"):
        lab.machine("p3").sh(
            f"fallocate -l $(($(df --output=avail -B1 {at} | tail -n 1) - $(df --output=size -B1 {at} | tail -n 1) * 7 / 100)) {at}/filled"
        )
    lab.machine("p3").sh(f"rm {at}/filled")
    goes_out(lab, "DiskFilling")


def test_managers_and_raft(lab: Lab) -> None:
    """One of Consul's servers is frozen, then another one: without a majority there is no leader."""
    lab.need()
    runs = ask(lab, "asked.node")
    frozen = [node for node in NODES if node != runs]
    held = {node: container(lab, node, "consul_server") for node in frozen}
    try:
        with fires(lab, "SwarmManagersLost"):
            lab.machine(frozen[0]).sh(f"docker pause {held[frozen[0]]}")
        assert named(lab, "TargetDown", frozen[0]), "and the target itself"
        with fires(lab, "RaftNoLeader"):
            lab.machine(frozen[1]).sh(f"docker pause {held[frozen[1]]}")
    finally:
        for node in frozen:
            lab.machine(node).try_sh(f"docker unpause {held[node]}")
    goes_out(lab, "SwarmManagersLost", "RaftNoLeader", "TargetDown")


def test_a_backup_that_is_too_old(lab: Lab) -> None:
    lab.need()
    put = "f=/etc/swarmbook/metrics/backup.prom; echo \"swarmbook_backup_last_verified_seconds $(date -d '{}' +%s)\" > $f.new && mv $f.new $f"
    assert not named(lab, "BackupAge"), "there are no backups yet, so none is missed"
    with fires(lab, "BackupAge"):
        lab.machine("p1").sh(put.format("2 days ago"))
    lab.machine("p1").sh(put.format("now"))
    goes_out(lab, "BackupAge")
    with fires(lab, "BackupAge"):  # nothing is known of it any more
        lab.machine("p1").sh("rm /etc/swarmbook/metrics/backup.prom")


def test_prometheus_comes_back_elsewhere(lab: Lab) -> None:
    """Its node is emptied: the swarm starts it on another manager, and it asks all that it asked before."""
    lab.need()

    def on(node: str) -> str:
        return lab.machine(node).sh("docker ps -q --filter name=galera-watch_prometheus --filter health=healthy")

    runs = ask(lab, "asked.node")
    lab.machine(runs).sh(
        "docker node update --availability drain $(docker info --format '{{.Swarm.NodeID}}') >/dev/null"
    )
    try:
        until(
            lambda: any(on(node) for node in NODES if node != runs) and lab.book("alerts").code in (0, 1),
            pause=1,
            why="it runs nowhere else",
        )
    finally:
        lab.machine(runs).sh(
            "docker node update --availability active $(docker info --format '{{.Swarm.NodeID}}') >/dev/null"
        )
    lab.book("run").expect(0)
    assert len(ask(lab, "[t.node for t in asked.targets() if t.health == 'up']")) == 12


def test_targets_of_a_node_that_left_vanish(make_lab: Callable[..., Lab]) -> None:
    """A lab of its own: one node more, and one fewer again."""
    few, more = ["q1", "q2"], ["q1", "q2", "q3"]
    lab = make_lab(few, lab_disk_gb=8, swarm_managers=1, with_watch=True, watch_interval=2)
    lab.need()
    lab.book("run", "--yes", nodes=more).expect(0)
    assert "q3" in ask(lab, "[t.node for t in asked.targets()]", nodes=more)
    lab.book("scale", "--yes").expect(0)
    assert "q3" not in ask(lab, "[t.node for t in asked.targets()]")
    lab.book("cancel", "--yes").expect(0)


def test_destroy_leaves_nothing(lab: Lab) -> None:
    lab.need()
    assert load_params(lab.home / lab.file()).with_watch
    for node in NODES:
        assert lab.machine(node).sh("docker ps -q --filter label=com.docker.stack.namespace=galera-watch"), node
    lab.book("destroy", "--yes").expect(0)
    for node in NODES:
        lab.machine(node).sh("test ! -e /etc/swarmbook && test ! -e /etc/docker/swarmbook/cert.pem")
        lab.machine(node).sh(
            '! systemctl is-active -q docker.service || test -z "$(docker ps -aq; docker volume ls -q; docker images -q)"'
        )
        assert "watch" not in lab.machine(node).sh("ls /var/lib/docker/volumes 2>/dev/null || true")
    lab.unbuilt()
    lab.book("alerts").refused(2, "run 24 first", "swarmbook run PARAMS --only 24")
