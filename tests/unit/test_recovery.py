"""Who goes on after an outage of all members: every state enumerated, histories played through, and the failures of others replayed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.model.change import Action, Change, Word, typed
from swarmbook.phases.recovery.step import Outage, Recover
from swarmbook.phases.recovery.verdict import Loss, Position, Standing, Verdict, decide, loss_of, overrule
from swarmbook.show.changes import sentence

A, B = "a" * 8, "b" * 8


def crashed(seqno: int, uuid: str = A) -> Standing:
    return Standing(data=True, position=Position(uuid, seqno), view=3)


def stopped(seqno: int, uuid: str = A, *, safe: bool = False) -> Standing:
    return Standing(data=True, position=Position(uuid, seqno), clean=True, safe=safe)


UNREACHED = Standing(reached=False)
EMPTY = Standing()
BROKEN_OFF = Standing(data=True, broken_off=True)
UNSURE = Standing(data=True, view=3)


# -- every state ------------------------------------------------------------------------------------------------------


def every_member() -> Iterator[Standing]:
    yield from (UNREACHED, EMPTY, BROKEN_OFF, UNSURE)
    for uuid, seqno in itertools.product((A, B), (5, 6, 9)):
        place = Standing(data=True, position=Position(uuid, seqno))
        yield replace(place, view=3)
        yield replace(place, clean=True)
        yield replace(place, clean=True, safe=True)
        yield replace(place, survives=True)
        yield replace(place, serves=True)


KNOWN: tuple[Mapping[str, Position], ...] = (
    {},
    {"sw1": Position(A, 5), "sw2": Position(A, 5), "sw3": Position(A, 5)},
    {"sw1": Position(A, 7), "sw2": Position(A, 6), "sw3": Position(A, 6)},
    {"sw3": Position(B, 4)},
)


def harms(members: Mapping[str, Standing], known: Mapping[str, Position], chosen: str) -> str:
    """Say what is wrong with a choice, in other words than the code under test has: empty for nothing."""
    if any(each.serves for each in members.values()):
        return "a second cluster beside one that serves"
    own = members[chosen].position
    if own is None or not members[chosen].data or members[chosen].broken_off:
        return "it holds nothing"
    for name, each in members.items():
        if name == chosen:
            continue
        if not each.reached:
            return f"{name} may have anything"
        if each.broken_off or (each.data and each.position is None):
            return f"{name} may have more"
        if not each.data and name in known:
            return f"{name} had data once"
        if (
            each.data
            and each.position is not None
            and (each.position.uuid != own.uuid or each.position.seqno > own.seqno)
        ):
            return f"{name} has more, or another history"
    if any(place.uuid != own.uuid or place.seqno > own.seqno for place in known.values()):
        return "the cluster was further once"
    return ""


def test_no_state_of_three_members_is_decided_wrongly() -> None:
    tried = decided = 0
    for known in KNOWN:
        for states in itertools.product(list(every_member()), repeat=3):
            members = dict(zip(("sw1", "sw2", "sw3"), states, strict=True))
            verdict = decide(members, known)
            tried += 1
            right = [name for name in members if not harms(members, known, name)]
            contradiction = (
                any(each.safe for each in states)
                and right
                and all(not members[name].safe or name in right for name in members) is False
            )
            if verdict.chosen:
                decided += 1
                assert not harms(members, known, verdict.chosen), (members, known, verdict)
                assert not verdict.refused and verdict.loss is None
            else:
                assert (
                    verdict.refused
                    or any(each.serves for each in states)
                    or not any(each.data or not each.reached for each in states)
                ), (members, known, verdict)
                assert not right or contradiction, f"refused for nothing: {members}, {known}, {verdict}"
    assert tried >= 100_000 and decided > 1_000, (tried, decided)


# -- histories --------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A member of the model: what it has applied of the group's history."""

    log: list[int] = field(default_factory=list)
    running: bool = True
    clean: bool = False
    last: bool = False


