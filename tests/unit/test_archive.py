"""The archive of binary logs: what a stream holds, what the pieces cover, and the way to a moment."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.binlog import Held, Reader, Unwhole
from swarmbook.model.archive import Piece, joined, lacking, number_of, read_pieces, tags_of
from swarmbook.model.moments import Moment, Refusal, Way, Why, read_moment, way_to
from swarmbook.model.snapshots import Snapshot

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
UUID, OTHER = "a2b41c1f-eb0e-11f1-a2f1-c32ad2c7a1ef", "b2b41c1f-eb0e-11f1-a2f1-c32ad2c7a1ef"


# -- the stream ----------------------------------------------------------------------------------------------------------


def event(kind: int, body: bytes, when: int = 0, server: int = 7) -> bytes:
    head = struct.pack("<IBIIIH", when, kind, server, 19 + len(body) + 4, 0, 0)
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def begun(number: int, when: int = 0, domain: int = 7, server: int = 7) -> bytes:
    """A transaction: its GTID, and rows."""
    return event(162, struct.pack("<QIB6x", number, domain, 0), when, server) + event(23, b"row" * number, when, server)


def log(*events: bytes) -> bytes:
    return b"\xfebin" + event(15, bytes(80) + b"\x01") + b"".join(events)


def packed(**logs: bytes) -> bytes:
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, content in logs.items():
                info = tarfile.TarInfo(name.replace("_", "."))
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()


def held(stream: bytes, size: int = 1 << 20, domain: int = 7, **more: Any) -> Held:
    reader = Reader(domain, **more)
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
    return reader.end()


STREAM = packed(
    binlog_000007=log(begun(5, 100), begun(6, 100), begun(1, 101, domain=9)),
    binlog_000008=log(begun(7, 103), begun(10, 102), event(4, b"rotate")),
)


@given(st.integers(1, 3000))
def test_a_stream_is_read_in_pieces_of_any_size(size: int) -> None:
    found = held(STREAM, size)
    assert found.files == ("binlog.000007", "binlog.000008") and found.size == len(STREAM)
    assert found.spans == ((5, 7), (10, 10)) and found.source == "7-7" and found.others == 1
    assert found.first is not None and found.first.timestamp() == 100
    assert found.beyond is None and found.reached is not None and found.reached[0] == 10


def test_where_a_moment_is() -> None:
    def at(second: int, after: int = 0) -> tuple[Any, Any]:
        found = held(STREAM, after=after, before=datetime.fromtimestamp(second, timezone.utc))
        return found.reached and found.reached[0], found.beyond and found.beyond[0]

    assert at(99) == (None, 5) and at(101) == (6, 7) and at(104) == (10, None)
    assert at(103) == (6, 7), "what comes behind it stays out, whatever its own time"
    ended = held(STREAM, through=6)
    assert ended.reached is not None and ended.reached[0] == 6 and ended.beyond is None
    assert ended.follows is not None and ended.follows[0] == 7
    assert at(100, after=6) == (None, 7), "what was replayed before does not count"


def test_wherever_it_breaks_off_that_is_seen() -> None:
    data = packed(binlog_000007=log(begun(5), begun(6)))
    whole = 512 + -(-len(log(begun(5), begun(6))) // 512) * 512
    for length in range(whole):
        with pytest.raises(Unwhole):
            held(data[:length])
    assert held(packed()).spans == ()


def test_a_bit_that_fell_over_is_seen() -> None:
    data = bytearray(packed(binlog_000007=log(begun(5), begun(6))))
    start = 512 + len(log())
    for at in range(start, start + len(begun(5) + begun(6))):
        data[at] ^= 4
        with pytest.raises(Unwhole):
            held(bytes(data))
        data[at] ^= 4


@pytest.mark.parametrize(
    "stream",
    [
        b"x" * 2048, packed(binlog_000007=b"no log"), packed(binlog_000007=b"\xfebin" + event(164, b"key")), packed(passwd=log()),
        packed(binlog_000007=log(begun(5), begun(5))), packed(binlog_000007=log(begun(5), begun(6, server=8))),
        packed(binlog_000007=log() + b"\0" * 19), STREAM + b"x" * 512,
    ],
)  # fmt: skip
def test_what_is_no_binary_log_is_refused(stream: bytes) -> None:
    with pytest.raises(Unwhole):
        held(stream)


# -- pieces --------------------------------------------------------------------------------------------------------------


def piece(*spans: tuple[int, int], until: float = 0, **other: Any) -> Piece:
    made = Piece(
        f"{spans[-1][1] if spans else 0:064x}", NOW + timedelta(seconds=until), "lab", "galera", "galera-sw3", UUID, "7-7", spans,
        NOW + timedelta(seconds=until), 9,
    )  # fmt: skip
    return replace(made, **other)


def base(number: int, at: float = 0, **other: Any) -> Snapshot:
    return replace(
        Snapshot(f"{int(at):064x}", NOW + timedelta(seconds=at), "lab", "galera", "m", f"{UUID}:{number + 3}", f"0-1-1,7-7-{number}", "11.8", 9, 0.0, True),
        **other,
    )  # fmt: skip


def test_tags_say_all_of_a_piece() -> None:
    pieces = [piece((1, 5), (9, 12), until=1), piece(until=2)]
    rows = [{"id": one.id, "time": one.time.isoformat(), "tags": tags_of(one)} for one in pieces]
    assert read_pieces([*rows, {"id": "f" * 64, "time": "x", "tags": ["swarmbook"]}, {"id": "0"}]) == pieces
    assert not any("," in tag or len(tag) > 1000 for one in pieces for tag in tags_of(one))
    assert pieces[0].last == 12


@pytest.mark.parametrize("tag", ["numbers=5", "numbers=5-4", "until=today", "bytes=many", "source=x"])
def test_what_is_no_piece_is_refused(tag: str) -> None:
    with pytest.raises(ValueError):
        read_pieces([{"id": "f" * 64, "time": "2030-01-01T00:00:00Z", "tags": ["swarmbook-binlog", tag]}])
    with pytest.raises(ValueError):
        read_pieces({})


SPANS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda each: (each[0], sum(each))), max_size=8)


@given(SPANS, st.integers(0, 50))
def test_what_is_missing(spans: list[tuple[int, int]], after: int) -> None:
    have = {number for first, last in spans for number in range(first, last + 1)}
    assert {number for first, last in joined(spans) for number in range(first, last + 1)} == have
    gone = {number for first, last in lacking(spans, after) for number in range(first, last + 1)}
    assert gone == set(range(after + 1, max(have, default=0) + 1)) - have


def test_the_number_of_a_backup() -> None:
    assert number_of(base(8), "7-7") == 8 and number_of(base(8), "7-1") == 8
    assert number_of(base(8, gtid=""), "7-7") is None and number_of(base(8, gtid="17-7-5"), "7-7") is None


# -- moments -------------------------------------------------------------------------------------------------------------


def test_what_a_moment_is() -> None:
    assert read_moment("2030-01-02T03:04:05Z") == Moment(NOW) == read_moment("2030-01-02 03:04:05")
    assert read_moment("7-7-812") == Moment(source="7-7", number=812)
    assert read_moment("7-7-812").word == "7-7-812" and Moment(NOW).word == "2030-01-02T03:04:05"
    for wrong in ("", "today", "7-7", "2030-13-02 03:04:05", "2030-01-02 03:04:65", "7-7-8 7-7-9"):
        with pytest.raises(ValueError):
            read_moment(wrong)


def to(
    moment: Moment | float, snapshots: list[Snapshot], pieces: list[Piece], owner: str = "lab/galera"
) -> Way | Refusal:
    meant = moment if isinstance(moment, Moment) else Moment(NOW + timedelta(seconds=moment))
    return way_to(meant, snapshots, pieces, owner)


def gtid(number: int, source: str = "7-7") -> Moment:
    return Moment(source=source, number=number)


def parts(way: Way | Refusal) -> list[tuple[int, int]]:
    assert isinstance(way, Way), way
    return [(part.after, part.through) for part in way.parts]


def why(way: Way | Refusal) -> Why:
    assert isinstance(way, Refusal), way
    return way.why


BASES = [base(10), base(30, 100)]
PIECES = [piece((8, 12), until=20), piece((13, 20), until=60), piece((21, 33), until=120), piece((34, 40), until=180)]


def test_the_last_backup_before_it_and_what_follows() -> None:
    assert parts(to(50, BASES, PIECES)) == [(10, 12), (12, 20)]
    assert parts(to(90, BASES, PIECES)) == [(10, 12), (12, 20), (20, 33)], (
        "where it is in the last, the times in it say"
    )
    assert parts(to(150, BASES, PIECES)) == [(30, 33), (33, 40)]
    assert parts(to(gtid(37), BASES, PIECES)) == [(30, 33), (33, 37)]
    assert parts(to(gtid(30), BASES, PIECES)) == [], "the backup alone"
    assert parts(to(gtid(29), BASES, PIECES)) == [(10, 12), (12, 20), (20, 29)]


def test_moments_that_cannot_be_had() -> None:
    early = to(-1, BASES, PIECES)
    assert why(early) is Why.NO_BACKUP and isinstance(early, Refusal) and early.earliest == "2030-01-02 03:04:05 UTC"
    late = to(181, BASES, PIECES)
    assert why(late) is Why.AFTER_THE_END and isinstance(late, Refusal)
    assert late.latest == "2030-01-02 03:07:05 UTC, GTID 7-7-40"
    assert why(to(gtid(41), BASES, PIECES)) is Why.AFTER_THE_END
    assert why(to(gtid(9), BASES, PIECES)) is Why.NO_BACKUP
    assert why(to(gtid(37, "8-8"), BASES, PIECES)) is Why.UNKNOWN
    assert why(to(50, [base(10, gtid="")], PIECES)) is Why.NO_GTID
    assert why(to(50, BASES, PIECES, "other/galera")) is Why.NO_BACKUP
    assert why(to(50, [base(10, complete=False)], PIECES)) is Why.NO_BACKUP


def test_behind_a_gap() -> None:
    holed = [PIECES[0], PIECES[2], PIECES[3]]
    for moment in (50.0, gtid(15), gtid(25)):
        refused = to(moment, BASES, holed)
        assert why(refused) is Why.GAP and isinstance(refused, Refusal)
        assert refused.gap == "7-7-13 to 7-7-20" and refused.latest == "2030-01-02 03:04:25 UTC, GTID 7-7-12"
    assert parts(to(gtid(12), BASES, holed)) == [(10, 12)]
    assert parts(to(150, BASES, holed)) == [(30, 33), (33, 40)], "a later backup is behind it"
    assert parts(to(50, BASES, [*holed, piece((11, 22), until=60)])) == [(10, 22)], "another member had it"


def test_a_restored_cluster_counts_anew() -> None:
    """12 comes twice: in the history up to the restore, and in that from there on."""
    restored = base(11, 200, position=f"{OTHER}:1")
    later = piece((12, 14), until=260, history=OTHER)
    assert parts(to(gtid(13), [*BASES, restored], [*PIECES, later])) == [(11, 13)]
    way = to(gtid(13), [*BASES, restored], [*PIECES, later])
    assert isinstance(way, Way) and way.base is restored
    assert parts(to(50, [*BASES, restored], [*PIECES, later])) == [(10, 12), (12, 20)], "a time is in one of them"
    refused = to(190, [*BASES, restored], [*PIECES, later])
    assert why(refused) is Why.AFTER_THE_END, "between the two"


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), max_size=12),
    st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True),
    st.one_of(st.integers(0, 75), st.integers(0, 75).map(float)),
)
def test_every_way_is_whole_and_none_is_overlooked(
    spans: list[tuple[int, int]], numbers: list[int], moment: int | float
) -> None:
    """Transaction N is of second N; a piece that ends with it was closed then; a backup that has it ends half a second later."""
    pieces = [piece((first, first + more), until=first + more) for first, more in spans]
    snapshots = [base(number, number + 0.5) for number in sorted(numbers)]
    have = {number for first, more in spans for number in range(first, first + more + 1)}
    way = to(gtid(moment) if isinstance(moment, int) else moment, snapshots, pieces)
    if isinstance(way, Way):
        at = start = number_of(way.base, "7-7") or 0
        for part in way.parts:
            assert part.after == at and part.through > at
            assert any(first <= at + 1 and part.through <= last for first, last in part.piece.spans)
            at = part.through
        if isinstance(moment, int):
            assert at == moment and start == max(each for each in numbers if each <= moment)
        else:
            assert way.base.ended <= NOW + timedelta(seconds=moment)
            assert not way.parts or at >= moment or any(one.until >= NOW + timedelta(seconds=moment) for one in pieces)
        return
    # No backup leads there without a gap.
    if isinstance(moment, int):
        assert not any(each <= moment and set(range(each + 1, moment + 1)) <= have for each in numbers)
    else:
        before = [each for each in numbers if each + 0.5 <= moment]
        ends = [first + more for first, more in spans if first + more >= moment]
        assert not before or not any(set(range(max(before) + 1, end + 1)) <= have for end in ends)
    if way.why is Why.GAP:
        first, last = (int(each.rpartition("-")[2]) for each in (way.gap.split(" to ") * 2)[:2])
        assert not have & set(range(first, last + 1)) and last + 1 in have
