"""What the members said while something happened to them, and what follows from that: pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarmbook.application.tally import Commit

__all__ = ["Look", "detected", "overlap", "whole"]

#: Commits of one member that are farther apart belong to two times in which it was the writer, seconds.
_APART_S = 1.0


@dataclass(frozen=True)
class Look:
    """What one member said of itself.

    Args:
        at: When it was asked, seconds.
        state: Its state in Galera's words: ``Synced``, ``Donor/Desynced``; empty where it did not answer.
        size: How many members its component has; 0 where it is not the primary one, or did not answer.
    """

    at: float
    state: str = ""
    size: int = 0

    def is_whole(self, members: int) -> bool:
        """Whether it serves in a component of all."""
        return self.state == "Synced" and self.size == members


def detected(looks: Mapping[str, Sequence[Look]], hit: Iterable[str], at: float) -> float | None:
    """Say after how many seconds a member that was not hit, or any where all were, was in another component.

    Args:
        looks: What each member said, in order.
        hit: Those that the fault hit.
        at: When it began.

    Returns:
        Seconds; nothing where no one noticed.

    Example:
        >>> detected({"sw1": [Look(1.0, "Synced", 3), Look(4.5, "Synced", 2)]}, ["sw2"], 2.0)
        2.5
    """
    others = set(looks) - set(hit) or set(looks)
    found = [
        next((look.at for look in looks[name] if look.at >= at and look.state and look.size != len(looks)), None)
        for name in others
    ]
    return min((when - at for when in found if when is not None), default=None)


def whole(looks: Mapping[str, Sequence[Look]], at: float) -> float | None:
    """Say after how many seconds all members served in one component, and went on so to the end.

    Args:
        looks: What each member said, in order.
        at: When the fault began.

    Returns:
        Seconds, 0 where that was never otherwise; nothing where it is not so in the end.

    Example:
        >>> whole({"sw1": [Look(1.0, "Synced", 1), Look(2.0), Look(3.0, "Synced", 1)]}, 1.5)
        1.5
    """
    latest = 0.0
    for seen in looks.values():
        after = [look for look in seen if look.at >= at]
        if not after or not after[-1].is_whole(len(looks)):
            return None
        ill = [number for number, look in enumerate(after) if not look.is_whole(len(looks))]
        if ill:
            latest = max(latest, after[ill[-1] + 1].at - at)
    return latest


def overlap(commits: Iterable[Commit]) -> float:
    """Say for how long at most two members acknowledged commits at the same time, seconds.

    Args:
        commits: In any order.

    Example:
        >>> overlap([Commit(1.0, 0.1, member="sw1"), Commit(1.4, 0.1, member="sw2"), Commit(1.5, 0.1, member="sw1")])
        0.0
    """
    moments: dict[str, list[float]] = {}
    for commit in sorted(commits, key=lambda commit: commit.at):
        moments.setdefault(commit.member, []).append(commit.at)
    spans = [_spans(own) for own in moments.values()]
    together = (
        min(end, other_end) - max(begin, other_begin)
        for one, other in itertools.combinations(spans, 2)
        for begin, end in one
        for other_begin, other_end in other
    )
    return max(0.0, max(together, default=0.0))


def _spans(moments: Sequence[float]) -> list[tuple[float, float]]:
    """Join moments, in order, to spans: what is farther apart than :data:`_APART_S` is not one."""
    spans: list[tuple[float, float]] = []
    for at in moments:
        if spans and at - spans[-1][1] <= _APART_S:
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((at, at))
    return spans
