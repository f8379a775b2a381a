"""Backups: the stream as it passes, the snapshots and their tags, what is decided from them, and restic itself."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access import restic as restic_module
from swarmbook.access.channel import Flow, Output
from swarmbook.access.commands import sh
from swarmbook.access.fleet import Fleet
from swarmbook.access.marked import Marked, Strained
from swarmbook.access.mbstream import Broken, Reader
from swarmbook.access.restic import Restic
from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError, WorldError
from swarmbook.base.secrets import Secret
from swarmbook.book.book import Book
from swarmbook.model.archive import Piece
from swarmbook.model.archive import tags_of as tags_of_piece
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.moments import Part, Refusal, Way, Why
from swarmbook.model.snapshots import Snapshot, chosen, keep_options, read_snapshots, tags_of
from swarmbook.params import Params
from swarmbook.phases.backup.source import source_among
from swarmbook.phases.backup.step import Backups, Take
from swarmbook.phases.backup.trial import Read, compared, read_tables
from swarmbook.phases.endpoint.agents import Says
from swarmbook.phases.restore.place import Place
from swarmbook.phases.restore.placing import mark_of
from swarmbook.phases.restore.replay import command
from swarmbook.phases.restore.step import Restore, Seen, Wanted
from swarmbook.phases.support.repository import place_of_backups
from swarmbook.phases.support.unpacking import needed
from swarmbook.show.changes import sentence
from swarmbook.testing.errors import raises

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
UUID = "a2b41c1f-eb0e-11f1-a2f1-c32ad2c7a1ef"
FILE = "galera.mbstream"


# -- the stream ----------------------------------------------------------------------------------------------------------


def chunk(path: str, content: bytes, offset: int = 0) -> bytes:
    head = struct.pack("<8sBcI", b"XBSTCK01", 0, b"P", len(path)) + path.encode()
    return head + struct.pack("<QQI", len(content), offset, zlib.crc32(content)) + content


def ended(path: str) -> bytes:
    return struct.pack("<8sBcI", b"XBSTCK01", 0, b"E", len(path)) + path.encode()


STREAM = b"".join(
    [
        chunk("ibdata1", b"x" * 900), chunk("app/t.ibd", b"a" * 300), chunk("app/t.ibd", b"b" * 30, 300), ended("app/t.ibd"), ended("ibdata1"),
        chunk("app/db.opt", b""), ended("app/db.opt"), chunk("mariadb_backup_galera_info", f"{UUID}:30 0\n".encode()), ended("mariadb_backup_galera_info"),
        chunk("mariadb_backup_info", b"uuid = 1\nserver_version = 11.8.9-MariaDB-0+deb13u1 from Debian\nbinlog_pos = \n"), ended("mariadb_backup_info"),
    ]
)  # fmt: skip


def read(stream: bytes, size: int = 1 << 20) -> Any:
    reader = Reader()
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
    return reader.end()


@given(st.integers(1, 700))
def test_a_stream_is_read_in_pieces_of_any_size(size: int) -> None:
    about = read(STREAM, size)
    assert (about.size, about.files) == (len(STREAM), 5)
    assert about.position == f"{UUID}:30" and about.server == "11.8.9-MariaDB-0+deb13u1" and about.gtid == ""


def test_gtids_are_read_where_there_are_any() -> None:
    with_gtid = chunk("mariadb_backup_galera_info", f"{UUID}:30 0-1-17".encode()) + ended("mariadb_backup_galera_info")
    info = chunk(
        "mariadb_backup_info", b"binlog_pos = filename 'b.1', position '4', GTID of the last change '0-1-17,1-2-3'\n"
    )
    assert read(with_gtid + info + ended("mariadb_backup_info")).gtid == "0-1-17,1-2-3"


def test_wherever_it_breaks_off_that_is_seen() -> None:
    for length in range(len(STREAM)):
        with pytest.raises(Broken):
            read(STREAM[:length])


def test_any_byte_that_is_another_one_is_seen_or_harmless() -> None:
    draw = random.Random(7)
    for _ in range(400):
        at = draw.randrange(len(STREAM))
        other = STREAM[:at] + bytes([STREAM[at] ^ draw.randrange(1, 256)]) + STREAM[at + 1 :]
        try:
            about = read(other)
        except Broken:
            continue
        assert about.position in ("", f"{UUID}:30"), "a checksum holds the content; flags and offsets it does not"


@given(st.binary(max_size=300))
def test_what_is_no_stream_is_refused(junk: bytes) -> None:
    with pytest.raises(Broken):
        read(junk)
    with pytest.raises(Broken):
        read(STREAM + b"logout\n" + junk)


# -- through SSH ---------------------------------------------------------------------------------------------------------


@given(
    st.binary(max_size=200), st.integers(1, 50), st.sampled_from([b"", b"Welcome\n"]), st.sampled_from([b"", b"bye\n"])
)
def test_a_commands_own_bytes_are_strained_from_what_its_login_says(
    own: bytes, size: int, before: bytes, after: bytes
) -> None:
    marked, got = Marked("swarmbook-0123456789abcdef"), bytearray()
    strained = Strained(marked, got.extend)
    whole = before + b"swarmbook-0123456789abcdef-in\n" + marked.begins + own + marked.ends + after
    for at in range(0, len(whole), size):
        strained(whole[at : at + size])
    stage, output = marked.own(strained.rest(Output(0, "", "")))
    assert bytes(got) == own and stage.name == "ROOT" and output.stdout == ""


def test_streams_through_a_host(fleet: Callable[..., Fleet]) -> None:
    host, got = fleet()["sw1"], bytearray()
    sent = [os.urandom(300_000) for _ in range(10)]
    done = host.run(sh("cat; echo said >&2"), flow=Flow(iter(sent), got.extend))
    assert bytes(got) == b"".join(sent) and done == Output(0, "", "said\n")
    got.clear()
    done = host.run(sh("head -c 20000000 /dev/zero; exit 3"), check=False, flow=Flow(sink=got.extend))
    assert len(got) == 20_000_000 and done.exit == 3, "more than a command may print by itself"

    def full(_: bytes) -> None:
        raise WorldError("full", where="here", code=Code.REPOSITORY_FAILED)

    with raises(Code.REPOSITORY_FAILED):
        host.run(sh("cat /dev/zero"), timeout_s=60, flow=Flow(sink=full))

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise WorldError("broken", where="here", code=Code.SNAPSHOT_DAMAGED)

    with raises(Code.SNAPSHOT_DAMAGED):
        host.run(sh("cat >/dev/null"), flow=Flow(broken()))


# -- snapshots -----------------------------------------------------------------------------------------------------------


def one(number: int = 1, **other: Any) -> Snapshot:
    whole = {
        "cluster": "lab", "database": "galera", "member": "galera-sw3", "position": f"{UUID}:{number}", "server": "11.8.9-MariaDB",
        "size": 1_000_000, "seconds": 2.5, "complete": True,
    }  # fmt: skip
    return Snapshot(f"{number:064x}", NOW + timedelta(hours=number), **{**whole, **other})


def listed(*snapshots: Snapshot) -> list[dict[str, Any]]:
    """As restic lists them: with nanoseconds, and the offset of the one who made them."""
    return [
        {"id": each.id, "tags": tags_of(each), "time": each.time.astimezone(timezone(timedelta(hours=2))).strftime("%Y-%m-%dT%H:%M:%S.123456789+02:00")}
        for each in snapshots
    ]  # fmt: skip


def test_tags_say_all_of_a_snapshot() -> None:
    snapshots = [one(1, gtid="0-1-2,1-1-3"), one(2, complete=False, position="", size=0, seconds=0.0)]
    back = read_snapshots(
        [*listed(*reversed(snapshots)), {"id": "f" * 64, "time": "x", "tags": ["others"]}, {"id": "0"}]
    )
    assert [replace(each, time=each.time.replace(microsecond=0)) for each in back] == snapshots
    assert not any("," in tag for each in snapshots for tag in tags_of(each)), "it would begin another tag"


@pytest.mark.parametrize(
    "row",
    [{}, {"tags": ["swarmbook"]}, {"tags": ["swarmbook"], "id": "../x", "time": "2030-01-01T00:00:00Z"}, {"tags": ["swarmbook"], "id": "f" * 64, "time": "today"},
     {"tags": ["swarmbook", "bytes=many"], "id": "f" * 64, "time": "2030-01-01T00:00:00Z"}],
)  # fmt: skip
def test_what_is_no_list_of_snapshots_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises((ValueError, LookupError)):
        read_snapshots([row] if row else {})


def test_which_one_is_meant() -> None:
    snapshots = [one(1), one(2), one(3, cluster="other"), one(4, complete=False)]
    assert chosen(snapshots, "latest", "lab/galera") == snapshots[1]
    assert chosen(snapshots, "latest", "other/galera") == snapshots[2]
    assert chosen(snapshots, snapshots[2].id, "lab/galera") == snapshots[2], "whose it is, is judged by who restores it"
    assert chosen(snapshots, "00000000", "lab/galera") is None, "several begin so"
    assert chosen(snapshots, snapshots[3].id, "lab/galera") is None, "it was broken off"
    assert chosen([], "latest", "lab/galera") is None


def test_what_is_kept() -> None:
    assert keep_options("") == [] and keep_options("3 last") == ["--keep-last", "3"]
    assert keep_options(Params().backup_keep)[2:4] == ["--keep-daily", "7"]


# -- 26 ------------------------------------------------------------------------------------------------------------------


def test_from_which_member() -> None:
    reader, joins = Says("c", reader=True, state="Synced"), Says("c", state="Joiner")
    says = {"sw1": reader, "sw2": reader, "sw3": reader}
    assert source_among(says, 3, "sw3") == "sw2"
    assert source_among(says, 3, "") == "sw3"
    assert source_among({"sw1": reader, "sw2": joins}, 2, "") == "sw1"
    assert source_among({"sw1": reader}, 1, "sw1") == "sw1", "there is no other"
    with raises(Code.MEMBERS_NOT_SYNCED, "sw1", "sw2"):
        source_among({"sw1": reader, "sw2": joins}, 2, "sw1")


def backups(*snapshots: Snapshot, **other: Any) -> Backups:
    return Backups(
        "/b", opened=NOW, snapshots=snapshots, owner="lab/galera", **{"there": True, "source": "sw3", **other}
    )


def test_what_a_backup_does() -> None:
    plan = Take().plan
    assert [change.action for change in plan(Params(), backups(there=False))] == [
        Action.MAKE_REPOSITORY,
        Action.BACKUP,
        Action.FORGET_BACKUPS,
    ]
    assert plan(Params(backup_keep=""), backups(one(-1))) == [Change("sw3", Action.BACKUP, ("/b",))]
    assert plan(Params(), backups(one(1))) == [], "this notebook has taken one"
    broken = one(2, complete=False)
    assert Change("here", Action.REMOVE_BROKEN, (broken.short,)) in plan(Params(), backups(broken))
    assert not any(
        change.action is Action.REMOVE_BROKEN for change in plan(Params(), backups(replace(broken, cluster="b")))
    )


def test_what_is_checked_after_a_backup() -> None:
    def failed(seen: Backups) -> list[str]:
        return [check.name for check in Take().verify(Params(), seen) if not check.ok]

    assert failed(backups(one(1))) == []
    assert failed(backups(one(-1))) == ["the backup"]
    assert failed(backups(one(1), wrong="pack missing")) == ["restic's check of the repository"]
    assert failed(backups(one(1), one(2, complete=False))) == ["snapshots of this cluster"]


def test_where_backups_are(open_book: Callable[..., Book], home: Path) -> None:
    assert place_of_backups(open_book("26")) == str(home / "backups" / "lab")
    assert place_of_backups(open_book("26", backup_repository="kept/here")) == str(home / "kept/here")
    assert place_of_backups(open_book("26", backup_repository="/mnt/x")) == "/mnt/x"
    assert place_of_backups(open_book("26", backup_repository="sftp:me@nas:/x")) == "sftp:me@nas:/x"


def facts(checked: str, sums: str) -> dict[str, list[str]]:
    return {"checked": checked.split("\n"), "sums": sums.split("\n")}


def test_what_a_trial_has_read() -> None:
    said = "app.t\tcheck\tstatus\tOK\nmysql.log\tcheck\tnote\tThe storage engine for the table doesn't support check\n"
    said += "app.u\tcheck\terror\tCorrupt\napp.u\tcheck\tstatus\tOK\n"
    read = read_tables(facts(said, "app.t\t17\napp.u\tNULL\n"))
    assert read.tables == {"app.t": "OK", "mysql.log": "OK", "app.u": "error: Corrupt"}
    assert read.wrong == {"app.u": "error: Corrupt"} and read.sums == {"app.t": "17", "app.u": "NULL"}
    for wrong in (("app.t", ""), ("", "app.t\tmany"), ("", "app.t\t-1")):
        with pytest.raises(ValueError):
            read_tables(facts(*wrong))


def test_checksums_are_compared_where_they_are_the_applications() -> None:
    trial = Read({}, {"app.t": "1", "app.u": "2", "mysql.user": "3"})
    assert compared(trial, Read({}, {"app.t": "1", "app.u": "2", "mysql.user": "4", "swarmbook.writer": "5"})) == (
        2,
        [],
    )
    assert compared(trial, Read({}, {"app.t": "1", "app.v": "2"})) == (1, ["app.u", "app.v"])


# -- 27 ------------------------------------------------------------------------------------------------------------------

ROOM = Place(folder=True, free=1 << 40)
DATA = replace(ROOM, data=True, databases=("app", "mysql"))
FOLDER = "/var/lib/docker/volumes/galera-data/_data"


def planned(seen: Seen, **params: Any) -> list[Change]:
    return Restore().plan(Wanted(Params(**params), "lab/galera", FOLDER), seen)


def test_a_restore_lists_all_that_it_replaces() -> None:
    places = {"sw1": DATA, "sw2": replace(DATA, founded=True, replaced=2), "sw3": ROOM}
    changes = planned(Seen(places, one(7), 1, ("galera_sw1", "galera_sw2", "galera_sw3")))
    assert [(change.host, change.action.value, change.word) for change in changes] == [
        ("sw2", "fetch", None),
        ("cluster", "remove-member", None), ("cluster", "remove-member", None), ("cluster", "remove-member", None),
        ("sw1", "replace-data", Word.RESTORE), ("sw2", "replace-data", Word.RESTORE),
        ("sw2", "put-in-place", None),
    ]  # fmt: skip
    assert changes[4].things == (FOLDER, "replaced-3", "app", "mysql")
    assert (
        sentence(changes[4])
        == f"its member stopped, and what is in {FOLDER}/data, with the databases app, mysql, replaced; it stays as {FOLDER}/replaced-3"
    )


def test_a_restore_into_nothing_asks_for_no_word() -> None:
    changes = planned(Seen({"sw1": Place(free=1 << 40), "sw2": Place(free=1 << 40)}, one(7), 1, lacking=("sw1",)))
    assert [change.action.value for change in changes] == ["images", "make-folder", "fetch", "put-in-place"]
    assert not any(change.word for change in changes)


def test_a_restore_that_is_in_place_is_left_to_07() -> None:
    here = replace(DATA, founded=True, mark=one(7).id)
    assert planned(Seen({"sw1": here, "sw2": ROOM}, one(7), 1)) == []
    assert planned(Seen({"sw1": here, "sw2": DATA}, one(7), 1)), "a kill in between: another one has its data still"
    assert planned(Seen({"sw1": here, "sw2": ROOM}, one(7), 1, ("galera_sw1",))), "a member would start"
    assert planned(Seen({"sw1": here, "sw2": ROOM}, one(8), 1)), "of another snapshot"


def test_what_is_not_restored() -> None:
    with raises(Code.SNAPSHOT_UNKNOWN):
        planned(Seen({"sw1": DATA}, None, 0))
    with raises(Code.SNAPSHOT_OF_ANOTHER, "other/galera"):
        planned(Seen({"sw1": DATA}, one(7, cluster="other"), 1))
    with raises(Code.SNAPSHOT_OF_ANOTHER_SERIES, "MariaDB 11.8", "mariadb_version: '11.8'"):
        planned(Seen({"sw1": DATA}, one(7), 1), mariadb_version="10.11")
    assert planned(Seen({"sw1": DATA}, one(7, server="10.11.14-MariaDB"), 1), mariadb_version="10.11")
    assert planned(Seen({"sw1": DATA}, one(7, server=""), 1)), "it was made before the version was noted"
    small = replace(DATA, free=needed(one(7)) - 1, replaced=1)
    with raises(Code.RESTORE_NO_ROOM, "sw2", "replaced-1"):
        planned(Seen({"sw1": DATA, "sw2": small}, one(7), 1))


def test_a_moment_is_replayed_before_anything_is_touched() -> None:
    base = one(7, gtid="7-7-10")
    piece = Piece("f" * 64, NOW, "lab", "galera", "m", UUID, "7-7", ((11, 20),), NOW, 1 << 20)
    way = Way(base, "7-7", (Part(piece, 10, 15),))
    seen = Seen({"sw1": replace(DATA, founded=True), "sw2": ROOM}, base, 1, ("galera_sw1",), way=way)
    changes = planned(seen, restore_to="7-7-15")
    assert [change.action.value for change in changes] == [
        "fetch",
        "replay",
        "remove-member",
        "replace-data",
        "put-in-place",
    ]
    assert sentence(changes[1]) == "binary logs replayed on it up to 7-7-15"
    here = replace(DATA, founded=True, mark=mark_of(base, "7-7-15"))
    assert planned(replace(seen, places={"sw1": here}, services=()), restore_to="7-7-15") == []
    assert planned(replace(seen, places={"sw1": here}, services=()), restore_to="7-7-14"), "another moment is in place"
    assert planned(replace(seen, places={"sw1": here}, services=(), way=None)), "the backup alone is meant"
    small = replace(DATA, founded=True, free=needed(base) + (1 << 20))
    with raises(Code.RESTORE_NO_ROOM, "sw1"):
        planned(replace(seen, places={"sw1": small}), restore_to="7-7-15")


def test_a_moment_that_cannot_be_had_is_refused_with_the_nearest_one() -> None:
    seen = Seen({"sw1": DATA}, one(7), 1, repository="/b")
    gap = Refusal(Why.GAP, "7-7-13 to 7-7-20", "2030-01-01 00:00:00 UTC", "2030-01-02 00:00:00 UTC, GTID 7-7-12")
    with raises(Code.MOMENT_BEHIND_GAP, "7-7-13 to 7-7-20", "7-7-12"):
        planned(replace(seen, way=gap), restore_to="7-7-30")
    for why, nearest in ((Why.NO_BACKUP, gap.earliest), (Why.NO_GTID, gap.earliest), (Why.AFTER_THE_END, gap.latest)):
        with raises(Code.MOMENT_OUTSIDE, why.value, nearest):
            planned(replace(seen, way=replace(gap, why=why)), restore_to="2030-01-01 00:00:00")


def test_logs_are_given_to_the_server_by_their_gtids() -> None:
    script = command("c", "7-8", "/restore/.replay/0", ("binlog.000007", "binlog.000008"), 10, 15)
    assert "--do-domain-ids=7 --start-position=7-8-10 --stop-position=7-8-15 binlog.000007 binlog.000008" in script


# -- restic itself -------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restic:
    if shutil.which("restic") is None:
        pytest.skip("no restic here")
    monkeypatch.setenv("RESTIC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RESTIC_PASSWORD", "another one of the caller's own")
    return Restic(str(tmp_path / "repository"), Secret("backup-password", "a-Password-of-ours-1"), 120)


def test_a_snapshot_is_there_when_it_is_whole_and_not_before(repository: Restic) -> None:
    assert not repository.exists()
    repository.make()
    assert repository.exists() and repository.snapshots() == []
    begun = one(1, complete=False, position="", size=0, seconds=0.0, server="")
    with pytest.raises(ZeroDivisionError), repository.intake("lab", tags_of(begun), FILE) as intake:
        intake.write(STREAM)
        _ = 1 / 0
    assert repository.snapshots() == [] and not list(Path(repository.repository, "locks").iterdir())
    with repository.intake("lab", tags_of(begun), FILE) as intake:
        intake.write(STREAM)
        intake.commit(60)
    assert [each.complete for each in repository.snapshots()] == [False]
    repository.retag(intake.id, tags_of(one(1)))
    (made,) = repository.snapshots()
    assert made.complete and made.position == f"{UUID}:1" and made.owner == "lab/galera"
    assert b"".join(repository.stream(made.id, FILE)) == STREAM
    assert repository.check() == ""
    repository.keep("1 last", "lab", "galera")
    assert repository.snapshots() == [made]
    repository.forget([made.id])
    assert repository.snapshots() == []


def test_pieces_of_the_archive_lie_beside_backups(repository: Restic) -> None:
    repository.make()
    piece = Piece("", NOW, "lab", "galera", "m", UUID, "7-7", ((11, 20),), NOW, 9)
    for tags, file in ((tags_of_piece(piece), "binlogs.tar"), (tags_of(one(1)), FILE)):
        with repository.intake("lab", tags, file) as intake:
            intake.write(b"logs")
            intake.commit(60)
    (found,) = repository.pieces()
    assert replace(found, id="", time=NOW) == piece
    assert b"".join(repository.stream(found.id, "binlogs.tar")) == b"logs"
    repository.keep("1 last", "lab", "galera")
    assert repository.pieces() == [found] and len(repository.snapshots()) == 1, (
        "a policy of backups is not about pieces"
    )


def test_what_restic_does_not_do_has_a_code(repository: Restic, tmp_path: Path) -> None:
    repository.make()
    with raises(Code.REPOSITORY_PASSWORD):
        Restic(repository.repository, Secret("x", "not-That-Password-1"), 60).exists()
    with repository.intake("lab", tags_of(one(1)), FILE) as intake:
        intake.write(random.Random(1).randbytes(3 << 20))
        intake.commit(60)
        with raises(Code.SNAPSHOT_DAMAGED):
            list(repository.stream("0" * 64, FILE))
    packs = sorted(
        (path for path in Path(repository.repository, "data").rglob("*") if path.is_file()), key=os.path.getsize
    )
    packs[-1].chmod(0o600)
    packs[-1].write_bytes(packs[-1].read_bytes()[:1000])
    with raises(Code.SNAPSHOT_DAMAGED):
        list(repository.stream(intake.id, FILE))
    assert repository.check(), "restic's own check finds it, too"
    config = Path(repository.repository, "config")
    config.chmod(0o600)
    config.write_bytes(b"no config" * 20)
    with raises(Code.REPOSITORY_FAILED):
        repository.exists()
    with raises(Code.REPOSITORY_NOT_THERE, "connection refused"):
        Restic("rest:http://127.0.0.1:9/", Secret("x", "not-That-Password-1"), 60).exists()


@pytest.mark.parametrize(
    ("said", "there"),
    [
        ("Fatal: unable to open config file: stat /x/config: no such file or directory\nIs there a repository at the following location?\n/x", False),
        ("Fatal: unable to open config file: unexpected HTTP response (404): 404 Not Found\nIs there a repository", False),
        ("Fatal: unable to open config file: Stat: The specified key does not exist.", False),
        ("Fatal: repository does not exist: unable to open config file: stat /x/config: no such file", False),
        # Ids and times hold any digits.
        (f"Fatal: config or key {'404' * 21}a is damaged: ciphertext verification failed", None),
        ("Load(<config/0000000000>, 0, 0) returned error, retrying after 404.404ms: dial tcp: connection refused", None),
        ("Fatal: unable to open config file: Stat: dial tcp 10.4.0.4:404: connect: connection refused", None),
    ],
)  # fmt: skip
def test_a_repository_that_could_not_be_looked_at_is_not_one_that_is_not_there(
    repository: Restic, monkeypatch: pytest.MonkeyPatch, said: str, there: bool | None
) -> None:
    monkeypatch.setattr(Restic, "_call", lambda *_: (1, "", said))
    if there is None:
        with pytest.raises(WorldError):
            repository.exists()
    else:
        assert repository.exists() is there


def test_a_lock_of_another_one(repository: Restic, tmp_path: Path) -> None:
    repository.make()
    (tmp_path / "password").write_text("a-Password-of-ours-1")
    words = ["restic", "-r", repository.repository, "--password-file", str(tmp_path / "password"), "backup", "--stdin"]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(Path(repository.repository, "locks").iterdir()):
            assert other.poll() is None
        with raises(Code.REPOSITORY_LOCKED):
            repository.check()
    finally:
        other.kill()
        other.communicate()


def test_restic_gets_no_password_by_its_command_line_or_environment(
    repository: Restic, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    popen = subprocess.Popen

    def watched(words: list[str], **other: Any) -> Any:
        started.append((words, other.get("env") or {}))
        return popen(words, **other)

    monkeypatch.setattr(restic_module.subprocess, "Popen", watched)
    repository.make()
    assert started
    for words, environment in started:
        assert not any("a-Password" in each for each in [*words, *environment.values()])
        assert "RESTIC_PASSWORD" not in environment


def test_restic_that_ends_before_the_stream_does(repository: Restic) -> None:
    with raises(Code.REPOSITORY_NOT_THERE), repository.intake("lab", tags_of(one(1)), FILE) as intake:
        while True:
            intake.write(bytes(1 << 20))


def test_without_restic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with raises(Code.RESTIC_NOT_HERE):
        Restic("/x", Secret("x", "not-That-Password-1"), 60).exists()
    with pytest.raises(SwarmbookError):
        Restic("/x", Secret("x", "not-That-Password-1"), 60).snapshots()
