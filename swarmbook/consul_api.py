"""Consul's HTTPS API, as far as the book needs it: a thin client on requests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import requests

from .cluster import Node
from .errors import WorldError
from .secrets import Secret

__all__ = ["ConsulApi"]


class ConsulApi:
    """One agent's API.

    Args:
        node: The node whose agent is asked.
        port: The HTTPS API's port over there.
        ca: File of the CA that its certificate must come from.
        token: Sent as a header; None asks as nobody.
    """

    def __init__(self, node: Node, port: int, ca: Path, token: Secret | None) -> None:
        self._node = node
        self._base = f"https://{node.reach(port)}/v1"
        self._session = requests.Session()
        self._session.trust_env = False  # REQUESTS_CA_BUNDLE in the environment would replace our CA
        self._session.verify = str(ca)
        if token is not None:
            self._session.headers["X-Consul-Token"] = token.reveal()

    def request(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        """A request, whatever its answer's status.

        Raises:
            WorldError: No answer, or not over TLS with a certificate of our CA.
        """
        data = body if isinstance(body, (bytes, type(None))) else None
        json = None if data is not None or body is None else body
        try:
            return self._session.request(method, f"{self._base}/{path}", params=query, data=data, json=json, timeout=10)
        except requests.RequestException as error:
            raise WorldError(f"Consul on {self._node.name} does not answer", where=self._base, wanted="its HTTPS API", seen=str(error), next=f"swarmbook ssh {self._node.name} docker service logs --tail 20 consul_server") from None

    def get(self, path: str, **query: str) -> Any:
        """A read's JSON.

        Raises:
            WorldError: Consul answered with an error; carries its words.
        """
        return self._checked("GET", path, None, **query).json()

    def put(self, path: str, body: Any = None, **query: str) -> Any:
        """A write's JSON."""
        return self._checked("PUT", path, body, **query).json()

    def _checked(self, method: str, path: str, body: Any, **query: str) -> requests.Response:
        answer = self.request(method, path, body, **query)
        if answer.status_code >= 400:
            raise WorldError(f"Consul on {self._node.name} refused {method} {path}", where=self._base, seen=f"{answer.status_code} {answer.text.strip()[:300]}", next="swarmbook run PARAMS --from 04")
        return answer

    def leader(self) -> str:
        """The raft leader's address, or nothing: none is elected, or nobody answers."""
        try:
            return str(self.get("status/leader"))
        except WorldError:
            return ""

    def read_back(self, key: str, value: str, timeout_s: float = 5) -> str:
        """What this very server has stored under a key: a stale read asks no other; raft may be a moment late."""
        limit = time.monotonic() + timeout_s
        while True:
            answer = self.request("GET", f"kv/{key}", raw="", stale="")
            if answer.text == value or time.monotonic() > limit:
                return answer.text if answer.ok else f"{answer.status_code} {answer.text.strip()[:80]}"
            time.sleep(0.05)
