"""Three nodes and one address: who takes writes while members are killed, stopped, frozen and asked to hand over, under load.

What is believed is what the servers say, asked ten times a second, and the commits that were acknowledged.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pymysql
import pytest

from .conftest import ROOT, Lab, until

NODES = ["e1", "e2", "e3"]
WRITER, READER = 3307, 3308
#: What was measured, a line each.
RESULTS = ROOT / "test-results" / "endpoint.jsonl"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, lab_disk_gb=8, endpoint_writer_port=WRITER, endpoint_reader_port=READER, with_endpoint=True)


def container(lab: Lab, node: str, service: str = "") -> str:
    named = service or f"galera_{node}"
    return lab.machine(node).sh(f"docker ps -q --filter label=com.docker.swarm.service.name={named} | head -n 1")


def inside(lab: Lab, node: str, command: str) -> str:
    """Run a command in the member's container."""
    return lab.machine(node).sh(f"docker exec {container(lab, node)} {command}")


def word(lab: Lab, node: str) -> dict[str, Any]:
    """What the agent of a member says; nothing while there is none."""
    code, said = lab.machine(node).try_sh(
        f"docker exec $(docker ps -q --filter label=com.docker.swarm.service.name=galera_{node} | head -n 1) "
        "curl -s -m 2 http://127.0.0.1:9200/"
    )
    found: dict[str, Any] = json.loads(said) if code == 0 and said.startswith("{") else {}
    return found


def writer(lab: Lab) -> str:
    """The node of the writer, once all members are Synced and just one is open."""

    def settled() -> str:
        words = {node: word(lab, node) for node in NODES}
        if not all(said.get("reader") for said in words.values()):
            return ""
        found = [node for node, said in words.items() if said["writer"]]
        fenced = [node for node, said in words.items() if said["read_only"]]
        return found[0] if len(found) == 1 and len(fenced) == len(NODES) - 1 else ""

    return str(until(settled, pause=0.3, why=lambda: str({node: word(lab, node) for node in NODES})))


def connect(lab: Lab, node: str, port: int) -> Any:
    """As an application does: by the port of a node, with the password and a certificate of the database's CA."""
    context = ssl.create_default_context(cafile=str(lab.ca("database")))
    return pymysql.connect(
        host="localhost", port=int(lab.end(node, port).rpartition(":")[2]), user="app", password=lab.secret("galera-password"),
        database="app", ssl=context, connect_timeout=30, read_timeout=30, write_timeout=30,
    )  # fmt: skip


@dataclass
class Load:
    """Clients that write rows at the writer's port, one transaction each, and run one that failed again.

    Args:
        lab: The lab.
        name: Of this load; begins the ids of its rows.
    """

    lab: Lab
    name: str
    commits: list[tuple[float, str]] = field(default_factory=list)
    errors: list[tuple[float, str]] = field(default_factory=list)
    open: list[tuple[float, float, str]] = field(default_factory=list)
    #: Transactions that failed twice, though nothing was lost with a connection.
    twice: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        with contextlib.closing(connect(self.lab, NODES[0], WRITER)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS rows_of_load (id VARCHAR(64) PRIMARY KEY) ENGINE=InnoDB")
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(node,)) for node in NODES]
        self._threads += [threading.Thread(target=self._sample, args=(node,)) for node in NODES]
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def more(self) -> None:
        """Wait until commits go on, from now on."""
        before = len(self.commits)
        until(lambda: len(self.commits) > before + 50, why=lambda: f"no commits: {self.errors[-5:]}")

    def _write(self, node: str) -> None:
        connection, number = None, 0
        while not self._done.is_set():
            number += 1
            row, failed = f"{self.name}-{node}-{number}", 0
            while not self._done.is_set():
                try:
                    connection = connection or connect(self.lab, node, WRITER)
                    with connection.cursor() as cursor:
                        cursor.execute("INSERT INTO rows_of_load VALUES (%s)", (row,))
                    connection.commit()
                except pymysql.err.IntegrityError:
                    break  # the connection broke during COMMIT, and it had been done
                except (pymysql.err.MySQLError, OSError) as error:
                    self.errors.append((time.time(), str(error)))
                    failed += 1
                    if failed == 2:
                        self.twice.append(f"{row}: {error}")
                    if connection is not None:
                        with contextlib.suppress(Exception):
                            connection.close()
                    connection = None
                else:
                    self.commits.append((time.time(), row))
                    break

    def _sample(self, node: str) -> None:
        """Ask a member again and again whether it would take a write."""
        query = (
            "SET SESSION wsrep_sync_wait = 0, wsrep_dirty_reads = ON; SHOW GLOBAL VARIABLES LIKE 'read_only'; "
            "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'"
        )
        while not self._done.wait(0.1):
            began = time.time()
            code, said = self.lab.machine(node).try_sh(
                f"docker exec $(docker ps -q --filter label=com.docker.swarm.service.name=galera_{node} | head -n 1) "
                f'timeout 2 mariadb -N -e "{query}" 2>/dev/null'
            )
            if code == 0 and "OFF" in said and "Primary" in said:
                self.open.append((began, time.time(), node))

    @property
    def gap(self) -> float:
        """The longest time without a commit, seconds."""
        at = sorted(moment for moment, _ in self.commits)
        return max((later - earlier for earlier, later in itertools.pairwise(at)), default=0.0)

    @property
    def overlap(self) -> float:
        """For how long the writer before was seen open after the next one had been, seconds."""
        first = min(self.open)[2]
        after = [ended for _, ended, node in self.open if node != first]
        return max(0.0, max(began for began, _, node in self.open if node == first) - min(after)) if after else 0.0

    def proven(self) -> None:
        """Every acknowledged commit is on every member; the figures are kept."""
        rows = {row for _, row in self.commits}
        for node in NODES:
            query = f"SET SESSION wsrep_sync_wait = 1; SELECT id FROM app.rows_of_load WHERE id LIKE '{self.name}-%'"
            there = set(inside(self.lab, node, f'mariadb -N -e "{query}"').split())
            assert not rows - there, f"{len(rows - there)} acknowledged commits are not on {node}"
        RESULTS.parent.mkdir(exist_ok=True)
        figures = {
            "what": self.name, "commits": len(rows), "longest gap": round(self.gap, 3), "errors": len(self.errors), "overlap": round(self.overlap, 3),
        }  # fmt: skip
        with RESULTS.open("a") as file:
            file.write(json.dumps(figures) + "\n")


