"""Answers over HTTP, bounded in bytes and in seconds: those of engines, of Consul, of a provider.

``requests`` reads an answer to its end, and its time limit counts silence only: who sends a byte now and then is read for ever.
"""

from __future__ import annotations

import time
from typing import Any

import requests

__all__ = ["MOST", "bound"]

#: Bytes of one answer. The longest of a healthy cluster, the list of 50 nodes and their services, is below a twentieth of it.
MOST = 16 << 20
_WHOLE_S = 120.0
_PIECE = 65536


def bound(session: requests.Session, most: int = MOST, whole_s: float = _WHOLE_S) -> None:
    """Bound every answer that a session gets from now on, but for those that its caller reads piece by piece; follow no redirect.

    Args:
        session: The one that asks.
        most: Bytes of an answer, as it is unpacked.
        whole_s: Seconds from its first byte to its last.
    """

    def read(response: requests.Response, **how: Any) -> None:
        if how.get("stream"):
            return
        until = time.monotonic() + whole_s
        body = bytearray()
        for piece in response.iter_content(_PIECE):
            body += piece
            if len(body) > most or time.monotonic() > until:
                response.close()
                much = f"more than {most >> 20} MiB" if len(body) > most else f"no end after {whole_s:g} s"
                raise requests.ConnectionError(f"an answer that is none: {much}")
        response._content = bytes(body)  # where requests itself puts what it has read

    session.hooks["response"].append(read)
    session.max_redirects = 0  # our token goes to the one that was asked, and to no other
