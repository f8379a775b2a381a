"""An engine's API: where it listens, which names its certificate has, and whom it answers."""

from __future__ import annotations

import socket
import ssl

from swarmbook.access.node import Endpoint, Node
from swarmbook.base.errors import SwarmbookError
from swarmbook.book.book import Book

__all__ = ["api_address", "api_names", "ask_api", "try_api"]


def api_names(node: Node) -> list[str]:
    """List the names in an engine's certificate: the node's, by which the book knows it, and its own address.

    Not the loopback, nor any address behind which a tunnel may lead to another node.
    """
    return [node.name, node.private_address]


def api_address(node: Node, port: int) -> str:
    """Return where an engine listens: on loopback if SSH leads there, else on the address that the nodes share."""
    return "127.0.0.1" if node.tunnelled(port) else node.private_address


def ask_api(book: Book, node: Node) -> str:
    """Say what our client gets from the API, and what one without a certificate gets."""
    try:
        book.engine(node.name).ping()
    except SwarmbookError as error:
        return f"refused us: {error.seen}"
    refused = _refuses_strangers(book.reach(node.name, book.params.docker_api_port))
    return "answers us, refuses strangers" if refused else "answers strangers too"


def _refuses_strangers(end: Endpoint) -> bool:
    context = ssl.create_default_context()
    # This plays the stranger: only the answer matters.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((end.host, end.port), timeout=10) as raw,
            context.wrap_socket(raw) as stranger,
        ):
            stranger.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return not stranger.recv(1)
    except OSError:  # an alert: certificate required
        return True


def try_api(book: Book, name: str) -> tuple[bool, str]:
    """Tell whether an engine answers us, and what it says."""
    try:
        book.engine(name).ping()
    except SwarmbookError as error:
        return False, str(error.seen)
    except OSError as error:
        return False, str(error)
    return True, "answers"
