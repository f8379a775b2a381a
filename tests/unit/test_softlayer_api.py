"""What the SoftLayer client raises, and what becomes of it: refused, passing, or no one knows."""

from __future__ import annotations

import xml.parsers.expat
import xmlrpc.client
from collections.abc import Iterator

import pytest
from SoftLayer import exceptions

from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import OrderUncertain, ProviderError
from swarmbook.machines.softlayer_api import SoftLayerApi
from swarmbook.testing.errors import raises

REFUSED = [
    exceptions.SoftLayerAPIError("SoftLayer_Exception_Public", "no"), exceptions.TransportError(403, "forbidden"), exceptions.MethodNotFound("-32601", "what"),
    exceptions.InvalidMethodParameters("-32602", "no"), exceptions.NotWellFormed("-32700", "no"), ValueError("hostname, and domain are required"),
]  # fmt: skip
UNANSWERED = [
    exceptions.TransportError(0, "Read timed out. (read timeout=60)"), exceptions.TransportError(500, "Server Error"), exceptions.TransportError(503, "b''"),
    exceptions.InternalError("-32603", "oops"), exceptions.ApplicationError("-32500", "oops"), exceptions.RemoteSystemError("-32400", "oops"),
    xml.parsers.expat.ExpatError("a page of a proxy"), xmlrpc.client.ResponseError(), KeyError("id"),
]  # fmt: skip
LIMITED = [
    exceptions.SoftLayerAPIError("SoftLayer_Exception_WebService_RateLimitExceeded", "Rate limit of 50 requests for every 1 second(s) exceeded."),
    exceptions.TransportError(429, "Too Many Requests"),
]  # fmt: skip


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def api(pauses: list[float]) -> Iterator[SoftLayerApi]:
    api = SoftLayerApi("http://127.0.0.1:9/xmlrpc/v3.1", "a-key", sleep=pauses.append)
    yield api
    api.close()


class Failing:
    """A call that fails some times."""

    def __init__(self, error: Exception, times: int = 99) -> None:
        self.error = error
        self.left = times
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        if self.made <= self.left:
            raise self.error
        return "answer"


@pytest.mark.parametrize("error", REFUSED, ids=repr)
def test_refused(api: SoftLayerApi, pauses: list[float], error: Exception) -> None:
    for ask in (api._read, api._write):
        call = Failing(error)
        with pytest.raises(ProviderError, match="the thing: ") as caught:
            ask("the thing", call)
        assert caught.value.code is Code.PROVIDER_SAYS_NO
        assert call.made == 1 and pauses == []


@pytest.mark.parametrize("error", UNANSWERED, ids=repr)
def test_nobody_knows(api: SoftLayerApi, error: Exception) -> None:
    call = Failing(error)
    with pytest.raises(OrderUncertain):
        api._write("the thing", call)
    assert call.made == 1, "what is written is never written twice"


@pytest.mark.parametrize("error", [*UNANSWERED, *LIMITED], ids=repr)
def test_looked_again(api: SoftLayerApi, pauses: list[float], error: Exception) -> None:
    assert api._read("the thing", Failing(error, 4)) == "answer"
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    with pytest.raises(ProviderError, match=r"the thing: (SoftLayer does not answer|too many calls)"):
        api._read("the thing", Failing(error, 5))


@pytest.mark.parametrize("error", LIMITED, ids=repr)
def test_a_limit_is_a_no(api: SoftLayerApi, error: Exception) -> None:
    call = Failing(error)
    with raises(Code.RATE_LIMITED):
        api._write("the thing", call)
    assert call.made == 1


def test_the_words_are_kept_without_secrets(api: SoftLayerApi) -> None:
    secrets.register("a-very-real-key")
    with pytest.raises(ProviderError) as caught:
        api._write(
            "the thing",
            Failing(exceptions.SoftLayerAPIError("SoftLayer_Exception_Public", "a-very-real-key is not welcome")),
        )
    assert f"SoftLayer_Exception_Public: {secrets.MASK} is not welcome" in str(caught.value)
    assert caught.value.__suppress_context__


def test_nobody_there(api: SoftLayerApi, pauses: list[float]) -> None:
    with pytest.raises(ProviderError, match="an answer within 60 s, in 5 tries") as caught:
        api.keys("any")
    assert "Connection refused" in str(caught.value) and len(pauses) == 4
