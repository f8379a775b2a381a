"""The ledger of a run: one line per event, each with the hash of the line before, written as things happen.

The runner and every kernel append to it, each with several threads. A line is handed to the kernel before
:meth:`Ledger.append` returns, so a process that is killed loses at most the line it was writing; the disk is synced at
every event but commands, checks and steps, and for those at most once a second (a crash of the computer may take that one).

A line that was left unfinished stays as it is: the next append begins a new line, which tells of it and holds its hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.secrets import mask
from swarmbook.base.words import typed
from swarmbook.model.formats import Format
from swarmbook.model.rundir import RunFolder

__all__ = [
    "EVENTS",
    "FILE",
    "FORMAT",
    "RUN_FORMAT",
    "START",
    "TORN",
    "BrokenChain",
    "Chain",
    "Ledger",
    "format_of",
    "read_chain",
    "read_run",
]

FILE = "ledger.jsonl"
#: Format of ledger and manifest.
#: Of 2 on, a run names the run before it, and what was deployed.
RUN_FORMAT = Format("the run", 2, next="use that newer swarmbook")
FORMAT = RUN_FORMAT.newest
#: What the first line has in place of the hash of the line before.
START = "0" * 64
EVENTS = frozenset(
    ("run", "plan", "approval", "chapter", "step", "command", "check", "material", "failure", "interruption", "end")
)
TORN = "torn line"

_OFTEN = frozenset(("command", "check", "step", "material"))
_SYNC_S = 1.0
_TEXT = 4000  # characters of one text; what is longer keeps its beginning and its end


def canonical(data: Mapping[str, Any]) -> bytes:
    """Encode an event in the one way in which a line is written."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), default=str).encode()


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _clean(value: Any) -> Any:
    """Mask first, cut then: half a secret would not be known as one."""
    if isinstance(value, str):
        text = mask(value)
        if len(text) > _TEXT:
            text = f"{text[: _TEXT * 3 // 4]}\n... {len(text) - _TEXT} characters left out ...\n{text[-_TEXT // 4 :]}"
        return text
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else _clean(str(value))


