"""A port of this computer's loopback, of which each connection goes through a channel that another gives."""

from __future__ import annotations

import contextlib
import select
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["forwarded"]


@contextlib.contextmanager
def forwarded(opened: Callable[[], Any]) -> Iterator[int]:
    """Listen on a free port of 127.0.0.1, and open a channel for each connection to it.

    Args:
        opened: Opens a channel: something to receive from, send to, select and close.

    Yields:
        The port.
    """

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.closing(opened()) as channel:
                _relay(self.request, channel)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing: the client sees a refused forward as a closed connection, and says it better."""

    with Server(("127.0.0.1", 0), Relay) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


def _relay(one: Any, other: Any) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], 60)
        for end in ready:
            data = end.recv(65536)
            if not data:
                return
            (other if end is one else one).sendall(data)
