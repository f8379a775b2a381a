"""Two clusters side by side: the second one follows the first, takes its place, and gives it back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest

from .conftest import LABEL, Lab, until
from .writer import SQL, ask

#: Eighteen minutes: six machines, and each change of the one is awaited in the other.
pytestmark = pytest.mark.long
FIRST, SECOND = ["o1", "o2", "o3"], ["s1", "s2", "s3"]


@dataclass(frozen=True)
class Two:
    """Both labs, in one home, and a network between them; each has routes to the other one's addresses over it.

    Its name sorts behind those of the labs: an engine leads published ports to the first network of a container.
    """

    first: Lab
    second: Lab
    between: str

    def need(self) -> None:
        if self.second._built is not None:
            return
        self.first.need()
        self.first.book("backup").expect(0)  # which makes the password that the second one's file names
        self.second.need()
        (self.second.folder / "secrets" / "galera-password").write_text(self.first.secret("galera-password"))
        api = self.first.docker.api
        api.create_network(self.between, driver="bridge", labels={LABEL: self.first.name})
        for lab in (self.first, self.second):
            for node in lab.params["nodes"]:
                api.connect_container_to_network(lab.machine(node).container, self.between)
        self.routes()

    def routes(self) -> None:
        """Set the routes; a machine that was started again has lost them."""
        for lab, other in ((self.first, self.second), (self.second, self.first)):
            for node in other.params["nodes"]:
                networks = other.machine(node).inspect()["NetworkSettings"]["Networks"]
                private, gate = (networks[name]["IPAddress"] for name in (f"swarmbook-{other.name}", self.between))
                for from_node in lab.params["nodes"]:
                    lab.machine(from_node).sh(f"ip route replace {private}/32 via {gate}")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            api = self.first.docker.api
            for container in api.inspect_network(self.between)["Containers"]:
                api.disconnect_container_from_network(container, self.between, force=True)
            api.remove_network(self.between)


@pytest.fixture(scope="module")
def two(make_lab: Callable[..., Lab]) -> Iterator[Two]:
    common: dict[str, Any] = {
        "swarm_managers": 1, "lab_disk_gb": 4, "mariadb_port": SQL, "wait_timeout": 240, "mariadb_binlog_days": 1, "with_endpoint": True,
    }  # fmt: skip
    first = make_lab(FIRST, **common)
    second = make_lab(
        SECOND, beside=first, **common, standby_of="params/lab.yaml", backup_repository=f"backups/{first.name}",
        backup_password=f"file:{first.folder}/secrets/backup-password", mariadb_password=f"file:{first.folder}/secrets/galera-password",
    )  # fmt: skip
    first.file()
    second.file()
    both = Two(first, second, f"zz-{first.name}")
    yield both
    both.close()


def write(lab: Lab, *statements: str) -> None:
    """As an application that tries every member until one takes writes; a machine may just be starting."""
    for sql in statements:
        said: dict[str, str] = {}

        def done(sql: str = sql, said: dict[str, str] = said) -> bool:
            for node in lab.params["nodes"]:
                try:
                    ask(lab, node, sql)
                    return True
                except (pymysql.MySQLError, OSError) as error:
                    said[node] = str(error)
            return False

        until(done, timeout=60, why=lambda sql=sql, said=said: f"{sql}: {said}")


def takes_writes(lab: Lab) -> list[str]:
    return [node for node in lab.params["nodes"] if ask(lab, node, "SELECT @@read_only")[0][0] == 0]


def rows(lab: Lab, nodes: list[str]) -> list[Any]:
    """What is in the table, on every member."""
    with contextlib.suppress(pymysql.MySQLError):
        return [sorted(number for (number,) in ask(lab, node, "SELECT number FROM kept")) for node in nodes]
    return []


def arrived(two: Two, wanted: list[int]) -> None:
    until(lambda: rows(two.second, SECOND) == [wanted] * 3, timeout=60, why=lambda: f"{rows(two.second, SECOND)}")


def replica(two: Two) -> list[dict[str, str]]:
    """Where the replica runs, and which address it reads from."""
    found = []
    for node in SECOND:
        said = two.second.machine(node).sh(
            f'docker exec $(docker ps -q --filter label=com.docker.swarm.service.name=galera_{node}) mariadb -E -e "SHOW SLAVE STATUS"'
        )
        facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}
        if facts.get("Slave_IO_Running") == "Yes":
            found.append({"node": node, "host": facts["Master_Host"]})
    return found


def following(two: Two) -> None:
    """The first cluster with some rows, and the second one, which was restored from its backup and follows."""
    two.need()
    if rows(two.second, SECOND) and replica(two):
        return
    if not rows(two.first, FIRST):
        write(two.first, "CREATE TABLE kept (number INT PRIMARY KEY)", "INSERT INTO kept SELECT seq FROM seq_1_to_10")
    two.first.book("backup").expect(0)
    write(two.first, "INSERT INTO kept SELECT COALESCE(MAX(number), 0) + 1 FROM kept")
    two.second.book("restore", "--of", two.first.name, "--yes").expect(0)
    two.second.book("standby").expect(0, "Follow")


def test_what_cannot_be_followed_is_refused(two: Two) -> None:
    two.need()
    two.first.book("standby").refused(2, "standby_of: ''", "swarmbook explain standby-of-nothing")
    bare = two.first.file(mariadb_port=0)
    two.second.book("standby", standby_of=bare).refused(2, "mariadb_port: 0", "swarmbook explain standby-of-nothing")
    two.second.book("standby").refused(
        3, "nothing was restored here", f"restore PARAMS --of {two.first.name}", "swarmbook explain standby-not-seeded"
    )
    assert len(takes_writes(two.second)) == 1, "nothing was fenced"


def test_it_follows_on_another_member_and_from_another_one(two: Two) -> None:
    following(two)
    arrived(two, list(range(1, 12)))
    assert takes_writes(two.second) == []
    two.second.book("verify", "--quiet").expect(0, " 0 failed; ")
    two.second.book("run", "--only", "20").expect(0)
    two.second.book("plan", "--check").expect(0, "nothing to change")
    assert (
        f"{two.first.name}/galera"
        in two.second.book("switch-writer", SECOND[0]).refused(3, "so no member takes writes").said
    )
    assert "replica" in two.second.book("status").said
    before = replica(two)
    assert len(before) == 1
    # A schema change, a large transaction, and one that touches what belongs to one cluster alone.
    write(
        two.first, "ALTER TABLE kept ADD COLUMN v VARCHAR(200)", "INSERT INTO kept SELECT seq + 100, MD5(seq) FROM seq_1_to_20000",
        "DELETE FROM kept WHERE number > 100",
    )  # fmt: skip
    arrived(two, list(range(1, 12)))

    holder = two.second.machine(before[0]["node"])
    holder.sh(f"docker kill $(docker ps -q --filter label=com.docker.swarm.service.name=galera_{before[0]['node']})")
    write(two.first, "INSERT INTO kept (number) VALUES (12)")
    arrived(two, list(range(1, 13)))

    reads_from = until(lambda: replica(two), why="no member follows")[0]["host"]
    node = next(
        name for name in FIRST if reads_from in [net["IPAddress"] for net in two.first.machine(name).inspect()["NetworkSettings"]["Networks"].values()]
    )  # fmt: skip
    two.first.machine(node).stop()
    two.first.machine(node).start()
    write(two.first, "INSERT INTO kept (number) VALUES (13)")
    arrived(two, list(range(1, 14)))
    two.second.book("standby").expect(0)
    assert not [step for chapter in two.second.summary()["chapters"] for step in chapter["steps"] if step["changes"]]


def test_a_source_that_serves_is_not_lost(two: Two) -> None:
    following(two)
    two.second.book("standby", "--take-over", "lost", "--yes").refused(
        3, "takes writes: it is not lost", "--take-over switch", "swarmbook explain standby-lags"
    )
    two.second.book("standby", "--take-over", "switch").refused(2, "PROMOTE typed on a terminal")
    assert takes_writes(two.second) == [] and len(takes_writes(two.first)) == 1


def test_there_and_back(two: Two) -> None:
    following(two)
    two.routes()
    before = rows(two.first, FIRST)[0]
    two.second.book("standby", "--take-over", "switch", "--yes").expect(0)
    assert takes_writes(two.first) == [] and len(takes_writes(two.second)) == 1
    assert rows(two.second, SECOND) == [before] * 3
    write(two.second, "INSERT INTO kept (number) VALUES (1001)")
    two.second.book("verify", "--quiet").expect(0, " 0 failed; ")
    two.second.book("standby").refused(3, "it took over", "swarmbook explain standby-not-seeded")

    back = {"standby_of": f"params/{two.second.name}.yaml"}
    two.first.book("standby", **back).expect(0)
    until(lambda: rows(two.first, FIRST) == [[*before, 1001]] * 3, timeout=60, why=lambda: f"{rows(two.first, FIRST)}")
    two.first.book("standby", "--take-over", "switch", "--yes", **back).expect(0)
    assert takes_writes(two.second) == [] and len(takes_writes(two.first)) == 1
    write(two.first, "INSERT INTO kept (number) VALUES (1002)")
    two.second.book("standby").expect(0)
    arrived(two, [*before, 1001, 1002])


def test_a_source_that_is_lost(two: Two) -> None:
    following(two)
    write(two.first, "INSERT INTO kept (number) VALUES (2001)")
    before = rows(two.first, FIRST)[0]
    arrived(two, before)
    for node in FIRST:
        two.first.machine(node).stop()
    two.second.book("standby", "--take-over", "switch", "--yes").refused(
        3, "does not answer, so it cannot be fenced", "--take-over lost", "swarmbook explain standby-cannot-read"
    )
    two.second.book("standby", "--take-over", "lost", "--yes").expect(0)
    assert len(takes_writes(two.second)) == 1
    assert rows(two.second, SECOND) == [before] * 3
    write(two.second, "INSERT INTO kept (number) VALUES (3001)")
