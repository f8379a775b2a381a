"""SSH to a node: run, put, forward. Host keys are strict, every command is recorded, every one is bounded.

This module, :mod:`swarmbook.access.ssh_keys` and :mod:`swarmbook.access.identities` are the only ones that know fabric and paramiko.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from swarmbook.access.channel import MOST, Flow, Output, TooMuch, execute, pieces_of
from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import Script, sh
from swarmbook.access.forwarding import forwarded
from swarmbook.access.identities import Tries
from swarmbook.access.marked import Marked, Stage, Strained
from swarmbook.access.node import Endpoint, Identity, Jump, Node
from swarmbook.access.probe import MOST_ANSWER, Probe
from swarmbook.access.ssh_keys import prohibited
from swarmbook.access.turned_away import (
    another_host_key,
    forwarding_refused,
    key_refused,
    not_root,
    nothing_in_common,
    runs_nothing,
    unanswered,
)
from swarmbook.base.activity import doing
from swarmbook.base.border import border, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, HostKeyMismatch, HostUnreachable, SwarmbookError
from swarmbook.base.secrets import mask
from swarmbook.model.transcript import Transcript

__all__ = ["PATIENCE_S", "Host", "Output"]

T = TypeVar("T")
_CONNECT_S = 10
#: Seconds for `timeout` over there to end a command, before we hang up.
GRACE_S = 5.0
#: Seconds that a command may take where no one says otherwise; a book's ``wait_timeout``, where that is more.
PATIENCE_S = 60.0
#: Bytes a second that a large file is sent at least.
_SLOWEST = 64 << 10
_NO_EXIT = -1  # paramiko's word for a command that ended without an exit code: by a signal, or with its connection
#: What a shell, or timeout(1), says in that case of what it ran: ended by SIGINT, SIGKILL, SIGTERM. Which of the two words comes is a race.
_ENDED = (130, 137, 143)


class Host:
    """One node over one SSH connection, opened at first use and kept."""

    #: Seconds that a command may take where no one says otherwise.
    patience_s: float = PATIENCE_S

    def __init__(
        self,
        node: Node,
        cluster: Cluster,
        transcript: Transcript,
        known_hosts: Path | None = None,
        only_asked: Callable[[], bool] = lambda: False,
        patience_s: float = PATIENCE_S,
        identities: Sequence[Identity] = (),
    ) -> None:
        #: With which key; of several to try, the one that was accepted once it is open.
        self.identity = node.identity
        self._identities = list(identities) or [node.identity]
        self.node = node
        self.name = node.name
        self._cluster = cluster
        self._transcript = transcript
        self._known_hosts = known_hosts or cluster.known_hosts
        self._only_asked = only_asked
        self.patience_s = patience_s
        self._connection: Any = None
        self._opening = threading.Lock()

    # -- connection --------------------------------------------------------------------------------------------

    def connection(self) -> Any:
        """Return the fabric connection, opened if it is not open yet.

        Raises:
            HostUnreachable: It does not answer or refuses our login.
            HostKeyMismatch: It is not the machine that answered before.
        """
        with self._opening:
            if self._connection is None:
                self._connection = self._open()
            return self._connection

    def _open(self) -> Any:
        tries = Tries(self.node.user, self._identities, self._cluster.key_file)
        connection = self._by_way_of(self.node.jump, self.name, self.node.ssh, tries)
        self.identity = tries.accepted or self.identity
        return connection

    def _by_way_of(self, jump: Jump | None, name: str, end: Endpoint, tries: Tries) -> Any:
        if jump is None:
            return self._connect(name, end, tries)
        own = Tries(jump.user, [jump.identity], self._cluster.key_file)
        gateway = self._by_way_of(jump.jump, f"{self.name}'s jump host", jump.ssh, own)
        try:
            return self._connect(name, end, tries, gateway)
        except BaseException:
            _close(gateway)
            raise

    def _connect(self, name: str, end: Endpoint, tries: Tries, gateway: Any = None) -> Any:
        user = tries.user
        logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)  # it logs tracebacks of refused handshakes
        where = f"{name} ({user}@{end})"
        with border(f"{name} cannot be reached over SSH from here", where=where):
            return self._opened(name, end, tries, gateway, where)

    def _opened(self, name: str, end: Endpoint, tries: Tries, gateway: Any, where: str) -> Any:
        import fabric
        import paramiko

        user = tries.user

        connection = fabric.Connection(
            end.host,
            user=user,
            port=end.port,
            gateway=gateway,
            config=fabric.Config(overrides={"load_ssh_configs": False}),
            connect_timeout=_CONNECT_S,
            connect_kwargs={
                "auth_strategy": tries,
                "banner_timeout": _CONNECT_S,
                "auth_timeout": _CONNECT_S,
            },
        )
        # fabric adds unknown host keys by itself; these two calls, before open(), are what makes it strict.
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        if self._known_hosts.exists():
            with border(
                "the file of pinned host keys cannot be read",
                where=str(self._known_hosts),
                next="restore it, or: swarmbook run PARAMS --only 01, which pins them again",
            ):
                connection.client.load_host_keys(str(self._known_hosts))
        try:
            connection.open()
        except paramiko.BadHostKeyException as error:
            wanted, seen = (f"{key.get_name()} {key.get_base64()}" for key in (error.expected_key, error.key))
            raise another_host_key(name, user, end, wanted, seen, self._cluster.known_hosts) from None
        except paramiko.AuthenticationException as error:
            # A server that closes the connection after its last words leaves them here.
            banner = getattr(getattr(connection.client.get_transport(), "auth_handler", None), "banner", None) or b""
            raise key_refused(
                name,
                user,
                end,
                tries,
                banner.decode(errors="replace"),
                ", ".join(getattr(error, "allowed_types", ())),
            ) from None
        except FileNotFoundError as error:
            raise HostUnreachable(
                "the cluster's SSH key is gone" if tries.own_key else f"the SSH key for {name} is gone",
                where=str(error.filename),
                next="restore it, or remove the cluster: swarmbook cancel PARAMS",
                code=Code.KEY_GONE,
            ) from None
        except paramiko.ssh_exception.IncompatiblePeer as error:
            raise nothing_in_common(name, user, end, str(error)) from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            if gateway is not None and prohibited(error):
                raise forwarding_refused(
                    f"{self.name}'s jump host", gateway.user, Endpoint(gateway.host, gateway.port), str(error)
                ) from None
            if "not found in known_hosts" in str(error):
                raise HostKeyMismatch(
                    f"{name} has no pinned host key",
                    where=where,
                    wanted=f"a line in {self._cluster.known_hosts}",
                    next="swarmbook run PARAMS --only 01",
                    code=Code.HOST_KEY_NOT_PINNED,
                ) from None
            raise HostUnreachable(
                f"{name} does not answer over SSH",
                where=where,
                wanted=f"an SSH server within {_CONNECT_S} s",
                seen=unanswered(error),
                next="swarmbook run PARAMS --only 01 (it starts stopped machines), or: swarmbook status PARAMS",
            ) from None
        # Without it Nagle and delayed acknowledgement make every command 48 ms instead of 12.
        if gateway is None:
            with contextlib.suppress(OSError):  # it is gone again: the first command says so
                connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection is not None:
            _close(self._connection)
            self._connection = None

    # -- commands ----------------------------------------------------------------------------------------------

    def run(
        self,
        command: Script,
        *,
        check: bool = True,
        timeout_s: float | None = None,
        quiet: bool = False,
        most: int = MOST,
        flow: Flow | None = None,
    ) -> Output:
        """Run a shell command as root.

        Args:
            command: What a person would type at a root shell; several lines are a script for ``sh``.
            check: Raise when it exits non-zero.
            timeout_s: Seconds after which it is ended, over there too; by default the host's patience.
            quiet: Leave it out of the transcript (polls).
            most: Bytes that it may print.
            flow: What streams through it.

        Raises:
            CommandFailed: It exited non-zero, or ran out of time; or it was killed or printed too much, also where ``check`` is off: it has given no answer.
            HostUnreachable: The connection broke.
            LoginRefused: The login runs nothing: a forced command, an expired password, no shell.
            WorldError: Its user may not become root.
        """
        self._refuse_changes()
        limit_s = timeout_s or self.patience_s
        return self._run(command, check=check, timeout_s=limit_s, quiet=quiet, most=most, flow=flow or Flow())

    def _refuse_changes(self) -> None:
        if self._only_asked():
            raise AssertionError(f"{self.name} is only asked now: a step that observes changes nothing")

    def _run(
        self,
        command: Script,
        *,
        check: bool = True,
        timeout_s: float,
        quiet: bool,
        most: int = MOST,
        flow: Flow = Flow(),  # noqa: B008 - frozen
    ) -> Output:
        started = time.monotonic()
        marked = Marked()
        bounded = ("timeout", "-k", "5", f"{timeout_s:g}", *marked.reader(data=flow.sent is not None))
        strained = Strained(marked, flow.sink) if flow.sink else None
        stage = Stage.ROOT
        shown = contextlib.nullcontext() if quiet else doing(self.name, command)
        try:
            with shown:
                channel = self.connection().transport.open_session(timeout=_CONNECT_S)
                line = marked.command(self.node.user, *bounded)
                output = execute(channel, line, timeout_s + GRACE_S, most, marked.sent(command, flow.sent), strained)
            stage, output = marked.own(strained.rest(output) if strained else output)
            if output.exit == _NO_EXIT and not self.connection().transport.is_active():
                raise EOFError("it was closed before the command ended")
        except TooMuch:
            raise CommandFailed(
                f"a command on {self.name} printed too much; it was cut off, and nothing was done with what it printed",
                where=f"{self.name}: {mask(command)[:500]}",
                wanted=f"at most {most >> 10:,} KiB",
                seen=f"more, after {time.monotonic() - started:.1f} s",
                next=f"log in and look at what prints that: swarmbook ssh {self.name}",
                code=Code.OUTPUT_TOO_LONG,
            ) from None
        except TimeoutError:
            output = Output(124, "", "no answer")
        except SwarmbookError:
            raise
        except Exception as error:  # paramiko raises what it likes when a transport dies
            self.close()
            raise HostUnreachable(
                f"the connection to {self.name} broke",
                where=f"{self.name}: {mask(command)[:200]}",
                seen=words(error),
                next="run it again",
                code=Code.CONNECTION_BROKE,
            ) from None
        seconds = time.monotonic() - started
        if stage is not Stage.ROOT and output.exit != _NO_EXIT:
            turned_away = runs_nothing if stage is Stage.NOT_IN else not_root
            raise turned_away(self.name, self.node.user, self.node.ssh, output)
        if not quiet:
            self._transcript.record(self.name, command, output.exit, seconds, output.stderr or output.stdout)
        if output.exit in (_NO_EXIT, *_ENDED):  # an empty answer would be taken for one: nothing there, nothing running
            raise CommandFailed(
                f"a command on {self.name} was killed before it ended",
                where=f"{self.name}: {mask(command)[:500]}",
                wanted="an exit code",
                seen="ended by a signal",
                next="run it again",
                code=Code.COMMAND_KILLED,
            )
        if check and not output.ok:
            raise CommandFailed(
                f"a command failed on {self.name}"
                if output.exit != 124
                else f"a command on {self.name} was ended after {timeout_s:g} s",
                where=f"{self.name}: {mask(command)[:500]}",
                wanted="exit 0",
                seen=f"exit {output.exit}\n{mask(output.stderr.strip() or output.stdout.strip())[-1500:]}",
                next=f"log in and look: swarmbook ssh {self.name}"
                + (
                    "; a node that is only slow gets more time by wait_timeout in the parameters"
                    if output.exit == 124
                    else ""
                ),
                code=Code.COMMAND_TIMED_OUT if output.exit == 124 else None,
            )
        return output

    def ask(self, probe: Probe[T], *, timeout_s: float | None = None, quiet: bool = False) -> T:
        """Ask the node, and read what it says.

        Args:
            probe: The question.
            timeout_s: Seconds after which it is ended; by default the host's patience.
            quiet: Leave it out of the transcript (polls).

        Raises:
            Refused: The answer is not what it should be.
            CommandFailed: It ran out of time, or said too much.
        """
        return probe.answer(
            self._run(probe.command, timeout_s=timeout_s or self.patience_s, quiet=quiet, most=MOST_ANSWER).stdout,
            self.name,
        )

    def put(self, path: str, content: str | bytes | Path, mode: int = 0o644) -> None:
        """Write a file on the node as root: sent aside, given its mode, renamed.

        Args:
            path: Absolute path over there.
            content: Text or bytes, never shown; or a file of this computer, of any size.
            mode: Permissions.
        """
        self._refuse_changes()
        size = content.stat().st_size if isinstance(content, Path) else 0
        data = content.encode() if isinstance(content, str) else content
        # Over the command's own channel: a server may have no SFTP. A connection that breaks is an end of file over there, so
        # that what arrived is counted before it takes the old file's place.
        script = sh(
            """(umask 022; mkdir -p @{folder}) && umask 077 && rm -f @{new} && cat > @{new} || exit 1
