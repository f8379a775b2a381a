"""One command on one SSH channel: bounded in bytes and in seconds, whatever flows, and read as plain text."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from swarmbook.base.plain import plain

__all__ = ["MOST", "Flow", "Output", "Sink", "TooMuch", "execute", "pieces_of"]

#: Bytes that a command may print, both streams together. The longest answer of a healthy node is below a hundredth of it.
MOST = 16 << 20
_PIECE = 65536


@dataclass(frozen=True)
class Output:
    """What a command gave, as plain text."""

    exit: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.exit == 0


class Sink(Protocol):
    """Takes what a command prints on standard output, piece by piece."""

    def __call__(self, piece: bytes, /) -> object:
        """Take the next piece."""


@dataclass(frozen=True)
class Flow:
    """What streams through a command, in pieces and of any size.

    Args:
        sent: What it finds on its standard input; None for nothing.
        sink: Where its standard output goes; by default into its :class:`Output`.
    """

    sent: Iterable[bytes] | None = None
    sink: Sink | None = None


class TooMuch(Exception):
    """A command printed more than it may."""


class _Answer:
    """What has come so far on both streams of a channel.

    Args:
        channel: paramiko's.
        until: When it has to be whole, on the monotonic clock.
        most: Bytes that it may have.
    """

    def __init__(self, channel: Any, until: float, most: int) -> None:
        self._channel, self._until, self._most = channel, until, most
        self._guard = threading.Lock()
        self._size = 0
        self._failures: list[Exception] = []

    def drain(self, read: Callable[[int], bytes], into: bytearray | Sink) -> None:
        """Read a stream to its end; what is wrong is kept for :meth:`check`, and ends the other stream too."""
        try:
            while chunk := read(_PIECE):
                # The channel's own limit is for silence: a command that goes on printing would never meet it.
                if time.monotonic() > self._until:
                    raise TimeoutError
                if not isinstance(into, bytearray):
                    into(chunk)
                    continue
                with self._guard:
                    self._size += len(chunk)
                    if self._size > self._most:
                        raise TooMuch
                into += chunk
        except Exception as error:
            self._failures.append(error)
            # A transport that has died meanwhile cannot pass that on. This may be a thread of its own, whose error would be
            # printed on the terminal: what counts is the failure that was kept.
            with contextlib.suppress(EOFError, OSError):
                self._channel.close()

    def check(self) -> None:
        """Raise what went wrong first."""
        if self._failures:
            raise self._failures[0]


def execute(
    channel: Any, command: str, timeout_s: float, most: int, sent: Iterable[bytes] = (), sink: Sink | None = None
) -> Output:
    """Run a command; fabric's own runner polls its threads, which costs 9 ms a command.

    Args:
        channel: A session of paramiko's, just opened.
        command: For the login shell over there.
        timeout_s: Seconds from now on, however much it prints meanwhile.
        most: Bytes that it may print.
        sent: What it finds on its standard input, in pieces.
        sink: Where its standard output goes, in place of the result; what it raises ends the command.

    Raises:
        TimeoutError: It has not ended in time.
        TooMuch: It has printed more than it may; it is cut off.
    """
    until = time.monotonic() + timeout_s
    channel.settimeout(timeout_s)
    with contextlib.closing(channel):
        channel.exec_command(command)
        try:
            for piece in sent:
                channel.sendall(piece)
                if time.monotonic() > until:
                    raise TimeoutError
            channel.shutdown_write()
        except TimeoutError:
            raise
        except OSError:  # it has ended without waiting for what it is sent: what it said tells why
            pass
        answer, out, err = _Answer(channel, until, most), bytearray(), bytearray()
        reader = threading.Thread(target=answer.drain, args=(channel.recv_stderr, err), daemon=True)
        reader.start()
        answer.drain(channel.recv, sink or out)
        reader.join(max(until - time.monotonic(), 0))
        answer.check()
        if not channel.status_event.wait(max(until - time.monotonic(), 0)):
            raise TimeoutError
        return Output(channel.recv_exit_status(), _text(out), _text(err))


def _text(data: bytearray) -> str:
    return plain(data.decode(errors="replace"))


def pieces_of(file: Path) -> Iterator[bytes]:
    """Read a file piece by piece: it may be larger than memory.

    Args:
        file: The file.
    """
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece
