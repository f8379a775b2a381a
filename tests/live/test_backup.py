"""Backups and restores: a table is dropped and comes back, and what cannot be restored touches nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest

from .conftest import Lab, until
from .writer import SQL, ask

NODES = ["b1", "b2"]
DATA = "/var/lib/docker/volumes/galera-data/_data"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(NODES, swarm_managers=1, lab_disk_gb=4, mariadb_port=SQL, wait_timeout=240, mariadb_binlog_days=1)


def repository(lab: Lab) -> Path:
    return lab.home / "backups" / lab.name


def restic(lab: Lab, *words: str, input: bytes | None = None) -> str:
    """restic as a person would call it."""
    password = lab.folder / "secrets" / "backup-password"
    command = ["restic", "-r", str(repository(lab)), "--password-file", str(password), *words]
    return subprocess.run(command, input=input, capture_output=True, check=True, timeout=300).stdout.decode()


def snapshots(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(restic(lab, "snapshots", "--json"))
    return sorted(found, key=lambda each: str(each["time"]))


def fill(lab: Lab) -> None:
    ask(lab, NODES[0], "CREATE TABLE IF NOT EXISTS app.kept (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200))")
    ask(lab, NODES[0], "INSERT INTO app.kept (v) SELECT MD5(seq) FROM seq_1_to_5000")
    until(lambda: len(checksums(lab)) == 1, why="another member lacks rows")


def checksums(lab: Lab) -> set[tuple[Any, ...]]:
    return {row for node in NODES for row in ask(lab, node, "CHECKSUM TABLE app.kept")}


def backed_up(lab: Lab) -> None:
    """A cluster with rows in it, and a snapshot of them."""
    lab.need()
    if not repository(lab).exists():
        fill(lab)
        lab.book("backup").expect(0)


def changes(lab: Lab) -> list[str]:
    return [step["title"] for chapter in lab.summary()["chapters"] for step in chapter["steps"] if step["changes"]]


def test_restic_is_not_here(lab: Lab) -> None:
    lab.book("backup").refused(2, "no machines")
    lab.need()
    lab.book("backup", env={"PATH": str(lab.home)}).refused(
        3, "restic is not on this computer", "apt-get install restic", "swarmbook explain restic-not-here"
    )


def test_a_dropped_table_comes_back(lab: Lab) -> None:
    lab.need()
    fill(lab)
    before = checksums(lab)
    assert len(before) == 1
    uuid = ask(lab, NODES[0], "SHOW STATUS LIKE 'wsrep_cluster_state_uuid'")[0][1]
    lab.book("backup", "--verify").expect(0, "26 backup")
    read = json.loads((lab.runs[-1] / "backup-tables.json").read_text())
    assert ("app.kept", int(read["checksums"]["app.kept"])) in before, "what was restored for a trial is what is there"
    assert "swarmbook_backup_last_verified_seconds 1" in lab.machine("b2").sh("cat /etc/swarmbook/metrics/backup.prom")
    lab.machine("b2").sh(f"test ! -e {DATA}/trial")
    (made,) = snapshots(lab)
    tags = dict(tag.split("=", 1) for tag in made["tags"] if "=" in tag)
    assert tags["cluster"] == lab.name and tags["member"] == "galera-b2" and tags["state"] == "complete", made
    assert tags["position"].startswith(f"{uuid}:") and int(tags["bytes"]) > 1 << 20, made
    secret = lab.secret("backup-password")
    assert not any(secret in path.read_text(errors="replace") for path in lab.runs[-1].rglob("*") if path.is_file())

    ask(lab, NODES[1], "DROP TABLE app.kept")
    lab.book("restore").refused(2, "RESTORE typed on a terminal", "--yes")
    assert len(ask(lab, NODES[0], "SHOW DATABASES")) > 1, "it was not touched"
    lab.book("restore", "--yes").expect(0, f"{DATA}/replaced-1", "the databases app", "27 restore", "08 verify_galera")
    assert checksums(lab) == before
    assert ask(lab, NODES[0], "SHOW STATUS LIKE 'wsrep_cluster_state_uuid'")[0][1] != uuid, "a history of its own"
    lab.machine("b1").sh(f"test -d {DATA}/replaced-1/app && test ! -e {DATA}/restore.new && test ! -e {DATA}/restored")
    lab.book("run", "--from", "07").expect(0)
    assert not changes(lab), "a restored cluster is like any other one"


def gtid(lab: Lab, node: str = NODES[0]) -> str:
    """Of the last transaction on a member, of those that Galera replicates."""
    ((found,),) = ask(lab, node, "SELECT WSREP_LAST_SEEN_GTID()")
    return found.decode() if isinstance(found, bytes) else str(found)


def level(lab: Lab) -> bool:
    """All members serve, and have the same last transaction."""
    with contextlib.suppress(pymysql.MySQLError, OSError):
        return len({gtid(lab, node) for node in NODES}) == 1
    return False


def tables(lab: Lab) -> set[str]:
    return {row[0] for row in ask(lab, NODES[0], "SHOW TABLES")}


def on_member(lab: Lab, node: str, sql: str) -> str:
    """SQL as root, by the member's own socket."""
    container = lab.machine(node).sh(f"docker ps -q --filter name=galera_{node}")
    return lab.machine(node).sh(f'docker exec {container.strip()} mariadb -Ne "{sql}"')


