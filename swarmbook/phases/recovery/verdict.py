"""Which member may go on when none serves, or why that must not be guessed; pure.

Data was lost elsewhere where a tool looked at less than all of this: at ``safe_to_bootstrap`` alone
(https://github.com/mariadb-operator/mariadb-operator/issues/1701), at the seqno of a clean stop and not at that of a
crash (https://bugs.launchpad.net/kolla-ansible/+bug/1682153), at one member fewer after a time-out
(https://github.com/mariadb-operator/mariadb-operator/issues/1108), at positions without those of the last recovery
(https://github.com/percona/percona-xtradb-cluster-operator/pull/2467).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.base.words import many, subject

__all__ = ["Loss", "Position", "Standing", "Verdict", "decide", "loss_of", "overrule"]


@dataclass(frozen=True)
class Position:
    """A place in a cluster's history.

    Args:
        uuid: Of the cluster's state.
        seqno: Of the last transaction.
    """

    uuid: str
    seqno: int

    def __str__(self) -> str:
        return f"{self.uuid}:{self.seqno}"


@dataclass(frozen=True)
class Standing:
    """Where one member stands.

    Args:
        reached: Its node answers. Of one that does not, nothing else is known.
        silence: Why it does not, in the words of who asked.
        data: It holds a datadir.
        position: How far its data goes: from grastate.dat after a clean stop, from InnoDB after a crash, from the server
            while it runs. None where no one can say.
        clean: It stopped cleanly.
        safe: ``safe_to_bootstrap: 1``: it was the last to stop cleanly.
        broken_off: A state transfer into it has not ended: what it holds is neither the old data nor the new.
        serves: It is in a primary component.
        survives: Its server runs, and is in none.
        view: Members that the last primary component had, as Galera keeps it until a clean stop; 0 where it keeps none.
    """

    reached: bool = True
    silence: str = ""
    data: bool = False
    position: Position | None = None
    clean: bool = False
    safe: bool = False
    broken_off: bool = False
    serves: bool = False
    survives: bool = False
    view: int = 0


@dataclass(frozen=True)
class Loss:
    """What is lost where a member goes on.

    Args:
        transactions: How many; None where they cannot be counted.
        why: What is known of them.
    """

    transactions: int | None
    why: str

    def __str__(self) -> str:
        return (
            "an unknown number of transactions" if self.transactions is None else many(self.transactions, "transaction")
        )


@dataclass(frozen=True)
class Verdict:
    """What is to be done.

    Args:
        chosen: The member that goes on; nothing where none does.
        living: Its server runs already, and becomes the primary component as it is.
        why: Why it, or why no one has to.
        refused: Why no one may; empty where someone may, or no one has to.
        behind: For each other member the transactions that it lacks; None for all of them: it gets a whole copy.
        stuck: Members whose server runs in no component and does not come along: they start again.
        loss: What is lost; nothing unless a person has overruled.
    """

    chosen: str = ""
    living: bool = False
    why: str = ""
    refused: tuple[str, ...] = ()
    behind: Mapping[str, int | None] = field(default_factory=dict)
    stuck: tuple[str, ...] = ()
    loss: Loss | None = None


def decide(members: Mapping[str, Standing], known: Mapping[str, Position]) -> Verdict:
    """Decide who goes on.

    Example:
        >>> here = {"sw1": Standing(data=True, position=Position("a", 7)), "sw2": Standing(data=True, position=Position("a", 9))}
        >>> decide(here, {}).chosen
        'sw2'

    Args:
        members: By node, all of them.
        known: The last position of each that was recorded while it served.
    """
    serving = [name for name, member in members.items() if member.serves]
    if serving:
        return Verdict(why=f"{subject(serving, 'serves', 'serve')}: the others join")
    holders = {name: member for name, member in members.items() if member.reached and member.data}
    if not holders and not known and all(member.reached for member in members.values()):
        return Verdict(why="no member holds data: 07 founds the cluster")
    refused = _doubts(members, holders, known)
    if refused:
        return Verdict(refused=refused)
    places = {name: member.position for name, member in holders.items() if member.position is not None}
    most = max(place.seqno for place in places.values())
    # Of several that are equal, one that runs: the others need not start again.
    best = [name for name, place in places.items() if place.seqno == most]
    chosen = min(best, key=lambda name: (not members[name].survives, not members[name].safe, best.index(name)))
    return _goes_on(members, chosen, f"no other member has more than its {places[chosen]}")


def overrule(members: Mapping[str, Standing], known: Mapping[str, Position], name: str) -> Verdict:
    """Let a person's choice go on, and count what is lost with it.

    Args:
        members: By node, all of them.
        known: The last position of each that was recorded while it served.
        name: The member that is to go on.
    """
    verdict = decide(members, known)
    if verdict.chosen == name or not (verdict.chosen or verdict.refused):
        return verdict
    member = members[name]
    if not member.reached:
        return Verdict(refused=(f"{name} does not answer",))
    if not member.data or member.broken_off or member.position is None:
        return Verdict(refused=(f"{name} holds nothing that it could go on with",))
    loss = loss_of(members, known, name)
    goes_on = _goes_on(members, name, f"chosen by hand; {loss} will be lost: {loss.why}")
    return Verdict(goes_on.chosen, goes_on.living, goes_on.why, (), goes_on.behind, goes_on.stuck, loss)


def loss_of(members: Mapping[str, Standing], known: Mapping[str, Position], name: str) -> Loss:
    """Count the transactions that are lost where a member goes on.

    Args:
        members: By node, all of them.
        known: The last position of each that was recorded while it served.
        name: A member with a position.
    """
    own = members[name].position
    assert own is not None
    counted, uncounted, parts = 0, False, []
    for other, member in members.items():
        if other == name or (member.reached and member.broken_off):
            continue
        place = member.position or known.get(other)
        if place is None:
            if not member.reached or member.data:
                uncounted = True
                parts.append(f"no one knows how far {other} got")
        elif place.uuid != own.uuid:
            uncounted = True
            parts.append(f"{other} has another history, up to {place}")
        elif place.seqno > own.seqno:
            counted = max(counted, place.seqno - own.seqno)
            parts.append(f"{other} got to {place.seqno}, {name} to {own.seqno}")
        if not member.reached and place is not None:
            uncounted = True
            parts.append(f"{other} may have gone on from there")
    # What was recorded counts, also of one that is behind it by now, or holds nothing any more.
    once = {place for place in known.values() if place.uuid == own.uuid and place.seqno > own.seqno + counted}
    if once:
        counted = max(place.seqno for place in once) - own.seqno
        parts.append(f"the cluster was at {own.seqno + counted} once")
    if any(place.uuid != own.uuid for place in known.values()):
        uncounted = True
        parts.append("the cluster had another history once")
    return Loss(None if uncounted else counted, "; ".join(parts) or "no other member has more")


def _goes_on(members: Mapping[str, Standing], chosen: str, why: str) -> Verdict:
    own = members[chosen].position
    assert own is not None
    behind: dict[str, int | None] = {}
    for name, member in members.items():
        if name == chosen or not member.reached:
            continue
        place = None if member.broken_off else member.position
        same = place is not None and place.uuid == own.uuid and place.seqno <= own.seqno
        behind[name] = own.seqno - place.seqno if same and place is not None else None
    living = members[chosen].survives
    stuck = tuple(name for name, member in members.items() if member.survives and name != chosen)
    return Verdict(chosen, living, why, (), behind, stuck)


def _doubts(
    members: Mapping[str, Standing], holders: Mapping[str, Standing], known: Mapping[str, Position]
) -> tuple[str, ...]:
    """List what keeps anyone from being the right one for certain."""
    found = []
    silent = [name for name, member in members.items() if not member.reached]
    if silent:
        found.append(f"{subject(silent, 'does', 'do')} not answer: it may have more, or serve where we cannot see it")
    empty = [name for name, member in members.items() if member.reached and not member.data and name in known]
    if empty:
        found.append(f"{subject(empty, 'holds', 'hold')} no data, and served once: is its disk mounted?")
    broken = [name for name, member in holders.items() if member.broken_off]
    if broken:
        found.append(f"{subject(broken, 'waits', 'wait')} for the end of a state transfer that broke off")
    unsure = [name for name, member in holders.items() if not member.broken_off and member.position is None]
    if unsure:
        found.append(f"no one can tell how far {', '.join(unsure)} got")
    places = {name: member.position for name, member in holders.items() if member.position and not member.broken_off}
    if not places:
        return tuple(found) or ("no member holds a position",)
    uuids = {place.uuid for place in places.values()} | {place.uuid for place in known.values()}
    if len(uuids) > 1:
        found.append(f"there are {len(uuids)} histories: {', '.join(sorted(uuids))}")
        return tuple(found)
    most = max(place.seqno for place in places.values())
    before = max((place.seqno for place in known.values()), default=-1)
    if before > most:
        found.append(f"the cluster was at {before} once, and no member gets beyond {most} now")
    last = [name for name, member in holders.items() if member.safe and name in places and places[name].seqno < most]
    if last:
        said = f"{subject(last, 'was', 'were')} the last to stop cleanly, at {places[last[0]].seqno}"
        found.append(f"{said}, and others have got to {most}")
    return tuple(found)
