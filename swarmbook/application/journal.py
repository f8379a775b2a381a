"""The journal of a writer: what it sent and what was acknowledged, appended to a file of this computer, each line with the hash of the line before.

It is written outside the cluster and knows nothing of it: so it can be held against the cluster after a fault. A transfer is
noted before its COMMIT is sent; so one whose outcome no one knows is known as such, also when this process is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swarmbook.application.accounts import Transfer
from swarmbook.base.errors import WorldError

__all__ = ["START", "Journal", "Keeper", "file_of", "journals", "read"]

#: What the first line has in place of the hash of the line before.
START = "0" * 64
_BEGUN, _ACKNOWLEDGED, _UNDONE, _UNKNOWN, _END = "begun", "acknowledged", "undone", "unknown", "end"


def file_of(folder: Path, writer: int) -> Path:
    """Return the file of a writer's journal."""
    return folder / f"writer-{writer}.jsonl"


@dataclass(frozen=True)
class Journal:
    """What one writer has noted.

    Args:
        writer: Its number.
        begun: Transfers whose COMMIT was sent, by number; several where a second try paid something else.
        acknowledged: Numbers of those that the database has acknowledged.
        undone: Numbers of those that are known not to have been done.
        ended: Whether the writer came to its end; one that was killed did not.
    """

    writer: int
    begun: Mapping[int, tuple[Transfer, ...]] = field(default_factory=dict)
    acknowledged: frozenset[int] = frozenset()
    undone: frozenset[int] = frozenset()
    ended: bool = True

    @property
    def unknown(self) -> frozenset[int]:
        """Numbers of those that may have been done, and may not."""
        return frozenset(self.begun) - self.acknowledged - self.undone


class Keeper:
    """Writes a journal; each line is handed to the kernel before a call returns.

    Args:
        path: Its file, which must not exist.
        writer: The writer's number.
    """

    def __init__(self, path: Path, writer: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        self._before, self._writer = START, writer

    def begun(self, number: int, transfer: Transfer) -> None:
        """Note that the COMMIT of a transfer is about to be sent."""
        self._note(_BEGUN, number=number, **asdict(transfer))

    def acknowledged(self, number: int, at: float, seconds: float) -> None:
        """Note that the database has acknowledged a transfer.

        Args:
            number: The transfer's.
            at: Seconds since the application began.
            seconds: How long it took, a second try included.
        """
        self._note(_ACKNOWLEDGED, number=number, at=round(at, 6), seconds=round(seconds, 6))

    def undone(self, number: int, why: str) -> None:
        """Note that a transfer failed, and is known not to have been done."""
        self._note(_UNDONE, number=number, why=why[:300])

    def unknown(self, number: int, why: str) -> None:
        """Note that no one knows what became of a transfer."""
        self._note(_UNKNOWN, number=number, why=why[:300])

    def close(self) -> None:
        """Note the end, and bring it all to the disk."""
        self._note(_END)
        os.fsync(self._file)
        os.close(self._file)

    def _note(self, what: str, **fields: Any) -> None:
        line = _line({**fields, "what": what, "writer": self._writer, "before": self._before})
        view = memoryview(line + b"\n")
        while view:
            view = view[os.write(self._file, view) :]
        self._before = hashlib.sha256(line).hexdigest()


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def read(data: bytes, where: str) -> Journal:
    """Read a journal, each line held against the one before; a last line that was left unfinished is passed over.

    Args:
        data: What is in the file.
        where: Its name, for messages.

    Raises:
        WorldError: A line is not as it was written, is missing, or was added.
    """
    lines = data.split(b"\n")[:-1]
    before, writer, ended = START, 0, False
    begun: dict[int, list[Transfer]] = defaultdict(list)
    known: dict[str, set[int]] = defaultdict(set)
    for at, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
            if _line(event) != line or event["before"] != before or ended:
                raise ValueError("it is not as it was written, or does not follow the line before")
            what, writer = str(event["what"]), int(event["writer"])
            if what == _BEGUN:
                begun[int(event["number"])].append(Transfer(event["source"], event["target"], event["amount"]))
            elif what != _END:
                known[what].add(int(event["number"]))
            ended = what == _END
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WorldError(
                "the journal of a writer does not hold together, so nothing can be held against it",
                where=f"{where}, line {at}",
                wanted="lines as they were written, each with the hash of the line before",
                seen=str(error),
                next="swarmbook use PARAMS",
            ) from None
        before = hashlib.sha256(line).hexdigest()
    return Journal(
        writer,
        {number: tuple(several) for number, several in begun.items()},
        frozenset(known[_ACKNOWLEDGED]),
        frozenset(known[_UNDONE]),
        ended,
    )


def journals(folder: Path) -> list[Journal]:
    """Read the journals of all writers.

    Args:
        folder: Where they lie.

    Raises:
        WorldError: One does not hold together.
    """
    return [read(path.read_bytes(), str(path)) for path in sorted(folder.glob("writer-*.jsonl"))]