def archived(lab: Lab) -> list[dict[str, str]]:
    """The tags of the pieces."""
    found = json.loads(restic(lab, "snapshots", "--json", "--tag", "swarmbook-binlog"))
    return [
        dict(tag.split("=", 1) for tag in each["tags"] if "=" in tag)
        for each in sorted(found, key=lambda one: str(one["time"]))
    ]


def test_back_to_the_transaction_before_a_table_was_dropped(lab: Lab) -> None:
    backed_up(lab)
    lab.book("backup").expect(0)
    ask(lab, NODES[0], "INSERT INTO app.kept (v) VALUES ('after the backup')")
    ask(lab, NODES[1], "UPDATE app.kept SET v = 'changed' WHERE id < 100")
    lab.book("archive").expect(0, "archived now", "longest outside the archive", "moments that can be had")
    ask(lab, NODES[0], "INSERT INTO app.kept (v) VALUES ('after the first piece')")
    until(lambda: len(checksums(lab)) == 1, why="another member lacks rows")
    before, good = checksums(lab), gtid(lab)
    assert good == gtid(lab, NODES[1]), "members agree on the GTID"
    ask(lab, NODES[1], "DROP TABLE app.kept")
    ask(lab, NODES[0], "CREATE TABLE app.later (id INT PRIMARY KEY)")
    lab.book("restore", "--yes", "--to", good).refused(2, "swarmbook explain moment-outside", "latest moment")
    lab.book("archive").expect(0)
    first, second = archived(lab)[-2:]
    assert first["member"] == second["member"] == "galera-b2" and first["source"] == good.rpartition("-")[0]
    assert int(first["numbers"].split("-")[1]) + 1 == int(second["numbers"].split("-")[0]), "one follows the other"
    lab.book("restore", "--yes", "--to", good).expect(0, "27 restore", "08 verify_galera")
    assert json.loads((lab.runs[-1] / "restored-to.json").read_text())["gtid"] == good
    assert checksums(lab) == before and "later" not in tables(lab)
    lab.machine("b1").sh(f"test ! -e {DATA}/data/.replay && test ! -e {DATA}/restore.new")
    lab.book("run", "--from", "07").expect(0)
    assert not changes(lab)
    # It has a history of its own, and no backup of that.
    lab.book("archive").refused(2, "no backup that the archive could go on from", "swarmbook backup PARAMS")


