"""TLS to a node: its certificate is held to the node's name, whatever address it was reached at.

Ports of nodes are reached by way of tunnels and published ports, all at 127.0.0.1; a certificate that names that address
would pass for any node.
"""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter

from swarmbook.access.pki import Leaf

__all__ = ["NamedAdapter", "NamedContext"]


class NamedContext(ssl.SSLContext):
    """A client's context that expects one name, also from a library that would expect the address it dials."""

    #: The name that the server's certificate has to carry.
    expected: str

    @classmethod
    def of(cls, expected: str, authority: bytes, leaf: Leaf | None = None) -> NamedContext:
        """Make a context.

        Args:
            expected: The name that the server's certificate has to carry.
            authority: PEM of what is trusted, and nothing else is.
            leaf: Shown to the server if it asks; its key is on disk for the moment that OpenSSL reads it, in a folder of
                its own with mode 0700.
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.expected = expected
        context.load_verify_locations(cadata=authority.decode("ascii"))
        if leaf is not None:
            with tempfile.TemporaryDirectory(prefix="swarmbook-") as folder:
                chain = Path(folder) / "leaf.pem"
                chain.touch(mode=0o600)
                chain.write_bytes(leaf.key + leaf.certificate)
                context.load_cert_chain(chain)
        return context

    def wrap_socket(self, *args: Any, **named: Any) -> ssl.SSLSocket:
        """Wrap a socket, expecting the name."""
        return super().wrap_socket(*args, **{**named, "server_hostname": self.expected})


class NamedAdapter(HTTPAdapter):
    """What a session of requests is mounted with, so that it expects the name of a context.

    Args:
        context: The context; the session's ``verify`` has to name the same authority's file, or requests adds the public
            authorities to what the context trusts.
    """

    def __init__(self, context: NamedContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """Give the pool the context and the name."""
        expected = self._context.expected
        super().init_poolmanager(
            *args, **named, ssl_context=self._context, server_hostname=expected, assert_hostname=expected
        )
