"""Consul's HTTPS API, as far as the book needs it: a thin client on requests."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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

__all__ = ["ConsulApi", "api", "patient_api", "steady_api"]

_HEADER = "X-Consul-Token"


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
        self._patience_s = 0.0

    def request(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        """Send a request; return its answer, whatever the status.

        Raises:
            WorldError: No answer, or not over TLS with a certificate of our CA.
            WaitTimeout: It was asked with patience, and Consul could not do it in that time.
        """
        if not self._patience_s:
            return self._send(method, path, {}, body, query)
        answer: list[requests.Response] = []

        def settled() -> tuple[bool, str]:
            answer[:] = [self._send(method, path, {}, body, query)]
            return answer[0].status_code < 500, _said(answer[0])

        wait_for(
            f"Consul on {self.name} can do {method} {path}",
            settled,
            timeout_s=self._patience_s,
            where=self._base,
            next="swarmbook run PARAMS --from 04",
        )
        return answer[0]

    def patient(self, limit_s: float) -> ConsulApi:
        """Return the same API, which asks again while Consul says that it cannot just now.

        Without a leader, or while one agent of all has not answered yet, every server answers 500, and a moment later does what is asked.
        All that the book asks of Consul may be asked twice.

        Args:
            limit_s: Seconds for one request.
        """
        other = copy.copy(self)
        other._patience_s = limit_s
        return other

    def holding(self, token: Secret) -> ConsulApi:
        """Return the same agent's API, asked with another token."""
        other = ConsulApi(self.name, self._end, self._ca, token)
        other._patience_s = self._patience_s
        return other

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
        answer = self.request(method, path, body, **query)
        if answer.status_code >= 400:
            raise WorldError(
                f"Consul on {self.name} refused {method} {path}",
                where=self._base,
                seen=_said(answer),
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


def _said(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.text.strip()[:300]}"


def api(book: Book, name: str) -> ConsulApi:
    """Return the API of one node's agent, asked with the management token."""
    token = book.cluster.secret("consul-management-token", book.params.consul_management_token, secrets.token)
    return ConsulApi(name, book.reach(name, book.params.consul_https_port), book.authority(Purpose.CONSUL).file, token)


def patient_api(book: Book, name: str) -> ConsulApi:
    """Return the API of one node's agent, with the patience of ``wait_timeout``: for a change, which wants a leader anyway."""
    return api(book, name).patient(book.params.wait_timeout)


def steady_api(book: Book, name: str) -> ConsulApi:
    """Return the API of one node's agent, with that patience where Consul has a leader now: for a look, which says so where it has none."""
    found = api(book, name)
    return found.patient(book.params.wait_timeout) if found.leader() else found
