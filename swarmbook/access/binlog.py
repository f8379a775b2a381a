"""Binary logs of MariaDB's in a stream of tar, read as they pass: whether they are whole, and which transactions they hold.

A file is events, each with its time, length and checksum; a transaction begins with an event that has its GTID. Of all else the
content is passed over. tar has no checksum of what is in it, and ends with zeros: so what broke off is seen here, too.
"""

from __future__ import annotations

import re
import struct
import tarfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime, timezone

from swarmbook.model.archive import Span

__all__ = ["Held", "Reader", "Unwhole"]

_MAGIC = b"\xfebin"
_BLOCK = 512
#: Time, kind, server, length, end, flags.
_HEAD = struct.Struct("<IBIIIH")
#: Number, domain.
_GTID = struct.Struct("<QI")
_FORMAT_KIND, _GTID_KIND, _ENCRYPTED_KIND = 15, 162, 164
_SUM = 4
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\.[0-9]{6,10}")
#: A file's name has six digits at least: this many files are years.
_MOST_FILES = 1_000_000

#: How many bytes come next: given as they are, or, where it is negative, passed over; then their checksum goes on.
_Parse = Generator[int, bytes, None]


class Unwhole(ValueError):
    """What passes is no whole stream of binary logs."""


@dataclass(frozen=True)
class Held:
    """What a stream held.

    Args:
        size: Its bytes.
        files: Names, in order.
        spans: Numbers of the transactions of the domain that was asked for.
        source: That domain, and their server; nothing where there are none.
        first: When the first of them was begun.
        others: How many transactions of other domains there were: of one member alone.
        reached: Number and time of the last one before the moment that was given.
        beyond: Those of the first one that is not before it; None where all are.
        follows: Those of the first one after the number that was given; None where there is none.
    """

    size: int
    files: tuple[str, ...]
    spans: tuple[Span, ...]
    source: str = ""
    first: datetime | None = None
    others: int = 0
    reached: tuple[int, datetime] | None = None
    beyond: tuple[int, datetime] | None = None
    follows: tuple[int, datetime] | None = None


