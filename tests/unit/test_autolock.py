"""A swarm's unlock key: kept, known to be right, tried, and never shown."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_swarm import unlock_key
from swarmbook.base.codes import Code
from swarmbook.base.secrets import MASK
from swarmbook.book.book import Book
from swarmbook.phases.support import autolock
from swarmbook.testing.errors import raises

OLD, NEW = "SWMKEY-1-" + "a" * 43, "SWMKEY-1-" + "b" * 43


class Swarm:
    """What the API of a manager does, as far as autolock goes."""

    def __init__(self) -> None:
        self.key, self.locked = OLD, False
        self.spec: dict[str, Any] = {"Orchestration": {"TaskHistoryRetentionLimit": 3}, "EncryptionConfig": {"AutoLockManagers": False}}  # fmt: skip

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"LocalNodeState": "locked" if self.locked else "active"}}

    def inspect_swarm(self) -> dict[str, Any]:
        return {"Version": {"Index": 7}, "Spec": self.spec}

    def update_swarm(
        self, *, version: int, swarm_spec: dict[str, Any], rotate_manager_unlock_key: bool = False
    ) -> None:
        assert version == 7
        self.spec = swarm_spec
        self.key = NEW if rotate_manager_unlock_key else self.key

    def get_unlock_key(self) -> dict[str, str]:
        return {"UnlockKey": self.key}

    def unlock_swarm(self, key: str) -> None:
        if key != self.key:
            raise APIError("400", explanation="invalid key provided")
        self.locked = False


@pytest.fixture
def swarm() -> Swarm:
    return Swarm()


@pytest.fixture
def book(open_book: Callable[..., Book], swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> Book:
    opened = open_book("03", swarm_autolock=True)
    monkeypatch.setattr(opened, "engine", lambda name: Engine(SimpleNamespace(api=swarm), name))
    return opened


def test_it_is_switched_on_and_off_and_nothing_else_is_changed(book: Book, swarm: Swarm) -> None:
    before = swarm.spec["Orchestration"]
    assert not autolock.key_is_kept(book, "sw1")
    autolock.lock(book, "sw1", True)
    assert swarm.spec == {"Orchestration": before, "EncryptionConfig": {"AutoLockManagers": True}}
    assert autolock.key_is_kept(book, "sw1") and book.cluster.secret(autolock.KEY).reveal() == OLD
    autolock.lock(book, "sw1", False)
    assert swarm.spec["EncryptionConfig"] == {"AutoLockManagers": False}
    assert list(book.cluster.secrets_folder.iterdir()) == []


def test_a_key_that_is_not_the_swarms_any_more_is_not_kept(book: Book, swarm: Swarm) -> None:
    """A rotation was killed between the swarm and the folder, or a person has made another."""
    autolock.lock(book, "sw1", True)
    swarm.key = NEW
    assert not autolock.key_is_kept(book, "sw1")
    autolock.lock(book, "sw1", True)
    assert autolock.key_is_kept(book, "sw1")


def test_a_manager_is_unlocked_by_the_new_key_or_by_the_one_before(book: Book, swarm: Swarm) -> None:
    autolock.lock(book, "sw1", True)
    autolock.keep_new_key(book, "sw1")
    assert book.cluster.secret(autolock.KEY).reveal() == NEW
    for key in (NEW, OLD):  # one that has not taken the new one over yet
        swarm.key, swarm.locked = key, True
        autolock.unlock_manager(book, "sw1")
        assert not swarm.locked
    autolock.unlock_manager(book, "sw1")  # nothing, where nothing is locked


def test_a_manager_that_no_key_here_opens_is_named(book: Book, swarm: Swarm) -> None:
    swarm.locked = True
    with raises(Code.SWARM_LOCKED, "sw1", "no such file", autolock.KEY):
        autolock.unlock_manager(book, "sw1")
    book.cluster.replace_secret(autolock.KEY, lambda: NEW)
    with raises(Code.SWARM_LOCKED, "sw1", "invalid key"):
        autolock.unlock_manager(book, "sw1")


def test_a_manager_that_lies_about_its_key_is_not_believed(swarm: Swarm) -> None:
    swarm.key = "$(reboot)"
    with raises(Code.ANSWER_REFUSED, "sw1"):
        unlock_key(Engine(SimpleNamespace(api=swarm), "sw1"))


def test_a_key_does_not_show_itself(swarm: Swarm) -> None:
    assert MASK in repr(unlock_key(Engine(SimpleNamespace(api=swarm), "sw1")))
