"""What is sent to Consul: the token with every request, and with none that a stranger could make."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from swarmbook.access.node import Endpoint
from swarmbook.access.pki import Authority
from swarmbook.base.errors import WaitTimeout, WorldError
from swarmbook.base.secrets import Secret
from swarmbook.phases.consul import gossip
from swarmbook.phases.support.consul_api import ConsulApi, ConsulBusy, patiently, steadily
from swarmbook.phases.support.consul_tokens import known_tokens

if TYPE_CHECKING:
    from swarmbook.book.book import Book

BUSY = b"1 error occurred: lab1 (LAN) error: 6/7 nodes reported success"


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


def answers(monkeypatch: pytest.MonkeyPatch, *said: tuple[int, bytes]) -> list[str]:
    """Have Consul answer with these, one after the other, and keep what it was asked; one answer more than these fails the test."""
    asked: list[str] = []
    left = iter(said)

    def send(self: requests.Session, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        asked.append(f"{request.method} {request.path_url.removeprefix('/v1/')}")
        answer = requests.Response()
        answer.status_code, answer._content = next(left)
        return answer

    monkeypatch.setattr(requests.Session, "send", send)
    return asked


@pytest.fixture
def consul(tmp_path: Path) -> ConsulApi:
    end = Endpoint("127.0.0.1", 8501)
    return ConsulApi("sw1", end, Authority(tmp_path, "consul CA").file, Secret("token", "a-token"))


def book(wait_timeout: float = 20) -> Book:
    return cast("Book", SimpleNamespace(params=SimpleNamespace(wait_timeout=wait_timeout)))


def test_what_consul_cannot_do_just_now_is_done_again_from_its_beginning(
    consul: ConsulApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen under load: one of seven agents had not answered yet, and 04 ended there.

    What was answered with an error may have been carried out: so it is looked again, and not asked for the same blindly.
    """
    two, one = b'[{"Keys": {"old": 7, "new": 7}}]', b'[{"Keys": {"new": 7}}]'
    asked = answers(monkeypatch, (500, BUSY), (200, two), (500, BUSY), (200, one))
    gossip.forget_others(book(), consul, Secret("key", "new"))
    assert asked == ["GET operator/keyring", "GET operator/keyring", "DELETE operator/keyring", "GET operator/keyring"]


def test_patience_ends_with_what_was_seen_and_a_refusal_ends_it_at_once(
    consul: ConsulApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, *[(500, BUSY)] * 20)
    with pytest.raises(WaitTimeout, match=r"it does: not within 0\.1 s") as late:
        patiently(book(0.1), "it does", lambda: consul.put("acl/token", {}))
    assert "6/7 nodes" in str(late.value)
    asked = answers(monkeypatch, (403, b"Permission denied"))
    with pytest.raises(WorldError, match="refused PUT acl/token") as refused:
        patiently(book(), "it does", lambda: consul.put("acl/token", {}))
    assert len(asked) == 1 and not isinstance(refused.value, ConsulBusy)


def test_a_look_waits_where_there_is_a_leader_and_says_so_where_there_is_none(
    consul: ConsulApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = b'[{"Description": "swarmbook one"}, {"Description": "another\'s"}]'

    def look() -> frozenset[str]:
        return known_tokens(consul)

    answers(monkeypatch, (200, b'"10.0.0.1:8300"'), (500, BUSY), (200, listed))
    assert steadily(book(), consul, "it lists them", look) == {"one"}
    answers(monkeypatch, (200, b'""'), (500, b"No cluster leader"))
    with pytest.raises(ConsulBusy):
        steadily(book(), consul, "it lists them", look)
    answers(monkeypatch, (403, b"Permission denied"))
    assert look() == frozenset()


def test_keys_are_unknown_where_not_all_agents_have_answered(
    consul: ConsulApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, (500, BUSY))
    assert gossip.known_keys(consul) == frozenset() and len(asked) == 1
    asked = answers(monkeypatch, (200, b'[{"Keys": {"one": 7}}]'))
    assert len(gossip.known_keys(consul)) == 1 and len(asked) == 1
