"""A lease on a node: held by an SSH session, and gone with it, however that ends.

The local lock keeps two runs from one cluster's folder. Two copies of that folder, on two computers, know nothing of each
other; the nodes know both. A lock of the kernel (flock) on the node is held by a process at the other end of a session: it
ends when the session does, and when nothing has come through it for a while, so a laptop that was closed holds nothing for
long. No clock has to be right for that.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.marked import Marked
from swarmbook.access.probe import line
from swarmbook.base.border import words
from swarmbook.base.errors import HostUnreachable

__all__ = ["SILENCE_S", "Lease"]

_FOLDER = "/run"  # gone with a reboot, as every holder is
_BEAT_S = 20.0
#: Seconds of silence after which a node takes its holder for gone.
SILENCE_S = 90
_ANSWER_S = 30.0
#: Bytes of what a login may print before the answer.
_MOST = 1 << 20
_SCRIPT = """exec 9>>@{file} || exit
if ! flock -n 9; then echo "busy $(head -c 400 @{note} | tr -d '\\n')"; exit; fi
printf '%s' @{holder} > @{note}
echo held
while read -t @{silence} -r beat; do :; done
: > @{note}"""


class Lease:
    """One node's lease, asked for; look at :attr:`holder` to see who has it.

    Args:
        host: The node.
        cluster: The cluster's name.
        holder: Who asks, for the others.
        folder: The id of the cluster's folder of the one who asks; its own lock lets no two runs work from it.
        silence_s: Seconds of silence after which the node takes the holder for gone.

    Raises:
        HostUnreachable: The node did not answer.
    """

    def __init__(self, host: Host, cluster: str, holder: str, folder: str = "", silence_s: int = SILENCE_S) -> None:
        self._over = threading.Event()
        place = f"{_FOLDER}/swarmbook-{cluster}.lease"
        script = sh(_SCRIPT, file=place, note=f"{place}.holder", holder=f"{folder} {holder}", silence=silence_s)
        marked = Marked()
        command = marked.command(host.node.user, *marked.reader(data=True))
        connection = host.connection()
        try:
            self._channel = connection.transport.open_session(timeout=_ANSWER_S)
            self._channel.settimeout(_ANSWER_S)
            self._channel.exec_command(command)
            self._channel.sendall(b"".join(marked.sent(sh("exec bash -c @{script}", script=script), ())))
            answer = _first_line(self._channel, marked.begins)
        except Exception as error:  # paramiko raises what it likes, where sshd allows no further session, say
            raise HostUnreachable(
                f"{host.name} did not say whether another run works on it",
                where=host.name,
                wanted=f"one more session for bash and flock, and an answer within {_ANSWER_S:.0f} s",
                seen=words(error),
                next=f"swarmbook ssh {host.name} flock --version; then run it again",
            ) from None
        said, _, who = answer.removeprefix("busy ").partition(" ")
        #: Who else holds it; None where we do.
        self.holder: str | None = None if answer == "held" else line(who) or "a run that does not say its name"
        #: Whether the one who holds it worked from the same folder: as we do now, that run has ended.
        self.lost = self.holder is not None and bool(folder) and said == folder
        if self.holder is None:
            threading.Thread(target=self._beat, daemon=True).start()
        else:
            self.release()

    def _beat(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while not self._over.wait(_BEAT_S):
                self._channel.sendall(b"\n")

    def release(self) -> None:
        """Give it back, and wait until the node has it: the next step asks for it at once."""
        self._over.set()
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()
            self._channel.status_event.wait(_ANSWER_S)
            self._channel.close()


def _first_line(channel: Any, begins: bytes) -> str:
    """Return the first line behind the mark; what a login prints by itself comes before it."""
    said = bytearray()
    while b"\n" not in said.partition(begins)[2] and len(said) < _MOST:
        piece = channel.recv(1000)
        if not piece:
            raise EOFError("it ended without an answer")
        said += piece
    answer = said.partition(begins)[2].partition(b"\n")[0].decode(errors="replace")
    if answer != "held" and not answer.startswith("busy "):
        raise EOFError("it ended without an answer")
    return answer