@pytest.mark.long
def test_to_a_time_and_in_pieces_of_two_members(lab: Lab) -> None:
    backed_up(lab)
    lab.book("backup").expect(0)
    ask(lab, NODES[0], "CREATE OR REPLACE TABLE app.times (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(20))")
    lab.book("archive").expect(0)
    # The member that was archived stops, and the other one goes on.
    lab.machine("b1").sh("docker service scale --detach galera_b2=0")
    until(lambda: not lab.machine("b2").sh("docker ps -q --filter name=galera_b2").strip())
    ask(lab, NODES[0], "INSERT INTO app.times (v) VALUES ('in')")
    lab.book("archive").expect(0)
    lab.machine("b1").sh("docker service scale --detach galera_b2=1")
    until(lambda: level(lab), why="it has not joined again, or numbers otherwise than the others")
    assert [each["member"] for each in archived(lab)[-2:]] == ["galera-b2", "galera-b1"]
    ((at,),) = ask(lab, NODES[0], "SELECT DATE_FORMAT(UTC_TIMESTAMP() + INTERVAL 2 SECOND, '%Y-%m-%d %H:%i:%S')")
    until(lambda: ask(lab, NODES[0], "SELECT UTC_TIMESTAMP() > CAST('" + str(at) + "' AS DATETIME)") == [(1,)])
    ask(lab, NODES[0], "INSERT INTO app.times (v) VALUES ('out')")
    lab.book("archive").expect(0)
    assert archived(lab)[-1]["member"] == "galera-b2"
    before = checksums(lab)
    lab.book("restore", "--yes", "--to", str(at)).expect(0, "08 verify_galera")
    said = json.loads((lab.runs[-1] / "restored-to.json").read_text())["said"]
    assert "left out from GTID" in said, said
    assert ask(lab, NODES[0], "SELECT v FROM app.times") == [("in",)]
    assert checksums(lab) == before


@pytest.mark.long
def test_moments_that_cannot_be_had_touch_nothing(lab: Lab) -> None:
    backed_up(lab)
    lab.book("backup").expect(0)
    lab.book("archive").expect(0)
    good = gtid(lab)
    # Logs that no one has archived, and that no member has any more.
    ask(lab, NODES[0], "INSERT INTO app.kept (v) VALUES ('in the gap')")
    until(lambda: level(lab))
    lost = gtid(lab)
    for node in NODES:
        on_member(lab, node, "FLUSH LOCAL BINARY LOGS")
        (*_, last) = on_member(lab, node, "SHOW BINARY LOGS").strip().splitlines()
        on_member(lab, node, f"PURGE BINARY LOGS TO '{last.split()[0]}'")
    ask(lab, NODES[0], "INSERT INTO app.kept (v) VALUES ('behind the gap')")
    beyond = gtid(lab)
    until(lambda: level(lab))
    lab.book("archive").expect(1, f"{lost}: take another backup")
    before = checksums(lab)
    lab.book("restore", "--yes", "--to", beyond).refused(
        2, f"missing: GTID {lost}", good, "swarmbook explain moment-behind-gap"
    )
    lab.book("restore", "--yes", "--to", "2016-01-01 00:00:00").refused(
        2, "no backup is from before it", "earliest", "swarmbook explain moment-outside"
    )
    lab.book("restore", "--yes", "--to", "2100-01-01 00:00:00").refused(2, "swarmbook explain moment-behind-gap")
    lab.book("restore", "--yes", "--to", "1-1-1").refused(2, "swarmbook explain moment-outside")
    lab.book("restore", "--yes", "--to", good, "--snapshot", "0" * 8).expect(2, "two moments")
    lab.book("restore", "--yes", "--to", "yesterday").expect(2, "one moment")
    assert checksums(lab) == before
    lab.book("backup").expect(0)
    lab.book("archive").expect(0)
    lab.book("restore", "--yes", "--to", "2100-01-01 00:00:00").refused(
        2, "after the end", "swarmbook explain moment-outside"
    )