[ "$(stat -c %s @{new})" = @{size} ] || { rm -f @{new}; echo 'it did not arrive whole' >&2; exit 1; }
chmod @{mode} @{new} && mv -f @{new} @{target}""",
            folder=str(PurePosixPath(path).parent),
            new=f"{path}.new",
            size=size if isinstance(data, Path) else len(data),
            mode=f"{mode:04o}",
            target=path,
        )
        pieces = pieces_of(data) if isinstance(data, Path) else [data]
        self._run(script, timeout_s=self.patience_s + size / _SLOWEST, quiet=False, flow=Flow(pieces))

    def refuses_forward(self, address: str, port: int) -> str:
        """Say why its SSH server would not forward a connection; empty where it would, whether or not something listens there."""
        try:
            channel = self.connection().transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=_CONNECT_S
            )
        except Exception as error:  # paramiko raises what it likes
            return (str(error) or type(error).__name__) if prohibited(error) else ""
        channel.close()
        return ""

    @contextlib.contextmanager
    def forward(self, address: str, port: int) -> Iterator[int]:
        """Forward a port of this machine's loopback to an address that the node can reach; goes on when SSH has to reconnect.

        Yields:
            The local port on 127.0.0.1.
        """
        self.connection()

        def opened() -> Any:  # a transport that died has been replaced
            return self.connection().transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=_CONNECT_S
            )

        with forwarded(opened) as local:
            yield local


def _close(connection: Any) -> None:
    """Close a connection, and those by way of which it was opened."""
    while connection is not None:
        connection.close()
        connection = getattr(connection, "gateway", None)
