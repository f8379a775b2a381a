"""Consul's tokens, each with a policy of its own: made, found again by what their descriptions say, and forgotten."""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from swarmbook.access.probe import understood
from swarmbook.base import secrets
from swarmbook.base.secrets import Secret
from swarmbook.book.book import Book
from swarmbook.phases.support.consul_api import ConsulApi, api, patiently, steadily
from swarmbook.phases.support.stack import salt_of

__all__ = ["Token", "forget_others", "known_tokens", "lingering", "tokens_there", "write_token"]

_OURS = "swarmbook "


@dataclass(frozen=True)
class Token:
    """A token as it should be.

    Args:
        name: Its own, and its policy's.
        rules: The policy's.
        secret: The token.
        mark: What its description says: name, hash of the rules, hash of the token; by that it is found again.
    """

    name: str
    rules: str
    secret: Secret
    mark: str

    @classmethod
    def of(cls, book: Book, name: str, rules: str, kept_as: str) -> Token:
        """Return a token of the cluster, which is made if there is none.

        Args:
            book: The open book.
            name: Its own, and its policy's.
            rules: The policy's.
            kept_as: What the cluster's secret is called.
        """
        secret = book.cluster.secret(kept_as, make=secrets.token)
        hashes = (
            hashlib.sha256(rules.encode()).hexdigest(),
            hmac.new(salt_of(book.cluster), secret.reveal().encode(), hashlib.sha256).hexdigest(),
        )
        return cls(name, rules, secret, " ".join([name, *(digest[:12] for digest in hashes)]))


def known_tokens(consul: ConsulApi) -> frozenset[str]:
    """List the marks of the book's tokens that are there; none where Consul does not let us look.

    Raises:
        ConsulBusy: It cannot say just now.
    """
    with understood(consul.name):
        described = [str(entry["Description"]) for entry in consul.allowed("acl/tokens") or ()]
    return frozenset(text.removeprefix(_OURS) for text in described if text.startswith(_OURS))


def tokens_there(book: Book, name: str) -> frozenset[str]:
    """List them, with patience where Consul has a leader.

    Args:
        book: The open book.
        name: The node whose agent is asked.

    Raises:
        WorldError: Consul does not answer, or has no leader.
    """
    consul = api(book, name)
    return steadily(book, consul, "Consul lists its tokens", lambda: known_tokens(consul))


def lingering(wanted: Token, known: Collection[str]) -> bool:
    """Tell whether another token of the same name is there: one that was replaced.

    Args:
        wanted: The token as it should be.
        known: What :func:`known_tokens` gave.
    """
    return any(mark.split(" ")[0] == wanted.name and mark != wanted.mark for mark in known)


def write_token(book: Book, consul: ConsulApi, wanted: Token) -> None:
    """Write a policy, and a token of the same name that carries it; one that was replaced stays for now. Safe to repeat.

    Args:
        book: The open book.
        consul: A server's API.
        wanted: The token.
    """
    started = time.monotonic()
    patiently(book, f"Consul takes the token {wanted.name}", lambda: _write(consul, wanted))
    book.transcript.record(
        consul.name,
        f"consul acl policy create -name {wanted.name} -rules - && consul acl token create -policy-name {wanted.name}   # over the HTTPS API",
        0,
        time.monotonic() - started,
    )


def _write(consul: ConsulApi, wanted: Token) -> None:
    policy = {"Name": wanted.name, "Description": f"{_OURS}{wanted.mark.split()[1]}", "Rules": wanted.rules}
    with understood(consul.name):
        policies = {entry["Name"]: uuid.UUID(entry["ID"]) for entry in consul.get("acl/policies")}
    if wanted.name in policies:
        consul.put(f"acl/policy/{policies[wanted.name]}", {**policy, "ID": str(policies[wanted.name])})
    else:
        consul.put("acl/policy", policy)
    token = {
        "SecretID": wanted.secret.reveal(),
        "Description": _OURS + wanted.mark,
        "Policies": [{"Name": wanted.name}],
    }
    same = [
        id for id in _of_name(consul, wanted.name) if consul.get(f"acl/token/{id}")["SecretID"] == token["SecretID"]
    ]
    if same:
        consul.put(f"acl/token/{same[0]}", {**token, "AccessorID": str(same[0])})
    else:
        consul.put("acl/token", token)


def forget_others(book: Book, consul: ConsulApi, wanted: Iterable[Token]) -> None:
    """Delete the tokens that were replaced, once no one uses them any more.

    Args:
        book: The open book.
        consul: A server's API.
        wanted: The tokens as they should be.
    """

    def forget(token: Token) -> None:
        for id, mark in _of_name(consul, token.name).items():
            if mark != token.mark:
                consul.delete(f"acl/token/{id}")

    for token in wanted:
        patiently(book, f"Consul forgets earlier tokens {token.name}", lambda token=token: forget(token))  # type: ignore[misc]


def _of_name(consul: ConsulApi, name: str) -> dict[uuid.UUID, str]:
    """Find the book's tokens of a name: their marks, by public id."""
    with understood(consul.name):
        listed = {uuid.UUID(entry["AccessorID"]): str(entry["Description"]) for entry in consul.get("acl/tokens")}
    return {id: text.removeprefix(_OURS) for id, text in listed.items() if text.startswith(f"{_OURS}{name} ")}
