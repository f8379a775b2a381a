"""The ledger: a chain that several writers keep, that outlives kills, and that shows every change."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.errors import WorldError
from swarmbook.base.secrets import MASK, register
from swarmbook.model.ledger import FILE, START, TORN, BrokenChain, Ledger, read_chain


def write(folder: Path, count: int = 5) -> Path:
    ledger = Ledger(folder)
    ledger.append("run", run="r", cluster="c", format=1)
    for number in range(count - 2):
        ledger.append("command", host="sw1", text=f"echo {number}", exit=0, seconds=0.1)
    ledger.append("end", status="completed")
    return folder / FILE


def test_a_line_is_canonical_and_holds_the_hash_of_the_one_before(tmp_path: Path) -> None:
    lines = write(tmp_path).read_bytes().split(b"\n")
    first, second = json.loads(lines[0]), json.loads(lines[1])
    assert lines[-1] == b"" and len(lines) == 6
    assert (first["seq"], first["prev"], second["seq"]) == (0, START, 1)
    assert first["time"].endswith("Z") and len(first["time"]) == 27
    assert lines[0].decode() == json.dumps(first, sort_keys=True, separators=(",", ":"))
    chain = read_chain((tmp_path / FILE).read_bytes())
    assert chain.run["run"] == "r" and chain.end is not None and (chain.lines, chain.torn) == (5, ())


def test_everything_is_masked_and_bounded(tmp_path: Path) -> None:
    register("s3cr3t-\"value'\n\\")
    register("command")  # a secret that reads like one of our own words breaks nothing
    text = "x" * 2998 + "s3cr3t-\"value'\n\\" + "y" * 9000
    Ledger(tmp_path).append("command", host="sw1", text=text, more={"a": ["s3cr3t-\"value'\n\\"]}, path=Path("/x"))
    raw = (tmp_path / FILE).read_text()
    event = read_chain(raw.encode()).events[0]
    assert (
        "s3cr3t" not in raw and event["event"] == "command" and event["more"] == {"a": [MASK]} and event["path"] == "/x"
    )
    assert len(event["text"]) < 4100 and "characters left out" in event["text"] and event["text"].endswith("y")


WRITERS = """
import sys, threading, time
from pathlib import Path
from swarmbook.model.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
threads = [threading.Thread(target=lambda n=n: [ledger.append("command", host=sys.argv[2], text=f"{n} {i}") for i in range(25)]) for n in range(4)]
Path(sys.argv[1], f"ready-{sys.argv[2]}").touch()
while not Path(sys.argv[1], "go").exists():
    time.sleep(0.001)
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""

FOREVER = """
import sys
from pathlib import Path
from swarmbook.model.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.append("run", run="r", cluster="c", format=1)
while True:
    ledger.append("command", text="x" * 3000)
"""


def test_processes_and_threads_at_once_keep_the_chain(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITERS, str(tmp_path), name]) for name in ("a", "b", "c")]
    while len([*tmp_path.glob("ready-*")]) < 3:  # python has started in each; now all at once
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.005)
    (tmp_path / "go").touch()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    chain = read_chain((tmp_path / FILE).read_bytes())
    assert len(chain.events) == 300
    for name in ("a", "b", "c"):
        for thread in range(4):  # each writer's own order is kept
            reported = [
                int(e["text"].split()[1])
                for e in chain.events
                if e["host"] == name and e["text"].startswith(f"{thread} ")
            ]
            assert reported == list(range(25))


def test_a_writer_waits_for_the_other_one(tmp_path: Path) -> None:
    path = write(tmp_path, 2)
    before = path.read_bytes()
    begun = threading.Event()

    def append() -> None:
        begun.set()
        Ledger(tmp_path).append("failure", what="later")

    writer = threading.Thread(target=append)
    with path.open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer.start()
        begun.wait()
        writer.join(0.3)
        assert writer.is_alive() and path.read_bytes() == before
        fcntl.flock(other, fcntl.LOCK_UN)
    writer.join()
    assert len(read_chain(path.read_bytes()).events) == 3


