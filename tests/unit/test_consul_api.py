"""What is sent to Consul: the token with every request, and with none that a stranger could make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from swarmbook.access.node import Endpoint
from swarmbook.access.pki import Authority
from swarmbook.base.secrets import Secret
from swarmbook.phases.support.consul_api import ConsulApi


def test_a_stranger_has_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[requests.PreparedRequest] = []

    def send(self: requests.Session, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        sent.append(request)
        answer = requests.Response()
        answer.status_code = 200
        return answer

    monkeypatch.setattr(requests.Session, "send", send)
    authority = Authority(tmp_path, "consul CA")
    consul = ConsulApi("sw1", Endpoint("127.0.0.1", 8501), authority.file, Secret("token", "a-token"))
    consul.request("GET", "kv/key")
    assert consul.as_stranger("kv/key") == 200
    consul.request("GET", "kv/key")
    assert [request.headers.get("X-Consul-Token") for request in sent] == ["a-token", None, "a-token"]
    assert {request.url for request in sent} == {"https://127.0.0.1:8501/v1/kv/key"}