@dataclass
class Group:
    """Galera as far as it matters here: one history; a commit is acknowledged when its originator has applied it, the others lag."""

    servers: dict[str, Server]
    history: list[int] = field(default_factory=list)

    def up(self) -> list[str]:
        return [name for name, each in self.servers.items() if each.running]

    def commit(self, by: str) -> None:
        if self.servers[by].running:
            self.history.append(len(self.history))
            self.servers[by].log = list(self.history)

    def apply(self, name: str) -> None:
        if self.servers[name].running and (server := self.servers[name]).log != self.history:
            server.log = self.history[: len(server.log) + 1]

    def stop(self, name: str) -> None:
        server = self.servers[name]
        if server.running:
            server.log, server.last = list(self.history), self.up() == [name]
            server.running, server.clean = False, True

    def join(self, name: str) -> None:
        server = self.servers[name]
        if not server.running and self.up():
            server.log, server.running, server.clean, server.last = list(self.history), True, False, False

    def crash(self) -> None:
        """The power fails for all that run."""
        for name in self.up():
            self.servers[name].running = False


_NAMES = ("sw1", "sw2", "sw3")
_events = st.lists(
    st.tuples(st.sampled_from(["commit", "apply", "apply", "stop", "join", "crash"]), st.sampled_from(_NAMES)),
    max_size=40,
)


@given(_events, st.sets(st.sampled_from(_NAMES)))
def test_nothing_that_was_acknowledged_is_lost_in_any_history(events: list[tuple[str, str]], away: set[str]) -> None:
    group = Group({name: Server() for name in _NAMES})
    for what, name in events:
        if what == "crash":
            group.crash()
            break
        getattr(group, what)(name)
    if group.up():  # they are still there
        group.crash()
    members = {
        name: UNREACHED
        if name in away
        else Standing(
            data=True,
            position=Position(A, len(each.log)),
            clean=each.clean,
            safe=each.last,
            view=0 if each.clean else 3,
        )
        for name, each in group.servers.items()
    }
    verdict = decide(members, {})
    if away:
        assert verdict.refused
    else:
        assert group.servers[verdict.chosen].log == group.history, (members, verdict)
        assert verdict.behind == {
            name: len(group.history) - len(each.log) for name, each in group.servers.items() if name != verdict.chosen
        }


# -- what others met --------------------------------------------------------------------------------------------------

REPLAYED = [
    # The one with safe_to_bootstrap is empty: an empty cluster was founded, and the others' data thrown away.
    ("mariadb-operator 1701", {"sw1": BROKEN_OFF, "sw2": crashed(812), "sw3": crashed(812)}, {}, ""),
    # One member fewer after a time-out.
    ("mariadb-operator 1108", {"sw1": stopped(97), "sw2": UNREACHED, "sw3": stopped(90)}, {}, ""),
    # "did not stop cleanly" was read as -1, so a clean stop long ago won.
    ("mariadb-operator 1626", {"sw1": stopped(40), "sw2": crashed(63), "sw3": crashed(61)}, {}, "sw2"),
    # No one has a history.
    ("mariadb-operator 959", {"sw1": BROKEN_OFF, "sw2": BROKEN_OFF, "sw3": BROKEN_OFF}, {}, ""),
    # The second crash: all positions are behind that of the first recovery.
    ("K8SPXC-1828", {"sw1": crashed(91), "sw2": crashed(88), "sw3": crashed(89)}, {"sw3": Position(A, 102)}, ""),
    ("K8SPXC-1828, the first crash", {"sw1": crashed(100), "sw2": crashed(97), "sw3": crashed(102)}, {}, "sw3"),
    # Of members that crashed, the file says -1: compared with that, any clean stop was the most advanced.
    ("Kolla LP 1682153", {"sw1": crashed(500), "sw2": stopped(420), "sw3": crashed(499)}, {}, "sw1"),
    (
        "a clean stop older than a crash, and said to be the last",
        {"sw1": stopped(40, safe=True), "sw2": crashed(63)},
        {},
        "",
    ),
    ("another cluster's disk", {"sw1": crashed(500), "sw2": crashed(9000, B), "sw3": crashed(499)}, {}, ""),
    (
        "a disk that is not mounted",
        {"sw1": crashed(5), "sw2": EMPTY},
        {"sw1": Position(A, 5), "sw2": Position(A, 5)},
        "",
    ),
    ("one that has never joined", {"sw1": crashed(5), "sw2": EMPTY}, {"sw1": Position(A, 5)}, "sw1"),
]


@pytest.mark.parametrize(
    ("members", "known", "chosen"), [case[1:] for case in REPLAYED], ids=[case[0] for case in REPLAYED]
)
def test_what_others_met(members: Mapping[str, Standing], known: Mapping[str, Position], chosen: str) -> None:
    verdict = decide(members, known)
    assert verdict.chosen == chosen
    assert bool(verdict.refused) == (not chosen)


# -- by hand ------------------------------------------------------------------------------------------------------------


