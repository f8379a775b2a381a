"""The stream of mariadb-backup, read as it passes: whether it is whole, and what the backup says of itself.

A stream is chunks, each with its own mark, path and checksum; a file ends with a chunk that says so. So what broke off, also
between two chunks, is seen here, whatever the programs at both ends of the pipe say.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

__all__ = ["About", "Broken", "Reader"]

_MARK = b"XBSTCK01"
#: Mark, flags, type, length of the path.
_HEAD = struct.Struct("<8sBcI")
#: Length, offset, checksum.
_PAYLOAD = struct.Struct("<QQI")
_MOST_PATH = 4096
#: A chunk is at most 10 MiB where mariadb-backup writes it.
_MOST_CHUNK = 1 << 30
#: Files of which the content is kept; each is some hundred bytes.
_SAID = ("mariadb_backup_galera_info", "xtrabackup_galera_info", "mariadb_backup_info", "xtrabackup_info")
_MOST_KEPT = 64 << 10
_POSITION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([0-9]{1,19})(?:\s+([0-9,-]+))?\s*")
_VERSION = re.compile(r"^server_version = ([A-Za-z0-9.+~:-]{1,80})", re.MULTILINE)
_GTIDS = re.compile(r"^binlog_pos = .*GTID of the last change '([0-9,-]{1,400})'", re.MULTILINE)


class Broken(ValueError):
    """What passes is no whole stream of mariadb-backup."""


@dataclass(frozen=True)
class About:
    """What a backup says of itself.

    Args:
        size: Bytes of the stream.
        files: How many files it has.
        uuid: Of the cluster's history; empty where it says none.
        seqno: Of the last transaction in it.
        gtid: Where the server counts GTIDs; else empty.
        server: The server's version.
    """

    size: int
    files: int
    uuid: str = ""
    seqno: int = -1
    gtid: str = ""
    server: str = ""

    @property
    def position(self) -> str:
        """``UUID:SEQNO``, or nothing."""
        return f"{self.uuid}:{self.seqno}" if self.uuid else ""


class Reader:
    """Reads a stream in pieces of any size.

    ::

        reader = Reader()
        for piece in pieces:
            reader.feed(piece)
        about = reader.end()
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._size = self._files = 0
        self._open: set[bytes] = set()
        self._kept: dict[str, bytearray] = {}
        #: Of the chunk whose content is passing: its path, bytes to come, checksum that it should have, and that so far.
        self._path = b""
        self._left = self._wanted = self._sum = 0
        self._within = False

    def feed(self, piece: bytes) -> None:
        """Read the next piece.

        Args:
            piece: Bytes.

        Raises:
            Broken: They are not what comes next in a stream.
        """
        self._size += len(piece)
        at = 0
        while at < len(piece):
            if self._within:
                taken = min(self._left, len(piece) - at)
                self._content(memoryview(piece)[at : at + taken])
                at += taken
                continue
            # A head is short: it is put together from as many pieces as it comes in.
            need = self._need() - len(self._held)
            self._held += piece[at : at + need]
            at += need
            if self._need() <= len(self._held):
                self._head()

    def end(self) -> About:
        """Say what the stream held.

        Raises:
            Broken: It is not whole.
        """
        if self._within or self._held or self._open or not self._files:
            raise Broken(f"it ends in the middle, after {self._size:,} bytes and {self._files} whole files")
        # It comes last: what broke off between two files lacks it.
        if not any(name.endswith("backup_info") for name in self._kept):
            raise Broken(
                f"it breaks off after {self._files} whole files: what mariadb-backup says at the end is missing"
            )
        texts = {name: bytes(content).decode(errors="replace") for name, content in self._kept.items()}
        info = "\n".join(text for name, text in texts.items() if name.endswith("backup_info"))
        said = next((text for name, text in texts.items() if name.endswith("galera_info")), "")
        position, version, gtids = _POSITION.fullmatch(said), _VERSION.search(info), _GTIDS.search(info)
        gtid = gtids[1] if gtids else position[3] if position and position[3] and "-" in position[3] else ""
        return About(
            self._size,
            self._files,
            position[1] if position else "",
            int(position[2]) if position else -1,
            gtid or "",
            version[1] if version else "",
        )

    def _need(self) -> int:
        """How long the head is, as far as it is known."""
        if len(self._held) < _HEAD.size:
            return _HEAD.size
        mark, _, kind, length = _HEAD.unpack_from(self._held)
        if mark != _MARK or kind not in (b"P", b"E") or not 0 < length <= _MOST_PATH:
            raise Broken(f"no chunk begins at byte {self._size - len(self._held):,} or before")
        return _HEAD.size + int(length) + (_PAYLOAD.size if kind == b"P" else 0)

    def _head(self) -> None:
        _, _, kind, length = _HEAD.unpack_from(self._held)
        self._path = bytes(self._held[_HEAD.size : _HEAD.size + length])
        if kind == b"E":
            self._open.discard(self._path)
            self._files += 1
        else:
            self._left, _, self._wanted = _PAYLOAD.unpack_from(self._held, _HEAD.size + length)
            if self._left > _MOST_CHUNK:
                raise Broken(f"a chunk of {self._left:,} bytes")
            self._open.add(self._path)
            self._sum, self._within = 0, True
            if not self._left:
                self._content(memoryview(b""))
        self._held.clear()

    def _content(self, content: memoryview) -> None:
        self._sum = zlib.crc32(content, self._sum)
        self._left -= len(content)
        name = self._path.decode(errors="replace")
        if name in _SAID:
            kept = self._kept.setdefault(name, bytearray())
            kept += content[: max(_MOST_KEPT - len(kept), 0)]
        if not self._left:
            self._within = False
            if self._sum != self._wanted:
                raise Broken(f"the checksum of a part of {name[:80]!r} is another one")