def test_what_matters_is_on_the_disk_before_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    moment = [100.0]
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_size))
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    ledger = Ledger(tmp_path)

    def syncs(event: str) -> bool:
        before = len(synced)
        ledger.append(event)
        assert synced[before:] in ([], [(tmp_path / FILE).stat().st_size]), "all of the line, once"
        return len(synced) > before

    assert all(syncs(event) for event in ("run", "plan", "approval", "chapter", "failure", "interruption"))
    assert not any(syncs(event) for event in ("command", "check", "step"))
    moment[0] += 1.1
    assert syncs("command") and not syncs("command"), "those at most once a second"
    assert syncs("end")


def test_a_line_longer_than_a_block_is_found_from_the_end(tmp_path: Path) -> None:
    Ledger(tmp_path).append("run", parameters={str(n): "x" * 3000 for n in range(40)})
    Ledger(tmp_path).append("end")
    assert len(read_chain((tmp_path / FILE).read_bytes()).events) == 2


@given(st.data())
def test_a_torn_line_stays_and_is_told(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = write(folder, 4)
    whole = path.read_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1))
    path.write_bytes(whole[:cut])
    clean = whole[cut - 1 : cut] == b"\n"
    assert read_chain(path.read_bytes()).torn == (() if clean else (whole[:cut].count(b"\n") + 1,))
    Ledger(folder).append("failure", what="later")
    kept = path.read_bytes()
    assert kept.startswith(whole[:cut])
    chain = read_chain(kept)
    assert [e["what"] for e in chain.events if e["event"] == "failure"] == (["later"] if clean else [TORN, "later"])
    assert [e["seq"] for e in chain.events] == list(range(len(chain.events)))


@given(st.data())
def test_torn_again_while_telling_of_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = write(folder, 3)
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)
    Ledger(folder).append("end")
    reported = path.read_bytes()
    before_newline = reported.index(b"\n", len(torn) + 1)
    path.write_bytes(reported[: data.draw(st.just(before_newline) | st.integers(len(torn) + 1, len(reported)))])
    Ledger(folder).append("end")
    chain = read_chain(path.read_bytes())
    assert chain.events[-1]["event"] == "end" and TORN in {e.get("what") for e in chain.events}


def test_only_a_torn_line_that_is_told_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2][:-7]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(BrokenChain, match="line 3 was changed"):
        read_chain(path.read_bytes())


@given(st.data())
def test_a_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = write(tmp_path_factory.mktemp("run"))
    raw = bytearray(path.read_bytes())
    last = raw.rindex(b"\n", 0, -1)  # the last line's own hash stands in the manifest
    at = data.draw(st.integers(0, last))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BrokenChain, match=r"line [1-5] "):
        read_chain(bytes(raw))


@given(st.permutations(range(5)), st.sets(st.integers(0, 4), max_size=2))
def test_reordered_or_removed_lines_are_found(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], removed: set[int]
) -> None:
    path = write(tmp_path_factory.mktemp("run"))
    lines = path.read_bytes().splitlines(keepends=True)
    chosen = [n for n in order if n not in removed]
    data = b"".join(lines[n] for n in chosen)
    if chosen == list(range(len(chosen))):  # a shorter ledger is one as well: the manifest knows how long it was
        assert read_chain(data).lines == len(chosen)
    else:
        with pytest.raises(BrokenChain, match="out of order, or lines before it are missing"):
            read_chain(data)


@pytest.mark.parametrize("line", [b"[]", b"1", b"{}", b"[" * 3000, b'{"seq":0}', b"\xff", b'{"seq": 0}'])
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(BrokenChain, match="line 1 was changed"):
        read_chain(line + b"\n")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"ledger of the run could not be written[\s\S]*No such file"):
        Ledger(tmp_path / "gone").append("end")


def test_killed_while_it_writes(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.touch()
    for _ in range(3):
        before = path.stat().st_size
        with subprocess.Popen([sys.executable, "-c", FOREVER, str(tmp_path)]) as writer:
            while path.stat().st_size < before + 200_000:
                assert writer.poll() is None
            writer.kill()
        assert len(read_chain(path.read_bytes()).events) > 10
