"""The key of Consul's gossip: replaced on the living ring, and only then in what agents are started with.

https://developer.hashicorp.com/consul/docs/secure/encryption/gossip/rotate
"""

from __future__ import annotations

import hashlib
from typing import Any

from swarmbook.access.probe import understood
from swarmbook.base import secrets
from swarmbook.base.secrets import Secret
from swarmbook.book.book import Book
from swarmbook.phases.support.consul_api import ConsulApi, patiently

__all__ = ["forget_others", "introduce", "key_mark", "known_keys"]

_PATH = "operator/keyring"


def key_mark(key: str) -> str:
    """Return what stands for a key where it may be shown."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def known_keys(consul: ConsulApi) -> frozenset[str]:
    """List the marks of the keys that agents accept; none where Consul does not let us look, or not all agents have answered it."""
    answer = consul.request("GET", _PATH)
    return frozenset(key_mark(key) for key in _keys(consul, answer.json())) if answer.ok else frozenset()


def introduce(book: Book, consul: ConsulApi, key: Secret) -> None:
    """Have every agent accept a key, and send with it; what was sent with another is still understood."""
    body = {"Key": key.reveal()}
    patiently(book, "every agent of Consul accepts the key", lambda: consul.write("POST", _PATH, body))
    patiently(book, "every agent of Consul sends with the key", lambda: consul.write("PUT", _PATH, body))


def forget_others(book: Book, consul: ConsulApi, key: Secret) -> None:
    """Have every agent accept this key alone, once all of them are started with it."""

    def forget() -> None:
        for other in _keys(consul, consul.get(_PATH)) - {key.reveal()}:
            consul.write("DELETE", _PATH, {"Key": other})

    patiently(book, "every agent of Consul accepts this key alone", forget)


def _keys(consul: ConsulApi, rings: Any) -> set[str]:
    with understood(consul.name):
        found = {str(key) for ring in rings for key in ring["Keys"]}
    for key in found:
        secrets.register(key)
    return found