class Reader:
    """Reads a stream in pieces of any size.

    ::

        reader = Reader(domain=7)
        for piece in pieces:
            reader.feed(piece)
        held = reader.end()

    Args:
        domain: Of the transactions that count.
        after: Up to this number they were seen before.
        through: The last number that counts; all by default.
        before: The moment: the first transaction of this second, or of a later one, is beyond it.
    """

    def __init__(self, domain: int, *, after: int = 0, through: int = 1 << 64, before: datetime | None = None) -> None:
        self._domain, self._after, self._through = domain, after, through
        self._before = before.timestamp() if before is not None else None
        self._size = self._others = 0
        self._files: list[str] = []
        self._spans: list[Span] = []
        self._servers: set[int] = set()
        self._first: int | None = None
        self._reached: tuple[int, int] | None = None
        self._beyond: tuple[int, int] | None = None
        self._follows: tuple[int, int] | None = None
        self._held = bytearray()
        self._sum = 0
        self._ended = False
        self._parse = self._tar()
        self._wanted = next(self._parse)

    def feed(self, piece: bytes) -> None:
        """Read the next piece.

        Args:
            piece: Bytes.

        Raises:
            Unwhole: They are not what comes next.
        """
        self._size += len(piece)
        view, at = memoryview(piece), 0
        while at < len(piece):
            if self._wanted < 0:
                taken = min(-self._wanted, len(piece) - at)
                self._sum = zlib.crc32(view[at : at + taken], self._sum)
                at += taken
                self._wanted += taken
                if not self._wanted:
                    self._next(b"")
                continue
            taken = min(self._wanted - len(self._held), len(piece) - at)
            self._held += view[at : at + taken]
            at += taken
            if len(self._held) == self._wanted:
                given = bytes(self._held)
                self._held.clear()
                self._next(given)

    def end(self) -> Held:
        """Say what the stream held.

        Raises:
            Unwhole: It is not whole.
        """
        if not self._ended or self._held:
            raise Unwhole(f"it ends in the middle, after {self._size:,} bytes and {len(self._files)} files")
        if len(self._servers) > 1:
            raise Unwhole(f"its transactions are of several servers: {sorted(self._servers)}")
        return Held(
            self._size,
            tuple(self._files),
            tuple(self._spans),
            f"{self._domain}-{self._servers.copy().pop()}" if self._servers else "",
            _when(self._first) if self._first is not None else None,
            self._others,
            _timed(self._reached),
            _timed(self._beyond),
            _timed(self._follows),
        )

    def _next(self, given: bytes) -> None:
        # A generator that wants nothing is asked on at once.
        self._wanted = self._parse.send(given)
        while not self._wanted:
            self._wanted = self._parse.send(b"")

    # -- what comes next -------------------------------------------------------------------------------------------

    def _tar(self) -> _Parse:
        while any(head := (yield _BLOCK)):
            try:
                info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
            except tarfile.TarError as error:
                raise Unwhole(f"no file begins at byte {self._size:,} or before: {error}") from None
            if not info.isreg() or not _NAME.fullmatch(info.name) or len(self._files) >= _MOST_FILES:
                raise Unwhole(f"{info.name[:80]!r} is no binary log")
            yield from self._file(info.name, info.size)
            self._files.append(info.name)
            yield -(-info.size % _BLOCK)
        while True:
            self._ended = True
            if any((yield _BLOCK)):
                raise Unwhole("something follows behind its end")

    def _file(self, name: str, size: int) -> _Parse:
        if size < len(_MAGIC) or (yield len(_MAGIC)) != _MAGIC:
            raise Unwhole(f"{name} does not begin as a binary log; it may be encrypted")
        left, summed = size - len(_MAGIC), False
        while left:
            if left < _HEAD.size:
                raise Unwhole(f"{name} ends within an event")
            head = yield _HEAD.size
            when, kind, server, length, _, _ = _HEAD.unpack(head)
            if not _HEAD.size + _SUM <= length <= left:
                raise Unwhole(f"{name} has an event of {length:,} bytes where {left:,} are left")
            left -= length
            content = length - _HEAD.size
            if kind == _ENCRYPTED_KIND:
                raise Unwhole(f"{name} is encrypted")
            if kind == _FORMAT_KIND:
                # Its last bytes say whether events have a checksum. Its own is another one while the file is written.
                summed = (yield content)[-_SUM - 1] == 1
                continue
            tail = _SUM if summed else 0
            self._sum = zlib.crc32(head)
            if kind == _GTID_KIND:
                if content - tail < _GTID.size:
                    raise Unwhole(f"{name} has a GTID of {content} bytes")
                given = yield content - tail
                self._sum = zlib.crc32(given, self._sum)
                self._transaction(when, server, *_GTID.unpack_from(given))
            else:
                yield tail - content
            if summed:
                wanted = self._sum
                if int.from_bytes((yield _SUM), "little") != wanted:
                    raise Unwhole(f"the checksum of an event in {name} is another one")

    def _transaction(self, when: int, server: int, number: int, domain: int) -> None:
        if domain != self._domain:
            self._others += 1
            return
        last = self._spans[-1][1] if self._spans else 0
        if number <= last:
            raise Unwhole(f"number {number} comes after {last}")
        if number == last + 1 and self._spans:
            self._spans[-1] = self._spans[-1][0], number
        else:
            self._spans.append((number, number))
        self._servers.add(server)
        if number <= self._after:
            return
        if number > self._through:
            self._follows = self._follows or (number, when)
            return
        if self._first is None:
            self._first = when
        if self._beyond is None:
            if self._before is not None and when >= self._before:
                self._beyond = number, when
            else:
                self._reached = number, when


def _timed(seen: tuple[int, int] | None) -> tuple[int, datetime] | None:
    return (seen[0], _when(seen[1])) if seen is not None else None


def _when(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
