"""The replica of a standby: what its agent reads, where it begins, and when it tries another address."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.machines.images.galera.follower import (
    EVERY_S,
    RETRY_S,
    Follower,
    Following,
    highest,
    read_following,
    read_replica,
)
from swarmbook.machines.images.galera.word import Word, metrics

ROW = ["following", "lab/galera", "10.0.0.1:3306 10.0.0.2:3306", "standby_7", "7-7-0,5-5-3", "1"]
SAID = """*************************** 1. row ***************************
                Slave_IO_State: Waiting for master to send event
                   Master_Host: 10.0.0.1
                   Master_Port: 3306
              Slave_IO_Running: {io}
             Slave_SQL_Running: {sql}
                 Last_IO_Error: {error}
                Last_SQL_Error:
         Seconds_Behind_Master: {behind}
                   Gtid_IO_Pos: 7-7-19,5-5-3
"""


def said(io: str = "Yes", sql: str = "Yes", error: str = "", behind: str = "2") -> str:
    return SAID.format(io=io, sql=sql, error=error, behind=behind)


class World:
    """A server that keeps what it was asked, and says what it is given to say."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says = ""
        self.pos = ["", ""]
        self.follower = Follower(self.ask, lambda _: None, lambda: self.says)

    def ask(self, *statements: str, timeout_s: float = 5.0) -> list[list[str]]:
        self.asked += statements
        if statements[0].startswith("SELECT 'pos'"):
            return [["pos", *self.pos], ["kept", "NULL"], ["own", "9"]]
        return []

    def hosts(self) -> list[str]:
        return [found[1] for each in self.asked if (found := re.search(r"MASTER_HOST = '([^']+)'", each))]

    def begins(self) -> list[str]:
        return [found[1] for each in self.asked if (found := re.search(r"gtid_slave_pos = '([^']*)'", each))]


def following() -> Following:
    found = read_following(ROW)
    assert found is not None
    return found


def test_the_row_is_read_and_held_to_what_it_may_be() -> None:
    assert following() == Following("lab/galera", (("10.0.0.1", 3306), ("10.0.0.2", 3306)), "standby_7", "7-7-0,5-5-3")
    assert read_following([*ROW[:-1], "0"]) is None, "it took over"
    assert read_following(ROW[:-1]) is None
    bad = read_following(["following", "a'b", "x'; DROP:1 10.0.0.2:3306", "u'", "7-7-1'", "1"])
    assert bad == Following("ab", (("10.0.0.2", 3306),), "u", "")


def test_what_the_server_says_of_its_replica() -> None:
    found = read_replica(said())
    assert found is not None
    assert (found.state, found.seconds, found.received, found.host) == ("runs", 2, "7-7-19,5-5-3", ("10.0.0.1", 3306))
    assert read_replica("") is None
    for words, state in (
        (said(io="Connecting", behind="NULL"), "connects"),
        (said(io="Connecting", error="error connecting"), "no source"),
        (said(sql="No"), "stopped"),
    ):
        found = read_replica(words)
        assert found is not None and found.state == state


def test_it_begins_behind_what_is_here_of_the_sources_domains() -> None:
    world = World()
    world.pos = ["7-7-12,9-9-40,100001-9-2", "7-7-11"]
    world.follower.look(following(), serves=True, holds=True, now=0.0)
    assert world.begins() == ["5-5-3,7-7-12"], "not its own domain, and no domain of a member's own"
    assert world.hosts() == ["10.0.0.1"]
    fresh = World()
    fresh.follower.look(following(), serves=True, holds=True, now=0.0)
    assert fresh.begins() == ["5-5-3"], "0 names a domain of which nothing is here"


def test_it_tries_the_next_address_and_comes_round() -> None:
    world, now = World(), 0.0
    world.follower.look(following(), serves=True, holds=True, now=now)
    world.says = said(io="Connecting", error="error connecting")
    while now < 3 * RETRY_S:
        now += EVERY_S
        world.follower.look(following(), serves=True, holds=True, now=now)
    assert world.hosts() == ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]
    asked = len(world.hosts())
    world.says = said()
    for _ in range(100):
        now += EVERY_S
        world.follower.look(following(), serves=True, holds=True, now=now)
    assert len(world.hosts()) == asked, "one that runs is left alone"


def test_it_stops_where_it_has_not_to_run() -> None:
    world = World()
    world.follower.look(following(), serves=True, holds=False, now=0.0)
    assert not world.asked
    world.follower.look(following(), serves=True, holds=True, now=1.0)
    world.follower.look(following(), serves=False, holds=True, now=2.0)
    assert "RESET SLAVE ALL;" not in world.asked, "a member without quorum is not asked to stop what has stopped"
    world.follower.look(None, serves=True, holds=True, now=3.0)
    assert world.asked[-2:] == ["STOP SLAVE;", "RESET SLAVE ALL;"]
    assert world.follower.replica is None
    waits = Following("lab/galera", (), "", "")
    world.asked.clear()
    world.follower.look(waits, serves=True, holds=True, now=9.0)
    assert not world.asked, "one that is only fenced follows no one"


GTIDS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 99)), max_size=6)


@given(GTIDS, GTIDS)
def test_the_highest_of_each_domain(one: list[tuple[int, int, int]], two: list[tuple[int, int, int]]) -> None:
    text = [",".join("-".join(map(str, gtid)) for gtid in each) for each in (one, two)]
    found = {int(gtid.split("-")[0]): int(gtid.split("-")[2]) for gtid in highest(*text).split(",") if gtid}
    wanted: dict[int, int] = {}
    for domain, _, number in [*one, *two]:
        wanted[domain] = max(wanted.get(domain, 0), number)
    assert found == wanted


@pytest.mark.parametrize(("replica", "shown"), [(said(), True), (said(sql="No", behind="NULL"), False)])
def test_prometheus_is_given_it(replica: str, shown: bool) -> None:
    text = metrics(Word(follows="lab/galera", replica=read_replica(replica)), False, True, True)
    assert "swarmbook_member_follows 1" in text
    assert f"swarmbook_member_replica_runs {int(shown)}" in text
    assert ("swarmbook_member_replica_behind_seconds 2" in text) is shown
    assert "follows" not in metrics(Word(), True, True, True)
