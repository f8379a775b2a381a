"""Commands in marks: what a login prints by itself is separated from what a command says, and how far the login came is seen.

A login shell may be any shell (fish and csh quote in their own way), and it may print (``.bashrc``, ``sshrc``), refuse
(``nologin``, a forced command, an expired password), or let no one become root. So it is given one line of plain words that
every shell reads alike; ``sh`` behind it prints a mark when it is reached, a second one as root, and a third at the end. The
script itself comes over standard input, where no shell but ``sh`` reads it and no limit of a command line counts.
"""

from __future__ import annotations

import base64
import secrets
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from swarmbook.access.channel import Output, Sink

__all__ = ["Marked", "Stage", "Strained"]

_REACHED = 'echo "$0"; echo "$0" >&2; exec "$@"'
_READ = 's=$(cat); (eval "$s") </dev/null; r=$?; echo "$0"; exit $r'
#: A shell reads a line byte by byte, and so leaves what comes after it to the script.
_READ_LINE = 'IFS= read -r s; s=$(printf %s "$s" | base64 -d); (eval "$s"); r=$?; echo "$0"; exit $r'


class Stage(Enum):
    """How far a login came."""

    NOT_IN = "its login ran nothing of ours"
    NOT_ROOT = "it ran, and did not become root"
    ROOT = "it ran as root"


@dataclass(frozen=True)
class Marked:
    """The marks of one command.

    Args:
        mark: What no login prints by itself.
    """

    mark: str = field(default_factory=lambda: f"swarmbook-{secrets.token_hex(8)}")

    def command(self, user: str, *words: str) -> str:
        """Return what the login shell is given.

        Args:
            user: Who logs in; root needs no sudo.
            words: A command that is run as root, word by word, in characters that every shell takes as they are once quoted.
        """
        sudo = () if user == "root" else ("sudo", "-n")
        every = ("sh", "-c", _REACHED, f"{self.mark}-in", *sudo, "sh", "-c", _REACHED, f"{self.mark}-root", *words)
        return " ".join(map(shlex.quote, every))

    def reader(self, *, data: bool = False) -> tuple[str, ...]:
        """Return the words of a shell that runs the script it is sent; see :meth:`sent`."""
        return ("sh", "-c", _READ_LINE if data else _READ, f"{self.mark}-end")

    @staticmethod
    def sent(script: str, data: Iterable[bytes] | None = None) -> Iterator[bytes]:
        """Give, in pieces, what goes to such a shell's standard input.

        Args:
            script: What it runs.
            data: What the script finds on its standard input, in pieces; by default nothing.
        """
        encoded = script.encode(errors="surrogateescape")
        if data is None:
            yield encoded
            return
        yield base64.b64encode(encoded) + b"\n"
        yield from data

    @property
    def begins(self) -> bytes:
        """What comes right before the first byte of a command's own."""
        return f"{self.mark}-root\n".encode()

    @property
    def ends(self) -> bytes:
        """What comes right behind the last one."""
        return f"{self.mark}-end\n".encode()

    def own(self, output: Output) -> tuple[Stage, Output]:
        """Tell how far a login came, and what of all that was printed is the command's own.

        Where none ran, it is what the login said instead.
        """
        root, logged_in = f"{self.mark}-root\n", f"{self.mark}-in\n"
        if root in output.stdout:
            out = output.stdout.partition(root)[2]
            before_end, end, _ = out.rpartition(f"{self.mark}-end\n")
            # Where a shell of the login's speaks up later, its words on standard error come first or last.
            err = output.stderr.partition(root)[2] if root in output.stderr else output.stderr
            return Stage.ROOT, Output(output.exit, before_end if end else out, err)
        if logged_in in output.stdout:
            out, err = (
                text.partition(logged_in)[2] if logged_in in text else text for text in (output.stdout, output.stderr)
            )
            return Stage.NOT_ROOT, Output(output.exit, out, err)
        return Stage.NOT_IN, output


class Strained:
    """Lets a command's own bytes through to a sink, and keeps what its login and the marks say around them.

    Args:
        marked: The marks of the command.
        sink: Where the command's own bytes go.
    """

    #: Bytes that a login may say before the command begins, and after it has ended.
    _MOST = 64 << 10

    def __init__(self, marked: Marked, sink: Sink) -> None:
        self._begins, self._ends, self._sink = marked.begins, marked.ends, sink
        self._head = bytearray()
        self._tail = bytearray()
        self._began = False

    def __call__(self, piece: bytes) -> None:
        """Take the next piece of all that comes."""
        if not self._began:
            self._head += piece
            before, mark, piece = bytes(self._head).partition(self._begins)
            if not mark:
                del self._head[self._MOST :]
                return
            self._head[:] = before + mark
            self._began = True
        # What may hold the end mark is held back: until the last byte has come, no one knows where it is.
        self._tail += piece
        if (own := len(self._tail) - self._MOST) > 0:
            self._sink(bytes(self._tail[:own]))
            del self._tail[:own]

    def rest(self, output: Output) -> Output:
        """Let through what was held back, and return what was said around it.

        Args:
            output: Of the whole command.
        """
        own, mark, after = bytes(self._tail).rpartition(self._ends)
        if self._began:
            self._sink(own if mark else after)
        said = bytes(self._head) + (mark + after if mark else b"")
        return Output(output.exit, said.decode(errors="replace"), output.stderr)
