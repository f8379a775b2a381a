"""Whom a member's agent asks, and how long that may keep it from its own looks: its word is too old after a second."""

from __future__ import annotations

import pytest

from swarmbook.machines.images.galera import agent as module
from swarmbook.machines.images.galera.agent import Agent, _is_able
from swarmbook.machines.images.galera.patience import SETTLED_S
from swarmbook.machines.images.galera.writer import Memory, Place, Row, Seen

A, B, C, D = (Place(f"id-{name}", f"galera-{name}") for name in "abcd")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that are asked; no one answers."""
    found: list[str] = []

    def ask(address: str) -> bool:
        found.append(address)
        return False

    monkeypatch.setattr(module, "_is_able", ask)
    return found


def agent() -> Agent:
    one = Agent("galera-a")
    one._addresses = {place.name: f"10.0.0.{number}" for number, place in enumerate((A, B, C, D), 1)}
    return one


def seen(*, asked: str = "", synced: bool = True) -> Seen:
    return Seen(A, True, synced, not synced, False, (A, B, C, D), Row(1, A, asked), True)


def test_who_has_no_address_is_not_able() -> None:
    assert not _is_able(""), "an empty one would be this member's own"


def test_while_only_a_wish_is_open_its_member_alone_is_asked(asked: list[str]) -> None:
    one = agent()
    assert not list(one._able(seen(asked=C.name))) and asked == ["10.0.0.3"]
    asked.clear()
    assert not list(one._able(seen(asked=C.name, synced=False))) and len(asked) == 3
    asked.clear()
    one._memory = Memory(stopping=True)
    assert not list(one._able(seen(asked=C.name))) and len(asked) == 3


def test_one_that_is_not_calm_is_enough_to_stay_patient(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one, now = agent(), [0.0]
    one._seen_view = "one"
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(one._server, "ask", lambda *_: pytest.fail("nothing is to be set"))
    one._be_patient(seen())
    now[0] = SETTLED_S + 1
    one._be_patient(seen())
    assert asked == ["10.0.0.2"], "the others are not asked any more"