def test_what_a_choice_costs_is_counted() -> None:
    members = {"sw1": crashed(40), "sw2": crashed(57), "sw3": BROKEN_OFF}
    assert loss_of(members, {}, "sw2") == Loss(0, "no other member has more")
    assert loss_of(members, {}, "sw1").transactions == 17
    assert loss_of({**members, "sw3": UNREACHED}, {}, "sw2").transactions is None
    assert loss_of({**members, "sw3": crashed(9, B)}, {}, "sw2").transactions is None
    assert loss_of({"sw1": crashed(40)}, {"sw1": Position(A, 50)}, "sw1").transactions == 10
    assert loss_of({"sw1": crashed(40), "sw2": EMPTY}, {"sw2": Position(A, 44)}, "sw1").transactions == 4
    # What was recorded of a member that is behind it by now, or holds nothing that counts, is lost all the same.
    behind = {"sw1": crashed(91), "sw2": crashed(88), "sw3": BROKEN_OFF}
    assert loss_of(behind, {"sw2": Position(A, 102)}, "sw1").transactions == 11
    assert loss_of(behind, {"sw3": Position(A, 97)}, "sw1").transactions == 6
    assert loss_of(behind, {"sw2": Position(B, 2)}, "sw1").transactions is None


@given(
    st.lists(st.sampled_from(list(every_member())), min_size=1, max_size=4), st.sampled_from(KNOWN), st.integers(0, 3)
)
def test_no_overruling_founds_beside_one_that_serves_or_on_nothing(
    states: list[Standing], known: Mapping[str, Position], at: int
) -> None:
    members = {f"sw{number + 1}": each for number, each in enumerate(states)}
    name = list(members)[at % len(members)]
    verdict = overrule(members, known, name)
    if any(each.serves for each in states):
        assert not verdict.chosen
    if verdict.chosen:
        assert verdict.chosen == name and members[name].position is not None and not members[name].broken_off
        if harms(members, known, name):
            assert verdict.loss is not None
        if verdict.loss is not None and verdict.loss.transactions is not None:
            own = members[name].position
            assert own is not None
            assert all(
                each.position is None or each.position.seqno - own.seqno <= verdict.loss.transactions
                for each in states
                if each.position is not None and each.position.uuid == own.uuid
            )
            assert all(place.seqno - own.seqno <= verdict.loss.transactions for place in known.values())
            assert all(place.uuid == own.uuid for place in known.values())


STEP = Recover()


def test_what_is_planned() -> None:
    members = {"sw1": crashed(40), "sw2": crashed(57), "sw3": BROKEN_OFF}
    by_hand = overrule(members, {}, "sw1")
    changes = STEP.plan(by_hand, Outage(members))
    assert changes == [
        Change("sw1", Action.RECOVER, (f"{A}:40", "stopped", "17"), Word.LOSE),
        Change("sw2", Action.REJOIN, ("all",)),
        Change("sw3", Action.REJOIN, ("all",)),
    ]
    assert typed(Word.LOSE, changes[:1]) == "LOSE 17"
    assert sentence(changes[0]).startswith(f"goes on with {A}:40; lost: 17 transactions (chosen by hand")
    sure = {"sw1": crashed(40), "sw2": replace(crashed(40), survives=True)}
    assert STEP.plan(decide(sure, {}), Outage(sure)) == [
        Change("sw2", Action.RECOVER, (f"{A}:40", "living")),
        Change("sw1", Action.REJOIN, ("0",)),
    ]
    assert STEP.plan(Verdict(why="sw1 serves"), Outage({"sw1": Standing(serves=True)})) == []
    coming = {
        "sw1": Standing(serves=True),
        "sw2": Standing(data=True),
        "sw3": Standing(reached=False),
        "sw4": Standing(),
    }
    (only,) = STEP.plan(Verdict(why="sw1 serves"), Outage(coming))
    assert (only.host, only.action) == ("sw2", Action.AWAIT_MEMBER), "an earlier run has decided, and was ended"


def test_a_refusal_says_what_a_person_needs() -> None:
    members = {"sw1": crashed(40), "sw2": crashed(57), "sw3": UNREACHED}
    with pytest.raises(WorldError) as caught:
        STEP.plan(decide(members, {}), Outage(members))
    said = str(caught.value)
    assert caught.value.code is Code.RECOVERY_UNDECIDED
    for words in (f"{A}:40", f"{A}:57", "sw3: its node does not answer", "sw1 would lose", "--member NODE"):
        assert words in said, said
