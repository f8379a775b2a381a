"""Who the writer is: what one member's agent does next, as a pure function of what it sees.

The election is a row of a table that Galera replicates: who the writer is, and its term. A claim is an UPDATE that holds for one term only,
so certification lets one of several win. A writer that goes fences itself first and gives the row away after that; one that is
lost has left the primary component, and without it nothing can be committed. A writer is known by its ``wsrep_gcomm_uuid``,
which is another one after every start: who comes back under the same name is not the writer any more.

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from swarmbook.machines.images.galera.follower import Following

__all__ = ["CLAIM_S", "DONOR_S", "GRACE_S", "WISH_S", "Action", "Decision", "Memory", "Place", "Row", "Seen", "decide"]

#: Seconds that a writer which is gone from the view may take to learn that itself, before another one claims its place.
GRACE_S = 0.3
#: Seconds by which each further member of the view waits longer than the one before it.
CLAIM_S = 1.0
#: Seconds for which a writer may be a donor, or lag, before it gives its place to a member that is Synced.
DONOR_S = 1.0
#: Seconds for which the member that is to be the next writer may say nothing, or lag, before the wish is dropped.
WISH_S = 10.0


@dataclass(frozen=True)
class Place:
    """A member as the others know it: its id in the group, of this one start; and its name."""

    uuid: str
    name: str


@dataclass(frozen=True)
class Row:
    """The election's row.

    Args:
        term: Counts the writers.
        writer: Who it is; without an id where the last one gave its place away to no one.
        asked: Name of the member that is to be the next one, by a person's word; mostly empty.
    """

    term: int
    writer: Place
    asked: str = ""


@dataclass(frozen=True)
class Seen:
    """What an agent sees of its own member.

    Args:
        me: The member itself.
        primary: It is in the primary component, and ready.
        synced: It is Synced.
        donor: It is a donor, or desynced: it serves, and lags.
        read_only: It is fenced.
        view: All members of the component, as far as they are known.
        row: The election's; None where there is none: 20 was not run.
        current: The row was read behind everything that was committed before, in this very view.
        following: Which other cluster is followed: the writer's place is held, and no one writes but the replica.
    """

    me: Place
    primary: bool
    synced: bool = False
    donor: bool = False
    read_only: bool = True
    view: tuple[Place, ...] = ()
    row: Row | None = None
    current: bool = False
    following: Following | None = None

    @property
    def serves(self) -> bool:
        return self.primary and (self.synced or self.donor)


@dataclass(frozen=True)
class Memory:
    """What an agent keeps from one look to the next.

    Args:
        stopping: The member was asked to stop.
        absent: Term of the writer that is not in the view, and since when.
        behind: Since when the writer, this member, has not been Synced.
        able: Names of other members that are Synced, by their own word; asked for only where it matters.
        wish: Name of the member that is to be the next writer and does not say that it is Synced, and since when.
    """

    stopping: bool = False
    absent: tuple[int, float] | None = None
    behind: float | None = None
    able: tuple[str, ...] = ()
    wish: tuple[str, float] | None = None


class Action(str, Enum):
    """What an agent does."""

    NOTHING = "nothing"
    LOOK_AGAIN = "look-again"  # read the row behind everything that was committed
    OPEN = "open"
    FENCE = "fence"
    CLAIM = "claim"
    HAND_OVER = "hand-over"
    FORGET = "forget"  # who is to be the next one has not been Synced for a while


@dataclass(frozen=True)
class Decision:
    """What to do, and to whom the place goes when it is handed over; to no one in particular where that is None."""

    action: Action
    to: Place | None = None
    why: str = ""
    memory: Memory = field(default_factory=Memory)


def decide(seen: Seen, memory: Memory, now: float) -> Decision:
    """Decide what the member's agent does next.

    Args:
        seen: What it sees.
        memory: What the decision before left.
        now: Seconds, of a clock that only goes forward.
    """
    if not seen.serves:
        memory = replace(memory, absent=None, behind=None)
        why = "it does not serve" if seen.primary else "no primary component"
        return Decision(Action.NOTHING if seen.read_only else Action.FENCE, None, why, memory)
    if seen.row is None:
        memory = replace(memory, absent=None, behind=None)
        if not seen.read_only:
            return Decision(Action.NOTHING, memory=memory)
        return Decision(Action.OPEN if seen.current else Action.LOOK_AGAIN, None, "there is no election", memory)
    if seen.row.writer.uuid == seen.me.uuid:
        return _as_writer(seen, seen.row, replace(memory, absent=None), now)
    memory = replace(memory, behind=None)
    if not seen.read_only:
        return Decision(Action.FENCE, None, f"the writer is {seen.row.writer.name or 'no one'}", memory)
    return _as_another(seen, seen.row, memory, now)


def _as_writer(seen: Seen, row: Row, memory: Memory, now: float) -> Decision:
    behind = None if seen.synced else memory.behind if memory.behind is not None else now
    memory = replace(memory, behind=behind)
    if not seen.current:
        return Decision(Action.LOOK_AGAIN, None, "the view has changed", memory)
    able = {place.name: place for place in seen.view if place.uuid != seen.me.uuid and place.name in memory.able}
    first = able[min(able)] if able else None
    if memory.stopping:
        return Decision(Action.HAND_OVER, first, "it was asked to stop", memory)
    if row.asked in able:
        return Decision(Action.HAND_OVER, able[row.asked], "by command", memory)
    if row.asked:
        # One question that finds no answer says little: on a busy machine the next one does.
        since = memory.wish[1] if memory.wish is not None and memory.wish[0] == row.asked else now
        memory = replace(memory, wish=(row.asked, since))
        if row.asked not in {place.name for place in seen.view} or now - since >= WISH_S:
            return Decision(Action.FORGET, None, f"{row.asked} is not Synced", replace(memory, wish=None))
    else:
        memory = replace(memory, wish=None)
    if first is not None and behind is not None and now - behind >= DONOR_S:
        return Decision(Action.HAND_OVER, first, "it is not Synced", memory)
    if seen.following is not None:
        return Decision(Action.NOTHING if seen.read_only else Action.FENCE, None, "another cluster is followed", memory)
    return Decision(
        Action.OPEN if seen.read_only else Action.NOTHING, None, f"it is the writer of term {row.term}", memory
    )


def _as_another(seen: Seen, row: Row, memory: Memory, now: float) -> Decision:
    """Claim the place of a writer that is not in the view: in the order of names, each a while after the one before."""
    ids = {place.uuid for place in seen.view}
    if (
        row.writer.uuid in ids or seen.me.uuid not in ids or memory.stopping
    ):  # a view that lacks this member is not known yet
        return Decision(Action.NOTHING, memory=replace(memory, absent=None))
    since = memory.absent[1] if memory.absent is not None and memory.absent[0] == row.term else now
    memory = replace(memory, absent=(row.term, since))
    order = sorted(seen.view, key=lambda place: (place.name, place.uuid))
    mine = next((index for index, place in enumerate(order) if place.uuid == seen.me.uuid), len(order))
    # A donor only where all the others had their turn.
    turn = mine if seen.synced else mine + len(order) + 1
    if now - since < (GRACE_S if row.writer.uuid else 0.0) + turn * CLAIM_S:
        return Decision(Action.NOTHING, memory=memory)
    why = f"{row.writer.name} has left the view" if row.writer.uuid else "the place is free"
    return Decision(Action.CLAIM, seen.me, why, memory)
