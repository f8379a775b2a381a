"""What a rotation replaces, what it passes over, and what it keeps beside the new one; nothing of it reaches a node here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.pki import Purpose, Stage
from swarmbook.base.errors import UsageError
from swarmbook.book.book import Book
from swarmbook.cli.common import with_03
from swarmbook.model.change import Action
from swarmbook.model.phases import ROTATIONS, rotation_chapters
from swarmbook.params import Params, params_from_namespace
from swarmbook.params.without import left_out
from swarmbook.phases.rotation import begin, two_stages
from swarmbook.phases.watch.services import password_of


@pytest.fixture
def there(open_book: Callable[..., Book]) -> Callable[..., Book]:
    """Opens a book on a cluster that has all its secrets and authorities."""

    def make(*names: str, **params: Any) -> Book:
        book = open_book("29", rotate=list(names), **{"swarm_autolock": True, "with_watch": True, **params})
        for purpose in Purpose:
            book.authority(purpose)
        for name in (
            "consul-gossip-key",
            "consul-management-token",
            "consul-dns-token",
            "galera-password",
            "galera-consul-token",
            "galera-watch-password",
            "galera-watch-reads-token",
            "galera-watch-registers-token",
        ):
            book.cluster.secret(name)
        for node in book.params.nodes:
            book.cluster.secret(f"consul-agent-{node}-token")
        return book

    return make


def secrets_of(book: Book) -> dict[str, str]:
    return {file.name: file.read_text() for file in book.cluster.secrets_folder.iterdir()}


def planned(book: Book) -> list[tuple[Action, str]]:
    """What it would do, having made in the folder what it would make aside."""
    seen = frozenset[str]()
    return [(change.action, change.things[0]) for change in begin.plan(begin.want(book, seen), seen)]


def test_only_what_is_named_is_replaced(there: Callable[..., Book]) -> None:
    book = there("gossip-key")
    before = secrets_of(book)
    assert planned(book) == [(Action.ROTATE, "gossip-key")]
    assert {name for name, value in secrets_of(book).items() if before[name] != value} == {"consul-gossip-key"}
    assert {book.authority(purpose).generations for purpose in Purpose} == {(1,)}


def test_nothing_named_is_nothing_done(there: Callable[..., Book]) -> None:
    book = there()
    before = secrets_of(book)
    assert planned(book) == [] and secrets_of(book) == before


def test_every_token_is_replaced(there: Callable[..., Book]) -> None:
    book = there("consul-tokens")
    before = secrets_of(book)
    planned(book)
    changed = {name for name, value in secrets_of(book).items() if before[name] != value}
    assert changed == {name for name in before if name.endswith("-token")} and len(changed) == 9


def test_a_token_of_the_operators_own_stays(there: Callable[..., Book], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "0a3cbbf5-2f2f-4f2f-8f2f-2f2f2f2f2f2f")
    book = there("consul-tokens", consul_management_token="env:MY_TOKEN")
    before = secrets_of(book)["consul-management-token"]
    planned(book)
    assert secrets_of(book)["consul-management-token"] == before


def test_the_exporters_password_is_theirs_alone(there: Callable[..., Book]) -> None:
    book = there("watch-password")
    before = secrets_of(book)
    assert planned(book) == [(Action.ROTATE, "watch-password")]
    assert {name for name, value in secrets_of(book).items() if before[name] != value} == {"galera-watch-password"}
    assert password_of(book).reveal() == secrets_of(book)["galera-watch-password"].strip()


def test_a_password_goes_in_two_stages(there: Callable[..., Book]) -> None:
    book = there("password")
    first = book.cluster.secret("galera-password").reveal()
    assert planned(book) == [(Action.ROTATE, "password")]
    second = book.cluster.secret("galera-password").reveal()
    assert second != first and [each.reveal() for each in book.cluster.earlier("galera-password")] == [first]
    assert [line.partition(":")[0] for line in two_stages(book)] == ["password"]
    assert planned(book) == [(Action.END_OVERLAP, "password")]
    assert book.cluster.secret("galera-password").reveal() == second and two_stages(book) == []


def test_authorities_overlap_but_for_the_engines(there: Callable[..., Book]) -> None:
    book = there("engine", "consul", "replication", "database")
    assert [name for _, name in planned(book)] == ["engine", "consul", "replication", "database"]
    stages = {purpose: book.authority(purpose).stage for purpose in Purpose}
    assert stages.pop(Purpose.ENGINE) is Stage.STEADY and set(stages.values()) == {Stage.INTRODUCED}
    assert book.authority(Purpose.ENGINE).generations == (2,)
    assert [line.partition(":")[0] for line in two_stages(book)] == ["database"]
    again = {name: action for action, name in planned(book)}
    assert again["database"] is Action.END_OVERLAP and again["consul"] is Action.ROTATE
    assert book.authority(Purpose.DATABASE).stage is Stage.ISSUING
    assert book.authority(Purpose.CONSUL).stage is Stage.INTRODUCED, "one that is being replaced goes on"


def test_what_has_been_replaced_is_not_replaced_again_when_it_is_looked_at(there: Callable[..., Book]) -> None:
    book = there("gossip-key")
    made = begin.want(book, frozenset())
    before = secrets_of(book)
    assert begin.plan(made, frozenset({"gossip-key"})) == []
    begin.want(book, frozenset({"gossip-key"}))
    assert secrets_of(book) == before
    assert [check.ok for check in begin.verify(made, frozenset({"gossip-key"}))] == [True]
    assert [check.ok for check in begin.verify(made, frozenset())] == [False]


@pytest.mark.parametrize(
    ("name", "params", "why"),
    [
        ("password", {"mariadb_user": "", "mariadb_database": ""}, "there is no mariadb_user"),
        ("password", {"mariadb_password": "env:APP"}, "it is yours"),
        ("watch-password", {"with_watch": False}, "with_watch is off"),
        ("unlock-key", {"swarm_autolock": False}, "swarm_autolock is off"),
        ("gossip-key", {"consul_gossip_key": "file:gossip"}, "it is yours"),
        ("gossip-key", {"without": ["sw9"]}, "some are left out: sw9"),
    ],
)
def test_what_cannot_be_replaced_is_refused_by_name_and_passed_over_in_all(
    there: Callable[..., Book], name: str, params: dict[str, Any], why: str
) -> None:
    book = there(name, **params)
    before = secrets_of(book)
    with pytest.raises(UsageError, match=why):
        begin.want(book, frozenset())
    assert secrets_of(book) == before
    assert {due.name for due in begin.want(there("all", **params), frozenset())} == ROTATIONS.keys() - {name}


def test_the_chapters_that_bring_it(there: Callable[..., Book]) -> None:
    assert rotation_chapters(["join-tokens", "swarm"]) == ["29"]
    assert rotation_chapters(["watch-password"]) == ["29", "24"]
    assert rotation_chapters(["consul-tokens", "engine"]) == ["29", "03", "04", "07"]


# -- without a node ----------------------------------------------------------------------------------------------------

FIVE = Params(nodes=["sw1", "sw2", "sw3", "sw4", "sw5"], swarm_managers=3)


@pytest.mark.parametrize(
    ("gone", "managers", "members"),
    [
        (["sw5"], ["sw1", "sw2", "sw3"], ["sw1", "sw2", "sw3", "sw4"]),
        (["sw1"], ["sw2", "sw3"], ["sw2", "sw3", "sw4", "sw5"]),
        (["sw1", "sw4"], ["sw2", "sw3"], ["sw2", "sw3", "sw5"]),
    ],
)
def test_who_is_left_keeps_its_part(gone: list[str], managers: list[str], members: list[str]) -> None:
    left = left_out(FIVE, gone)
    assert (left.managers(), left.members(), left.without) == (managers, members, gone)


def test_a_notebook_takes_what_is_left_of_an_odd_number() -> None:
    left = left_out(FIVE, ["sw1"])
    given = params_from_namespace("03", left.model_dump())
    assert given.managers() == ["sw2", "sw3"] and given.without == ["sw1"]


@pytest.mark.parametrize(
    ("gone", "why"),
    [(["sw9"], "sw9 is no node of the cluster"), (["sw1", "sw2", "sw3"], "no manager would be left")],
)
def test_what_cannot_be_left_out(gone: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        left_out(FIVE, gone)


def test_no_member_would_be_left() -> None:
    with pytest.raises(UsageError, match="no member would be left"):
        left_out(FIVE.model_copy(update={"galera_nodes": ["sw4"]}), ["sw4"])


@pytest.mark.parametrize(
    ("numbers", "run"),
    [
        (["01", "02", "03", "04"], ["02", "03", "04"]),
        (["07", "08"], ["03", "07", "08"]),
        (["29", "04"], ["29", "03", "04"]),
        (["05", "08"], ["05", "08"]),  # what only looks changes nothing
        (["05"], ["05"]),
    ],
)
def test_the_swarm_is_told_before_anything_is_replaced(numbers: list[str], run: list[str], tmp_path: Path) -> None:
    assert with_03(numbers, FIVE) == numbers
    assert with_03(numbers, left_out(FIVE, ["sw5"])) == run
