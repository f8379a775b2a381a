"""Consul's HTTPS API, as far as the book needs it: a thin client on requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import requests

from swarmbook.access.answers import bound
from swarmbook.access.node import Endpoint
from swarmbook.access.pki import Purpose
from swarmbook.access.probe import understood
from swarmbook.access.tls import NamedAdapter, NamedContext
from swarmbook.base import secrets
from swarmbook.base.border import border, foreign, words
from swarmbook.base.errors import WorldError
from swarmbook.base.plain import plain_data
from swarmbook.base.secrets import Secret
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book

__all__ = ["ConsulApi", "ConsulBusy", "api", "patiently", "steadily"]

T = TypeVar("T")

_HEADER = "X-Consul-Token"


class ConsulBusy(WorldError):
    """Consul cannot do just now what it was asked: it elects a leader, or one agent of all has not answered it yet."""


class ConsulApi:
    """One agent's API.

    Args:
        name: The node whose agent is asked.
        end: Where its HTTPS API is reached from here.
        ca: File of the CA that its certificate must come from; it has to name the node.
        token: Sent as a header.
    """

    def __init__(self, name: str, end: Endpoint, ca: Path, token: Secret) -> None:
        self.name, self._end, self._ca = name, end, ca
        self._base = f"https://{end}/v1"
        self._session = requests.Session()
        bound(self._session)
        self._session.trust_env = False  # REQUESTS_CA_BUNDLE in the environment would replace our CA
        self._session.verify = str(ca)
        with border(f"Consul's authority cannot be used to ask {name}", next="swarmbook run PARAMS --only 04"):
            self._session.mount("https://", NamedAdapter(NamedContext.of(name, ca.read_bytes())))
        self._session.headers[_HEADER] = token.reveal()

    def request(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        """Send a request; return its answer, whatever the status.

        Raises:
            WorldError: No answer, or not over TLS with a certificate of our CA.
        """
        return self._send(method, path, {}, body, query)

    def holding(self, token: Secret) -> ConsulApi:
        """Return the same agent's API, asked with another token."""
        return ConsulApi(self.name, self._end, self._ca, token)

    def begin_acl(self) -> requests.Response:
        """Ask for the first token, which Consul gives once, to the first that asks."""
        return self._send("PUT", "acl/bootstrap", {_HEADER: None}, None, {})

    def as_stranger(self, path: str) -> int:
        """Return the status that a read without the token gets."""
        return self._send("GET", path, {_HEADER: None}, None, {}).status_code  # None takes the session's away

    def _send(
        self, method: str, path: str, headers: Mapping[str, str | None], body: Any, query: Mapping[str, str]
    ) -> requests.Response:
        data = body if isinstance(body, (bytes, type(None))) else None
        json = None if data is not None or body is None else body
        try:
            return self._session.request(
                method, f"{self._base}/{path}", params=query, data=data, json=json, headers=headers, timeout=10
            )
        except Exception as error:
            if not foreign(error):
                raise
            raise WorldError(
                f"Consul on {self.name} does not answer",
                where=self._base,
                wanted="its HTTPS API",
                seen=words(error),
                next=f"swarmbook ssh {self.name} docker service logs --tail 20 consul_server",
            ) from None

    def get(self, path: str, **query: str) -> Any:
        """Return a read's JSON.

        Raises:
            WorldError: Consul answered with an error; carries its words.
        """
        with understood(self.name):
            return plain_data(self._checked("GET", path, None, **query).json())

    def allowed(self, path: str) -> Any:
        """Return a read's JSON; None where Consul does not let us look.

        Raises:
            ConsulBusy: It cannot answer just now.
        """
        answer = self.request("GET", path)
        if answer.status_code < 500 and not answer.ok:
            return None
        with understood(self.name):
            return plain_data(self._good(answer, "GET", path).json())

    def put(self, path: str, body: Any = None, **query: str) -> Any:
        """Return a write's JSON."""
        with understood(self.name):
            return plain_data(self._checked("PUT", path, body, **query).json())

    def write(self, method: str, path: str, body: Any) -> None:
        """Write, by any method; what Consul answers is of no interest.

        Raises:
            WorldError: Consul answered with an error; carries its words.
        """
        self._checked(method, path, body)

    def delete(self, path: str) -> None:
        """Delete what lies at a path.

        Raises:
            WorldError: Consul answered with an error; carries its words.
        """
        self._checked("DELETE", path, None)

    def _checked(self, method: str, path: str, body: Any, **query: str) -> requests.Response:
        return self._good(self.request(method, path, body, **query), method, path)

    def _good(self, answer: requests.Response, method: str, path: str) -> requests.Response:
        if answer.status_code >= 400:
            raise (ConsulBusy if answer.status_code >= 500 else WorldError)(
                f"Consul on {self.name} refused {method} {path}",
                where=self._base,
                seen=f"{answer.status_code} {answer.text.strip()[:300]}",
                next="swarmbook run PARAMS --from 04",
            )
        return answer

    def leader(self) -> str:
        """Return the raft leader's address, or nothing: none is elected, or Consul does not answer."""
        try:
            return str(self.get("status/leader"))
        except WorldError:
            return ""

    def read_back(self, key: str, value: str, timeout_s: float = 5) -> str:
        """Read what this very server has stored under a key: a stale read asks no other; raft may be a moment late."""
        limit = time.monotonic() + timeout_s
        while True:
            answer = self.request("GET", f"kv/{key}", raw="", stale="")
            if answer.text == value or time.monotonic() > limit:
                return answer.text if answer.ok else f"{answer.status_code} {answer.text.strip()[:80]}"
            time.sleep(0.05)


def patiently(book: Book, what: str, do: Callable[[], T]) -> T:
    """Do something that may be done twice, and do it again while Consul cannot just now.

    The whole of it, not one request: one that Consul answered with an error may have been carried out all the same.

    Args:
        book: The open book.
        what: What Consul does then, for the message.
        do: Does it.

    Raises:
        WaitTimeout: Consul could not for ``wait_timeout``.
    """
    found: list[T] = []

    def tried() -> tuple[bool, str]:
        try:
            found.append(do())
        except ConsulBusy as busy:
            return False, busy.seen or busy.what
        return True, ""

    wait_for(what, tried, timeout_s=book.params.wait_timeout, next="swarmbook run PARAMS --from 04")
    return found[0]


def steadily(book: Book, consul: ConsulApi, what: str, look: Callable[[], T]) -> T:
    """Look patiently where Consul has a leader; one that has none says so at once.

    Args:
        book: The open book.
        consul: Whom to ask for the leader.
        what: What Consul does then, for the message.
        look: Looks.

    Raises:
        ConsulBusy: It has none.
        WaitTimeout: Consul could not for ``wait_timeout``.
    """
    return patiently(book, what, look) if consul.leader() else look()


def api(book: Book, name: str) -> ConsulApi:
    """Return the API of one node's agent, asked with the management token."""
    token = book.cluster.secret("consul-management-token", book.params.consul_management_token, secrets.token)
    return ConsulApi(name, book.reach(name, book.params.consul_https_port), book.authority(Purpose.CONSUL).file, token)
