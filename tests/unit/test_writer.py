"""Who the writer is: single decisions, and a small world of members, views and applied rows in which there are never two."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmbook.machines.images.galera.follower import Following
from swarmbook.machines.images.galera.writer import (
    CLAIM_S,
    DONOR_S,
    GRACE_S,
    WISH_S,
    Action,
    Decision,
    Memory,
    Place,
    Row,
    Seen,
    decide,
)

A, B, C = (Place(f"id-{name}", f"galera-{name}") for name in "abc")
ALL = (A, B, C)
NO_ONE = Place("", "")
FAR = Following("far/galera", (), "", "")


def seen(me: Place, writer: Place | None, **changes: object) -> Seen:
    """A Synced member of three, with everything read; the writer is open, the others are fenced."""
    row = Row(7, writer) if writer is not None else None
    defaults = {"primary": True, "synced": True, "read_only": me != writer, "view": ALL, "row": row, "current": True}
    return Seen(me, **{**defaults, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "memory", "action"),
    [
        # Without an election every member is open, once that is known.
        (seen(A, None), Memory(), Action.OPEN),
        (seen(A, None, current=False), Memory(), Action.LOOK_AGAIN),
        (seen(A, None, read_only=False), Memory(), Action.NOTHING),
        # The writer is open, the others are fenced.
        (seen(A, A), Memory(), Action.NOTHING),
        (seen(A, A, read_only=True), Memory(), Action.OPEN),
        (seen(A, A, read_only=True, current=False), Memory(), Action.LOOK_AGAIN),
        (seen(A, A, current=False), Memory(), Action.LOOK_AGAIN),
        (seen(B, A), Memory(), Action.NOTHING),
        # A standby: its writer's place is held, and handed over, and no one is open.
        (seen(A, A, following=FAR), Memory(), Action.FENCE),
        (seen(A, A, following=FAR, read_only=True), Memory(), Action.NOTHING),
        (seen(B, A, following=FAR), Memory(), Action.NOTHING),
        (seen(A, A, following=FAR, read_only=True, row=Row(7, A, C.name)), Memory(able=(B.name, C.name)), Action.HAND_OVER),
        (seen(B, A, read_only=False), Memory(), Action.FENCE),
        # Who does not serve is fenced, whatever the row says.
        (seen(A, A, primary=False), Memory(), Action.FENCE),
        (seen(A, A, primary=False, read_only=True), Memory(), Action.NOTHING),
        (seen(A, A, synced=False), Memory(), Action.FENCE),
        # Handing over: by command, when stopping, as a donor; never to one that does not say that it is Synced.
        (seen(A, A, row=Row(7, A, C.name)), Memory(able=(B.name, C.name)), Action.HAND_OVER),
        (seen(A, A, row=Row(7, A, C.name)), Memory(able=(B.name,)), Action.NOTHING),
        (seen(A, A, row=Row(7, A, C.name)), Memory(able=(B.name,), wish=(B.name, 0.0)), Action.NOTHING),
        (seen(A, A, row=Row(7, A, C.name)), Memory(able=(B.name,), wish=(C.name, 100 - WISH_S)), Action.FORGET),
        (seen(A, A, row=Row(7, A, "galera-x")), Memory(able=(B.name, "galera-x")), Action.FORGET),
        (seen(A, A), Memory(stopping=True), Action.HAND_OVER),
        (seen(B, A), Memory(stopping=True), Action.NOTHING),
        (seen(A, A, synced=False, donor=True), Memory(behind=0.0, able=(B.name,)), Action.HAND_OVER),
        (seen(A, A, synced=False, donor=True), Memory(behind=0.0), Action.NOTHING),
        (seen(A, A, synced=False, donor=True), Memory(behind=100 - DONOR_S / 2, able=(B.name,)), Action.NOTHING),
        # A lost writer's place: the first of the view after a moment, the next ones later, who is no one's at once.
        (seen(B, A, view=(B, C)), Memory(), Action.NOTHING),
        (seen(B, A, view=(B, C)), Memory(absent=(7, 99.9 - GRACE_S)), Action.CLAIM),
        (seen(B, A, view=(B, C)), Memory(absent=(6, 99.9 - GRACE_S)), Action.NOTHING),
        (seen(C, A, view=(B, C)), Memory(absent=(7, 99.9 - GRACE_S)), Action.NOTHING),
        (seen(C, A, view=(B, C)), Memory(absent=(7, 99.9 - GRACE_S - CLAIM_S)), Action.CLAIM),
        (seen(A, NO_ONE), Memory(), Action.CLAIM),
        (seen(B, A, view=(B, C)), Memory(stopping=True, absent=(7, 0.0)), Action.NOTHING),
        (seen(B, A, view=()), Memory(absent=(7, 0.0)), Action.NOTHING),
        # It came back, by the same name and as another one: no one gives the place back.
        (seen(Place("id-a2", A.name), A, view=(Place("id-a2", A.name), B, C)), Memory(absent=(7, 0.0)), Action.CLAIM),
        (seen(Place("id-a2", A.name), B, view=(Place("id-a2", A.name), B, C)), Memory(absent=(7, 0.0)), Action.NOTHING),
        # A donor claims when everyone else had a turn.
        (seen(B, A, view=(B, C), synced=False, donor=True), Memory(absent=(7, 99.9 - GRACE_S)), Action.NOTHING),
        (seen(B, A, view=(B, C), synced=False, donor=True), Memory(absent=(7, 99.9 - GRACE_S - 3 * CLAIM_S)), Action.CLAIM),
    ],
)  # fmt: skip
def test_what_an_agent_does(what: Seen, memory: Memory, action: Action) -> None:
    assert decide(what, memory, 100.0).action is action


def test_to_whom_the_place_goes() -> None:
    assert decide(seen(A, A, row=Row(7, A, C.name)), Memory(able=(B.name, C.name)), 0.0).to == C
    assert decide(seen(A, A), Memory(stopping=True, able=(C.name, B.name)), 0.0).to == B
    assert decide(seen(A, A), Memory(stopping=True), 0.0).to is None
    assert decide(seen(B, A, view=(B, C)), Memory(absent=(7, 0.0)), 100.0).to == B


# -- a world -----------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A member: what it has applied of the row, and what its agent knows."""

    place: Place
    read_only: bool = True
    applied: int = 0  # how many of the component's versions of the row
    up: bool = True
    current: bool = False
    memory: Memory = field(default_factory=Memory)
    pending: Decision | None = None  # it has fenced itself, and goes on from there