@pytest.mark.long
def test_what_cannot_be_restored_is_refused_before_anything_is_touched(lab: Lab, tmp_path: Path) -> None:
    backed_up(lab)
    foreign = ["backup", "--stdin", "--stdin-filename", "galera.mbstream"]
    for tag in ("swarmbook", "cluster=other", "database=galera", "position=u:1", "bytes=9", "state=complete"):
        foreign += ["--tag", tag]
    restic(lab, *foreign, input=b"no stream")
    other = snapshots(lab)[-1]["id"]
    before = checksums(lab)
    lab.book("restore", "--yes", "--snapshot", other).refused(
        2, "is of another cluster", "other/galera", "swarmbook explain snapshot-of-another"
    )
    lab.book("restore", "--yes", "--snapshot", "0" * 8).refused(2, "swarmbook explain snapshot-unknown")
    lab.book("restore", "--yes", "--snapshot", "no-id").expect(2, "restore_snapshot", "the id of a snapshot")
    lab.book("restore", "--yes", backup_repository=str(tmp_path / "nowhere")).refused(
        3, "swarmbook explain repository-not-there"
    )
    (tmp_path / "password").write_text("another-Password-than-that-1\n")
    lab.book("restore", "--yes", backup_password=f"file:{tmp_path}/password").refused(
        3, "swarmbook explain repository-password"
    )
    machine = lab.machine("b2")
    free = int(machine.sh("df --output=avail -B1 /var/lib/docker | tail -n 1"))
    machine.sh(f"fallocate -l {free - (200 << 20)} /var/lib/docker/filler")
    try:
        lab.book("restore", "--yes").refused(3, "b2: ", "too little room", "swarmbook explain restore-no-room")
    finally:
        machine.sh("rm /var/lib/docker/filler; sync")
    until(
        lambda: int(machine.sh("df --output=avail -B1 /var/lib/docker | tail -n 1")) > free // 2
    )  # btrfs frees it later
    # One that says that it is whole, and is not.
    lab.book("restore", "--yes", "--snapshot", other, "--of", "other").refused(3, "swarmbook explain snapshot-damaged")
    assert checksums(lab) == before
    restic(lab, "forget", other)


@pytest.mark.long
def test_a_backup_that_fails_leaves_no_snapshot(lab: Lab) -> None:
    backed_up(lab)
    before = len(snapshots(lab))
    lab.machine("b2").sh(f"chmod 000 {DATA}/data/app/kept.ibd")
    try:
        lab.book("backup").refused(3, "there is no snapshot of it", "kept.ibd", "swarmbook explain backup-failed")
    finally:
        lab.machine("b2").sh(f"chmod 660 {DATA}/data/app/kept.ibd")
    assert len(snapshots(lab)) == before
    assert not list((repository(lab) / "locks").iterdir()), "restic took its lock away"


@pytest.mark.long
def test_a_locked_repository(lab: Lab) -> None:
    """Another restic is at work on it: one that waits for its input holds a lock of many, one that prunes that of one."""
    backed_up(lab)
    words = ["restic", "-r", str(repository(lab)), "--password-file", str(lab.folder / "secrets" / "backup-password")]
    at_work = subprocess.Popen([*words, "backup", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        until(lambda: list((repository(lab) / "locks").iterdir()))
        # A backup goes on beside it; what forgets and checks does not.
        lab.book("backup").refused(3, "the repository is locked", "swarmbook explain repository-locked")
    finally:
        at_work.kill()
        at_work.communicate()
    restic(lab, "unlock")


@pytest.mark.long
def test_a_damaged_snapshot_does_not_touch_the_database(lab: Lab) -> None:
    backed_up(lab)
    before = checksums(lab)
    packs = sorted((path for path in (repository(lab) / "data").rglob("*") if path.is_file()), key=os.path.getsize)
    whole = packs[-1].read_bytes()
    packs[-1].chmod(0o600)
    packs[-1].write_bytes(whole[: len(whole) // 2])
    try:
        lab.book("restore", "--yes").refused(3, "swarmbook explain snapshot-damaged")
    finally:
        packs[-1].write_bytes(whole)
    assert checksums(lab) == before
    lab.machine("b1").sh(f"test ! -e {DATA}/restore.new")


@pytest.mark.long
def test_a_damaged_repository(lab: Lab) -> None:
    backed_up(lab)
    config = repository(lab) / "config"
    whole = config.read_bytes()
    config.chmod(0o600)
    config.write_bytes(b"no config at all, of whatever length it may be" * 4)
    try:
        lab.book("restore", "--yes").refused(3, "swarmbook explain repository-failed")
    finally:
        config.write_bytes(whole)


@pytest.mark.long
def test_into_a_cluster_without_members(lab: Lab) -> None:
    """Destroyed, built as far as the overlay, and restored: nothing is replaced, so nothing is asked."""
    backed_up(lab)
    before = checksums(lab)
    lab.book("backup").expect(0)
    lab.book("destroy", "--yes").expect(0)
    lab.book("run", "--from", "03", "--to", "06").expect(0)
    lab.book("restore").expect(0, "27 restore", "08 verify_galera")
    assert checksums(lab) == before
    lab.book("run", "--from", "07").expect(0)
    assert not changes(lab)
