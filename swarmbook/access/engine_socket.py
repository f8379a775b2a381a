"""A node's engine as a Unix socket on this computer, through the cluster's own SSH: for the docker command.

No certificate is left on disk for it, and the engine need not be reached over TCP. Each connection is a
``docker system dial-stdio`` over there, which is how Docker's own ``ssh://`` works.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swarmbook.access.hosts import Host
from swarmbook.access.marked import Marked
from swarmbook.base.errors import WorldError
from swarmbook.base.files import runtime_folder
from swarmbook.base.words import typed

__all__ = ["serve", "socket_path"]

_CHUNK = 65536
#: Bytes of what a login may print before the engine speaks.
_MOST = 1 << 20
_OPEN_S = 15
#: Bytes of a socket's path on Linux; macOS takes three less.
_LONGEST = 104


def socket_path(cluster: str, node: str) -> Path:
    """Return where the socket of a node's engine is: short, since a system takes no long path for a socket.

    Args:
        cluster: The cluster's name.
        node: The node's name.
    """
    folder = runtime_folder()
    path = folder / f"swarmbook-{cluster}-{node}.sock"
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    return folder / f"swarmbook-{hashlib.sha256(f'{cluster} {node}'.encode()).hexdigest()[:16]}.sock"


@contextlib.contextmanager
def serve(path: Path, host: Host) -> Iterator[None]:
    """Serve a node's engine at a socket that this user alone can open, until the context ends.

    Args:
        path: Where the socket is made, and removed in the end.
        host: The node.

    Raises:
        HostUnreachable: It cannot be reached over SSH.
        WorldError: Another user owns the socket's folder, or another process serves at this socket.
    """
    host.connection()
    _prepare(path)
    opened = host.connection  # a transport that died has been replaced
    marked = Marked()
    command = marked.command(host.node.user, "docker", "system", "dial-stdio")

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            channel = opened().transport.open_session(timeout=_OPEN_S)
            with contextlib.closing(channel):
                channel.exec_command(command)
                back = threading.Thread(target=_pump_back, args=(channel, self.request, marked.begins), daemon=True)
                back.start()
                with contextlib.suppress(OSError):
                    while data := self.request.recv(_CHUNK):
                        channel.sendall(data)
                    channel.shutdown_write()  # the end of `docker exec -i < file`, say
                back.join()

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing: the client sees a closed connection, and says it better."""

    before = os.umask(0o177)
    try:
        server = Server(str(path), Relay)
    finally:
        os.umask(before)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            path.unlink(missing_ok=True)


def _pump_back(channel: Any, client: socket.socket, begins: bytes) -> None:
    """Pass on what the engine says; what a login prints before it is no answer of an engine."""
    with contextlib.suppress(OSError):
        said = b""
        while begins not in said and len(said) < _MOST and (data := channel.recv(_CHUNK)):
            said += data
        _, there, first = said.partition(begins)
        client.sendall(first)
        while there and (data := channel.recv(_CHUNK)):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)


def _prepare(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = path.parent.stat()
    if about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise WorldError(
            "another user could replace the socket",
            where=str(path.parent),
            wanted=f"a folder of user {os.getuid()} that no one else may write to",
            seen=f"user {about.st_uid}, mode {about.st_mode & 0o7777:04o}",
            next="set XDG_RUNTIME_DIR to a folder of your own",
        )
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)  # of a process that was killed
            return
    raise WorldError(
        "another process serves this engine already",
        where=str(path),
        next=f"use that one: export DOCKER_HOST=unix://{typed(path)}",
    )