@contextlib.contextmanager
def newcomers(lab: Lab) -> Iterator[None]:
    """Clients that do nothing but connect: each is greeted or turned away, and none is forgotten.

    HAProxy's own way to cut the sessions of a server that is down forgets those that are just being connected.
    """
    done, waited = threading.Event(), [0.0]

    def come(node: str) -> None:
        while not done.is_set():
            began = time.monotonic()
            with contextlib.suppress(pymysql.err.MySQLError, OSError), contextlib.closing(connect(lab, node, WRITER)):
                pass
            waited.append(time.monotonic() - began)

    threads = [threading.Thread(target=come, args=(node,)) for node in NODES * 3]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert max(waited) < 25, f"of {len(waited)} that came, one had no answer for {max(waited):.0f} s"


@pytest.fixture
def load(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[[], Load]]:
    name = re.sub("[^a-z]", "-", request.node.name.removeprefix("test_"))[:24]
    yield lambda: Load(lab, name)


def test_a_run_ends_with_the_endpoint(lab: Lab) -> None:
    said = lab.need().said
    assert "20 endpoint" in said
    assert "writer" in said, "it says how applications get there"
    found = lab.book("endpoint", "--json").expect(0).json
    assert set(found) == {"writer", "reader"}
    assert {key for way in found.values() for key in way} == {
        "host", "port", "network", "others", "user", "database", "ca", "password_file",
    }  # fmt: skip
    way = found["writer"]
    context = ssl.create_default_context(cafile=way["ca"])
    with open(way["password_file"]) as file:
        password = file.read().strip()
    connection = pymysql.connect(
        host=way["host"], port=way["port"], user=way["user"], password=password, database=way["database"], ssl=context
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT @@wsrep_node_name, @@read_only")
        assert cursor.fetchone() == (f"galera-{writer(lab)}", 0)
    # A second run finds nothing to change, and leaves the election as it is.
    before = writer(lab)
    lab.book("run").expect(0)
    assert all(chapter["changes"] == 0 for chapter in lab.summary()["chapters"] if chapter["number"] == "20")
    assert writer(lab) == before
    rows = lab.book("status", "--json").expect(0).json
    assert {row["node"]: row["galera"] for row in rows} == {
        node: f"Synced, Primary, {'writer' if node == before else 'fenced'}" for node in NODES
    }
    lab.book("verify", "--quiet").expect(0, f"{lab.name}: fine: ")


def test_the_others_are_fenced(lab: Lab) -> None:
    lab.need()
    first = writer(lab)
    for node in NODES:
        query = "SELECT @@global.read_only"
        assert inside(lab, node, f'mariadb -N -e "{query}"') == ("0" if node == first else "1")
    names = "galera-writer.service.consul galera-reader.service.consul"
    own = {node: inside(lab, node, "hostname -i").split() for node in NODES}

    def in_consul() -> bool:
        found = [
            inside(lab, first, f"getent ahostsv4 {name} | cut -d' ' -f1 | sort -u").split() for name in names.split()
        ]
        return len(found[0]) == 1 and found[0][0] in own[first] and len(found[1]) == len(NODES)

    until(in_consul, why="Consul does not name the writer alone, and all readers")


def test_a_member_that_is_not_synced_does_not_become_the_writer(lab: Lab) -> None:
    lab.need()
    first = writer(lab)
    other = next(node for node in NODES if node != first)
    lab.book("switch-writer", "e9").refused(2, "no member on e9", "e1, e2, e3")
    inside(lab, other, "mariadb -e 'SET GLOBAL wsrep_desync = 1'")
    try:
        until(lambda: word(lab, other).get("reader") is False, why="it is still Synced")
        lab.book("switch-writer", other).refused(
            3, f"the member on {other} is not Synced", "Donor/Desynced", "swarmbook explain writer-not-synced"
        )
    finally:
        inside(lab, other, "mariadb -e 'SET GLOBAL wsrep_desync = 0'")
    assert writer(lab) == first


def test_the_writer_hands_over_under_load(lab: Lab, load: Callable[[], Load]) -> None:
    lab.need()
    first = writer(lab)
    after = next(node for node in NODES if node != first)
    with load() as running:
        done = lab.book("switch-writer", after, "--json").expect(0).json
        assert (done["before"], done["after"]) == (first, after)
        running.more()
    assert not running.twice, "one retry carries each transaction"
    assert not running.overlap, "the writer before is fenced first"
    running.proven()
    assert writer(lab) == after
    lab.book("switch-writer", after).expect(0, "is the writer already")


def test_the_writer_is_killed(lab: Lab, load: Callable[[], Load]) -> None:
    lab.need()
    first = writer(lab)
    with load() as running, newcomers(lab):
        lab.machine(first).sh(f"docker kill {container(lab, first)}")
        running.more()
        after = writer(lab)
        assert after != first
    assert not running.overlap
    running.proven()
    assert writer(lab) == after, "who comes back takes nothing back"


def test_the_writer_stops_cleanly(lab: Lab, load: Callable[[], Load]) -> None:
    lab.need()
    first = writer(lab)
    with load() as running:
        lab.machine(first).sh(f"docker stop -t 120 {container(lab, first)}")
        running.more()
        assert writer(lab) != first
    assert not running.twice, "one retry carries each transaction"
    assert not running.overlap, "the writer before is fenced first"
    running.proven()


@pytest.mark.long
def test_the_writer_is_frozen(lab: Lab, load: Callable[[], Load]) -> None:
    """It comes back to life, still believes that it is the writer, and has to learn that it is not."""
    lab.need()
    first = writer(lab)
    frozen = container(lab, first)
    with load() as running:
        lab.machine(first).sh(f"docker pause {frozen}")
        try:
            until(
                lambda: any(word(lab, node).get("writer") for node in NODES if node != first),
                why="no one took its place",
            )
            running.more()
        finally:
            lab.machine(first).sh(f"docker unpause {frozen}")
        running.more()
        assert writer(lab) != first
    running.proven()


@pytest.mark.long
def test_a_donor_hands_over(lab: Lab, load: Callable[[], Load]) -> None:
    lab.need()
    first = writer(lab)
    with load() as running:
        inside(lab, first, "mariadb -e 'SET GLOBAL wsrep_desync = 1'")
        until(lambda: any(word(lab, node).get("writer") for node in NODES if node != first), why="it did not hand over")
        running.more()
        inside(lab, first, "mariadb -e 'SET GLOBAL wsrep_desync = 0'")
    assert not running.twice, "one retry carries each transaction"
    assert not running.overlap, "the writer before is fenced first"
    running.proven()


def test_there_is_no_writer_to_hand_over(lab: Lab) -> None:
    """The agent of the writer does not run: no one else takes its place, since it could still commit; and it comes back."""
    lab.need()
    first = writer(lab)
    other = next(node for node in NODES if node != first)
    stop = "bash -c 'kill -STOP $(pgrep -f [i]mages.galera.agent)'"
    try:
        inside(lab, first, stop)
        until(lambda: not word(lab, first), why="the agent still answers")
        lab.book("switch-writer", other).refused(3, "no writer", "swarmbook explain no-writer")
    finally:
        inside(lab, first, "bash -c 'kill -CONT $(pgrep -f [i]mages.galera.agent)'")
    assert writer(lab) == first


def test_destroy_takes_it_away(lab: Lab) -> None:
    lab.need()
    lab.book("destroy", "--yes").expect(0)
    for node in NODES:
        # The engine is set back to what it was, and here it did not run.
        lab.machine(node).sh('! systemctl is-active -q docker.service || test -z "$(docker ps -aq)"')
    lab.unbuilt()
    lab.book("endpoint").refused(3, "no member answers")