class Ledger:
    """Appends to the ledger of a run's folder; safe from several threads and processes at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._guard = threading.Lock()
        self._known = (-1, 0, START)  # size of the file, and what comes next at that size
        self._synced = 0.0

    @classmethod
    def of_this_process(cls) -> Ledger | None:
        """Return the ledger of the run that started this process, if one did."""
        folder = RunFolder.of_this_process()
        return cls(folder.path) if folder is not None else None

    @property
    def head(self) -> str:
        """Hash of the line that this object wrote last; START while it has written none."""
        return self._known[2]

    def append(self, event: str, **fields: Any) -> None:
        """Add one event; everything in it is masked."""
        self.extend([(event, fields)])

    def extend(self, events: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Add several events, with no other writer's between them.

        Raises:
            WorldError: It could not be written.
        """
        cleaned = [(event, _clean(fields)) for event, fields in events]
        if not cleaned:
            return
        try:
            with self._guard:
                self._write(cleaned)
        except OSError as error:
            raise WorldError(
                "the ledger of the run could not be written",
                where=str(self.path),
                seen=error.strerror or repr(error),
                next=f"df -h {typed(self.path.parent)}",
            ) from error

    def _write(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            number, before, torn = (*self._known[1:], False) if size == self._known[0] else _end_of(file, size)
            if torn:
                events = [
                    ("failure", {"what": TORN, "detail": "a process was stopped while it wrote this line"}),
                    *events,
                ]
            data = bytearray(b"\n" if torn and os.pread(file, 1, size - 1) != b"\n" else b"")
            for event, fields in events:
                now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                line = canonical({**fields, "seq": number, "time": now, "event": event, "prev": before})
                data += line + b"\n"
                number, before = number + 1, _hash(line)
            self._known = (-1, 0, START)
            view = memoryview(bytes(data))
            while view:
                view = view[os.write(file, view) :]
            self._known = (size + len(data), number, before)
            fcntl.flock(file, fcntl.LOCK_UN)
            if time.monotonic() - self._synced > _SYNC_S or not all(event in _OFTEN for event, _ in events):
                os.fdatasync(file)
                self._synced = time.monotonic()
        finally:
            os.close(file)


def _end_of(file: int, size: int) -> tuple[int, str, bool]:
    """Find number and hash for the next line, and whether what stands at the end is torn; read from the end."""
    block = 1 << 13
    while True:
        at = max(0, size - block)
        data = os.pread(file, size - at, at)
        lines = data.split(b"\n")
        last = len(lines) - 2  # behind the last newline there is nothing, or a torn line
        while last >= (1 if at else 0):  # the first one may be cut by the block
            number = _number(lines[last])
            if number is not None:
                rest = b"\n".join(lines[last + 1 :])
                return (
                    (number + 1, _hash(rest.removesuffix(b"\n")), True)
                    if rest
                    else (number + 1, _hash(lines[last]), False)
                )
            last -= 1
        if at == 0:
            return (0, _hash(data.removesuffix(b"\n")), True) if data else (0, START, False)
        block *= 8


def _number(line: bytes) -> int | None:
    try:
        number = json.loads(line)["seq"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if isinstance(number, int) else None


# -- reading ---------------------------------------------------------------------------------------------------------


class BrokenChain(ValueError):
    """A line of the ledger does not fit to the ones before it."""


@dataclass(frozen=True)
class Chain:
    """A ledger that holds together.

    Args:
        events: All of them, in order.
        lines: How many lines the file has.
        head: Hash of the last line.
        torn: Numbers of the lines that were left unfinished.
    """

    events: tuple[dict[str, Any], ...]
    lines: int
    head: str
    torn: tuple[int, ...] = ()

    @property
    def run(self) -> dict[str, Any]:
        """The first event."""
        return self.events[0] if self.events and self.events[0]["event"] == "run" else {}

    @property
    def end(self) -> dict[str, Any] | None:
        """The last event, if the run came to one."""
        return self.events[-1] if self.events and self.events[-1]["event"] == "end" else None

    def up_to(self, head: str) -> Chain | None:
        """Return the part that ends with a head that was noted earlier; None if this ledger never had that head.

        Anyone who can write to the file can go on with a chain: what stands behind the head is not vouched for by it.
        """
        if head == self.head:
            return self
        for number, event in enumerate(self.events, 1):
            if head == _hash(canonical(event)):
                return Chain(self.events[:number], number, head)
        return None


def read_chain(data: bytes) -> Chain:
    """Read a ledger, each line held against the one before.

    Example:
        >>> chain = read_chain(Path("tests/unit/kept/run-format-1/ledger.jsonl").read_bytes())
        >>> chain.events[0]["event"]
        'run'

    Raises:
        BrokenChain: Names the first line that does not fit.
    """
    lines = data.split(b"\n")
    unfinished = lines.pop()
    if unfinished:
        lines.append(unfinished)
    events: list[dict[str, Any]] = []
    torn: list[int] = []
    before, index = START, 0
    reported = b'"what":"torn line"' in data
    while index < len(lines):
        skipped = _torn_lines(lines, index, len(events)) if reported else 0
        if not skipped:
            try:
                events.append(_event(lines[index], index + 1, len(events), before))
            except BrokenChain:
                if not (unfinished and index == len(lines) - 1):
                    raise
                skipped = 1  # the very last thing that was written
        raw = b"\n".join(lines[index : index + max(1, skipped)])
        torn += range(index + 1, index + 1 + skipped)
        before, index = _hash(raw), index + max(1, skipped)
    return Chain(tuple(events), len(lines), before, tuple(torn))


def read_run(folder: Path) -> Chain:
    """Read the ledger of a run's folder, for any code that builds on what it says.

    Raises:
        UsageError: It is no run's folder, or its ledger does not hold together, or a newer swarmbook wrote it.
    """
    path = folder / FILE
    try:
        data = path.read_bytes()
        RUN_FORMAT.require(format_of(data), str(path))
        chain = read_chain(data)
    except OSError as error:
        raise UsageError(
            "this is not a run folder", where=str(folder), wanted=f"a folder with {FILE}", seen=error.strerror
        ) from None
    except BrokenChain as error:
        raise UsageError(
            "the ledger does not fit", where=str(path), seen=str(error), next=f"swarmbook audit {typed(folder)}"
        ) from None
    if not chain.run:
        raise UsageError(
            "the ledger does not say which run this is", where=str(path), next=f"swarmbook audit {typed(folder)}"
        )
    if not _is_sealed_one(folder, chain):
        raise UsageError(
            "the ledger is not the one that was sealed: truncated, or changed",
            where=str(path),
            next=f"swarmbook audit {typed(folder)}",
        )
    return chain


def format_of(data: bytes) -> object:
    """Return the format that a ledger's first line names, before anything else is read; None if it names none.

    What another format calls an event need not be known here, and what is wrong with the line the chain says.
    """
    try:
        run = json.loads(data.partition(b"\n")[0])
        return run["format"] if run["event"] == "run" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_sealed_one(folder: Path, chain: Chain) -> bool:
    """Tell whether the manifest, if the run came to one, names the end of this very ledger."""
    try:
        sealed = json.loads((folder / "manifest.json").read_bytes())
        return bool(sealed["ledger"]["head"] == chain.head)
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _torn_lines(lines: list[bytes], index: int, number: int) -> int:
    """Count the lines from here on that a later line calls torn."""
    for behind in reversed(
        range(index + 1, min(index + 9, len(lines)))
    ):  # the event that reports it may itself be torn
        if b'"what":"torn line"' in lines[behind]:
            raw = b"\n".join(lines[index:behind])
            try:
                event = json.loads(lines[behind])
            except ValueError:
                continue
            if isinstance(event, dict) and (
                event.get("event"),
                event.get("what"),
                event.get("seq"),
                event.get("prev"),
            ) == (
                "failure",
                TORN,
                number,
                _hash(raw),
            ):
                return behind - index
    return 0


def _event(raw: bytes, line: int, number: int, before: str) -> dict[str, Any]:
    try:
        event = json.loads(raw)
        whole = (
            isinstance(event, dict)
            and canonical(event) == raw
            and event["event"] in EVENTS
            and isinstance(event["time"], str)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise BrokenChain(f"line {line} was changed: it is not as swarmbook writes it")
    if event.get("seq") != number:
        raise BrokenChain(
            f"line {line} is out of order, or lines before it are missing: event {event.get('seq')} where event {number} belongs"
        )
    if event.get("prev") != before:
        raise BrokenChain(f"line {max(1, line - 1)} was changed: line {line} holds another hash of it")
    return dict(event)