@dataclass
class World:
    """Members, of which one majority at most is the primary component; the row's versions, in the order of certification."""

    servers: dict[str, Server]
    component: set[str]
    rows: list[Row]
    now: float = 0.0

    def open(self) -> list[str]:
        return [name for name in sorted(self.component) if not self.servers[name].read_only]

    def view(self) -> tuple[Place, ...]:
        return tuple(self.servers[name].place for name in sorted(self.component))

    def look(self, name: str, *, causal: bool = False) -> Seen:
        server = self.servers[name]
        primary = name in self.component
        if causal and primary:
            server.applied, server.current = len(self.rows), True
        row = self.rows[server.applied - 1] if server.applied else None
        return Seen(
            server.place, primary, synced=primary, read_only=server.read_only, view=self.view() if primary else (), row=row, current=server.current
        )  # fmt: skip

    def certify(self, name: str, term: int, to: Place) -> None:
        """An UPDATE for one term, from a member of the component: the first one wins, wherever it was applied yet."""
        if name in self.component and self.rows[-1].term == term:
            if not any(place.uuid == to.uuid for place in self.view()):
                to = NO_ONE
            self.rows.append(Row(term + 1, to))
            self.servers[name].applied = len(self.rows)

    def turn(self, name: str) -> None:
        """One turn of an agent: what it began, or one look and one decision."""
        server = self.servers[name]
        if not server.up:
            return
        if server.pending is not None:
            decision, server.pending = server.pending, None
            self.certify(name, self.rows[server.applied - 1].term, decision.to or NO_ONE)
            return
        what = self.look(name)
        decision = decide(what, server.memory, self.now)
        if decision.action is Action.LOOK_AGAIN:
            what = self.look(name, causal=True)
            decision = decide(what, decision.memory, self.now)
        server.memory = decision.memory
        if decision.action is Action.OPEN:
            server.read_only = False
        elif decision.action is Action.FENCE:
            server.read_only = True
        elif decision.action is Action.HAND_OVER:
            server.read_only, server.pending = True, decision
        elif decision.action is Action.CLAIM:
            assert what.row is not None
            gone = all(place.uuid != what.row.writer.uuid for place in self.view())
            if gone:
                self.certify(name, what.row.term, server.place)

    def regroup(self, names: set[str]) -> None:
        """A new view. Who comes into it has applied what the others have, and its agent has seen that it was out."""
        majority = 2 * len(names) > len(self.servers)
        for name in names - self.component:
            self.servers[name].read_only = True
        self.component = names if majority else set()
        for server in self.servers.values():
            server.current = False

    def restart(self, name: str, serial: int) -> None:
        old = self.servers[name]
        self.component -= {name}
        for server in self.servers.values():
            server.current = False
        self.servers[name] = Server(Place(f"{name}-{serial}", f"galera-{name}"), applied=old.applied)


