"""A standby: where it begins, what it refuses, and what a takeover does; of two clusters as they may be seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.model.change import Action, Word
from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import Replica, Says
from swarmbook.phases.galera.logins import Login
from swarmbook.phases.standby.member import Member, Row, read_member
from swarmbook.phases.standby.pair import Pair, Side
from swarmbook.phases.standby.step import Follow, start_of
from swarmbook.phases.standby.step import Wanted as Following
from swarmbook.phases.standby.take_over import BEHIND_S, TakeOver
from swarmbook.phases.standby.take_over import Wanted as Taking
from swarmbook.phases.support.source import Source, gtid_number, login_at

THERE = Params(
    cluster="far", nodes=["f1"], swarm_managers=1, with_endpoint=True, mariadb_binlog_days=1, mariadb_port=3306
)
HERE = Params(
    cluster="near", nodes=["n1"], swarm_managers=1, with_endpoint=True, mariadb_binlog_days=1, standby_of="far.yaml"
)
A, B = gtid_number(THERE), gtid_number(HERE)
SOURCE = Source(THERE, Cluster("far", Path("/nowhere")), Path("far.yaml"))
OWNER = SOURCE.owner
NAME, SUBJECT = login_at(HERE)
LOGIN = Login(subject=f"/CN={SUBJECT}")
FOLLOWS = Row(OWNER, "", NAME, f"{A}-{A}-5")


def says(**changes: object) -> Says:
    return replace(Says("c" * 64, reader=True, state="Synced", term=3, writer_is="galera-n1"), **changes)  # type: ignore[arg-type]


def pair(*, row: Row | None = None, origin: str = "", here: str = "", there: str | None = f"{A}-{A}-9,100007-{A}-2", **more: object) -> Pair:  # fmt: skip
    standby = Side({"n1": says(replica=Replica("runs", 0), follows=OWNER)}, {"n1": Member(here, "", row, origin)}, B)
    source = (
        None
        if there is None
        else Side({"f1": says(writer=True, read_only=False, writer_is="galera-f1")}, {"f1": Member(there)}, A)
    )
    return Pair(SOURCE, standby, source, LOGIN, **more)  # type: ignore[arg-type]


def wanted(how: str = "no") -> Following:
    return Following(HERE, Row(OWNER, " ".join(SOURCE.hosts()), NAME), LOGIN, how != "no")


def takes(how: str) -> Taking:
    return Taking(HERE, how, "near/galera")


def test_two_clusters_count_in_domains_of_their_own() -> None:
    assert A != B and all(10_000 <= number < 100_000 for number in (A, B)), "members' own domains begin at 100000"


def test_a_fresh_standby_begins_where_its_backup_ends() -> None:
    assert start_of(pair(origin=f"{A}-{A}-5")) == f"{A}-{A}-5,100007-{A}-2"
    changes = Follow().plan(wanted(), pair(origin=f"{A}-{A}-5"))
    assert [change.action for change in changes] == [Action.FOLLOW] and not any(change.word for change in changes)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (pair(), "nothing was restored here"),
        (pair(origin=f"{B}-{B}-5"), "nothing was restored here"),
        (pair(origin=f"{A}-{A}-10"), "it was restored since"),
        (pair(origin=f"{A}-{A}-5", row=replace(FOLLOWS, wanted=False)), "it took over"),
    ],
)
def test_what_does_not_fit_is_not_followed(seen: Pair, why: str) -> None:
    with pytest.raises(WorldError, match=why):
        Follow().plan(wanted(), seen)


def test_a_row_that_came_with_the_sources_backup_says_nothing() -> None:
    old = Row("near/galera", wanted=False)
    assert start_of(pair(origin=f"{A}-{A}-5", row=old)).startswith(f"{A}-{A}-5")


def test_one_that_was_fenced_goes_on_behind_what_is_the_others() -> None:
    """What this cluster has committed is not asked for again; of the other one, what has come from there before."""
    fenced = Row(OWNER, start=f"{A}-{A}-3")
    seen = pair(row=fenced, here=f"{B}-{B}-40", there=f"{A}-{A}-9,{B}-{B}-38")
    assert start_of(seen) == f"{A}-{A}-3,{B}-{B}-38"
    assert start_of(pair(row=fenced, here=f"{A}-{A}-7,{B}-{B}-40", there=f"{A}-{A}-9,{B}-{B}-38")).startswith(
        f"{A}-{A}-7"
    )


def test_where_it_is_followed_already_nothing_is_done() -> None:
    row = replace(FOLLOWS, hosts="10.0.0.1:3306")
    same = replace(wanted(), row=replace(wanted().row, hosts="10.0.0.1:3306"))
    assert Follow().plan(same, pair(row=row)) == []
    assert Follow().plan(same, pair(row=row, there=None)) == [], "a source that is away may come back"
    moved = Follow().plan(replace(same, row=replace(same.row, hosts="10.0.0.9:3306")), pair(row=row))
    assert [change.action for change in moved] == [Action.FOLLOW]
    with pytest.raises(WorldError, match="cannot be followed"):
        Follow().plan(same, pair(there=None))
    assert Follow().plan(wanted("lost"), pair(row=row, there=None)) == []


ROW = replace(FOLLOWS, hosts="10.0.0.1:3306")


def test_a_takeover_by_switch() -> None:
    changes = TakeOver().plan(takes("switch"), pair(row=ROW))
    assert [(change.action, change.word) for change in changes] == [
        (Action.FENCE_SOURCE, None),
        (Action.TAKE_OVER, Word.PROMOTE),
    ]
    begun = pair(row=ROW)
    assert begun.there is not None
    waits = replace(begun, there=replace(begun.there, members={"f1": Member("", "", Row("near/galera"))}))
    assert [change.action for change in TakeOver().plan(takes("switch"), waits)] == [Action.TAKE_OVER], "fenced before"
    with pytest.raises(WorldError, match="does not answer"):
        TakeOver().plan(takes("switch"), pair(row=ROW, there=None))
    for replica in (None, Replica("stopped"), Replica("runs", BEHIND_S + 1)):
        late = pair(row=ROW)
        late = replace(late, here=replace(late.here, says={"n1": says(replica=replica)}))
        with pytest.raises(WorldError, match="not close enough"):
            TakeOver().plan(takes("switch"), late)


def test_a_takeover_by_loss() -> None:
    (change,) = TakeOver().plan(takes("lost"), pair(row=ROW, there=None, here=f"{A}-{A}-7"))
    assert (change.action, change.word) == (Action.TAKE_OVER, Word.PROMOTE) and "behind transaction 7 is lost" in change.because  # fmt: skip
    with pytest.raises(WorldError, match="it is not lost"):
        TakeOver().plan(takes("lost"), pair(row=ROW))


def test_who_follows_no_one_takes_no_place() -> None:
    for row, how in ((None, "switch"), (None, "lost"), (Row(OWNER), "switch")):
        with pytest.raises(OutOfOrder, match="does not follow"):
            TakeOver().plan(takes(how), pair(row=row))
    (change,) = TakeOver().plan(takes("lost"), pair(row=Row(OWNER), there=None))
    assert change.word is Word.PROMOTE, "it was fenced, and the other one is lost: it takes its place back"
    assert TakeOver().plan(takes("no"), pair(row=ROW)) == []
    assert TakeOver().plan(takes("switch"), pair(row=replace(ROW, wanted=False))) == [], "it has it"


def test_after_a_takeover_the_other_one_is_held_to_it() -> None:
    seen = pair(row=replace(ROW, wanted=False))
    open_ = replace(seen, here=replace(seen.here, says={"n1": says(writer=True, read_only=False)}))
    checks = {check.name: check.ok for check in TakeOver().verify(takes("switch"), open_)}
    assert checks == {"takes writes": True, f"{OWNER} takes writes": False}


def test_a_member_is_read() -> None:
    facts = {
        "said": ["written\t7-7-12,9-9-1", "applied\t7-7-12", "kept\t7-7-11", "whole\t"], "row": ["row\tlab/galera\t10.0.0.1:3306\tstandby_1\t7-7-1\t1"],
        "origin": ["7-7-3"],
    }  # fmt: skip
    assert read_member(facts) == Member(
        "7-7-12,9-9-1", "7-7-12", Row("lab/galera", "10.0.0.1:3306", "standby_1", "7-7-1", True), "7-7-3"
    )
    assert read_member({"said": ["written\t7-7-12"]}) is None, "it does not serve"
    for key, value in (
        ("origin", ["x"]),
        ("row", ["row\ta'b\t\t\t\t1"]),
        ("row", ["row\ta\t1', 0); DROP DATABASE app; -- \t\t\t1"]),
    ):
        with pytest.raises(ValueError, match="no "):
            read_member({**facts, key: value})