NAMES = ["a", "b", "c"]
EVENT = st.one_of(
    st.tuples(st.just("turn"), st.sampled_from(NAMES)),
    st.tuples(st.just("turn"), st.sampled_from(NAMES)),
    st.tuples(st.just("apply"), st.sampled_from(NAMES)),
    st.tuples(st.just("time"), st.sampled_from([0.1, 0.4, 1.2, 5.0])),
    st.tuples(st.just("view"), st.sets(st.sampled_from(NAMES), min_size=1)),
    st.tuples(st.just("restart"), st.sampled_from(NAMES)),
    st.tuples(st.just("stop"), st.sampled_from(NAMES)),
    st.tuples(st.just("ask"), st.sampled_from(NAMES)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENT, max_size=80))
def test_there_are_never_two_writers(events: list[tuple[str, object]]) -> None:
    servers = {name: Server(Place(f"{name}-0", f"galera-{name}"), applied=1) for name in NAMES}
    world = World(servers, set(NAMES), [Row(1, servers["a"].place)])
    terms = [1]
    for serial, (kind, what) in enumerate(events, 1):
        if kind == "time":
            world.now += what  # type: ignore[operator]
        elif kind == "turn":
            world.turn(str(what))
        elif kind == "apply":
            server = world.servers[str(what)]
            if str(what) in world.component:
                server.applied = min(server.applied + 1, len(world.rows))
        elif kind == "view":
            world.regroup(set(what))  # type: ignore[call-overload]
        elif kind == "restart":
            world.restart(str(what), serial)
        elif kind == "stop":
            server = world.servers[str(what)]
            server.memory = replace(server.memory, stopping=True, able=tuple(f"galera-{name}" for name in NAMES))
        else:
            server = world.servers[str(what)]
            world.rows[-1] = replace(world.rows[-1], asked=server.place.name)
            for each in world.servers.values():
                each.memory = replace(each.memory, able=tuple(f"galera-{name}" for name in NAMES))
        open_ = world.open()
        assert len(open_) <= 1, f"{open_} are open together"
        if world.rows[-1].term != terms[-1]:
            terms.append(world.rows[-1].term)
    assert terms == sorted(set(terms)), "a term comes once"


@settings(max_examples=100, deadline=None)
@given(st.sets(st.sampled_from(NAMES), min_size=2), st.lists(st.sampled_from(NAMES), max_size=6))
def test_where_there_is_a_component_there_is_a_writer_soon(left: set[str], before: list[str]) -> None:
    servers = {name: Server(Place(f"{name}-0", f"galera-{name}"), applied=1) for name in NAMES}
    world = World(servers, set(NAMES), [Row(1, servers["a"].place)])
    for name in before:
        world.turn(name)
    world.regroup(left)
    for _ in range(60):
        world.now += 0.1
        for name in sorted(left):
            world.turn(name)
    assert len(world.open()) == 1


def test_no_one_takes_the_place_back() -> None:
    servers = {name: Server(Place(f"{name}-0", f"galera-{name}"), applied=1) for name in NAMES}
    world = World(servers, set(NAMES), [Row(1, servers["a"].place)])

    def go_on() -> None:
        for _ in range(40):
            world.now += 0.1
            for name in NAMES:
                world.turn(name)

    go_on()
    assert world.open() == ["a"]
    world.regroup({"b", "c"})
    go_on()
    assert world.open() == ["b"]
    world.regroup({"a", "b", "c"})
    go_on()
    assert world.open() == ["b"], "the one that was cut off came back, and is a reader"
