"""The page about faults: what a person is to know of each, and what was measured when it was done."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from swarmbook.phases.drill.course import Result
from swarmbook.phases.drill.faults import FAULTS, NOT_HERE, Fault

__all__ = ["page", "rows"]

_HEAD = """<!-- Written by tools/drills from docs/drills.json: make drills. Do not edit. -->
# What happens when

Each of these faults was done to a lab of three nodes, while the application of [09](../notebooks/09_use_it.ipynb) worked at the
endpoint of [20](../notebooks/20_endpoint.ipynb). Afterwards every commit that had been acknowledged was looked for on every member.
`make drills` does it again.

{machine}

- **Noticed**: until a member that was not hit saw that the cluster had changed.
- **Gap**: the longest time in which no transfer was acknowledged. It is what an application waits.
- **Slowest transfer**: one that was under way, its second try included; with a time limit of 15 s for each answer.
- **Whole**: until all members served again.
- **Lost**: commits that were acknowledged and were not there afterwards, on any member.

{seeds}.

{table}

{faults}
## What was not tried

{not_here}{not_yet}
"""


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Put the results into rows: one a fault, under a head.

    Args:
        results: In any order.
    """
    found = [
        ["fault", "noticed", "gap", "slowest transfer", "whole", "commits", "at a second try", "stale reads", "lost"]
    ]
    for name, fault in FAULTS.items():
        tries = [one for one in results if one.fault == name]
        if tries:
            found.append([
                fault.what, _seconds([one.detect_s for one in tries]), _seconds([one.gap_s for one in tries]), _seconds([one.slowest_s for one in tries]), _seconds([one.whole_s for one in tries]),
                str(sum(one.acknowledged for one in tries)), str(sum(one.again for one in tries)),
                f"{sum(one.stale for one in tries)} of {sum(one.reads for one in tries)}", "none" if all(one.kept for one in tries) else "SOME",
            ])  # fmt: skip
    return found


def _seconds(values: Sequence[float | None]) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    never = "" if len(there) == len(values) else f", {len(values) - len(there)} never"
    middle, worst = statistics.median(there), max(there)
    return (f"{middle:.1f} s" if len(values) == 1 else f"{middle:.1f} / {worst:.1f} s") + never


def page(results: Sequence[Result], machine: Mapping[str, Any], date: str) -> str:
    """Write the page.

    Args:
        results: Of all drills.
        machine: What it ran on.
        date: When.
    """
    table = rows(results)
    seeds = len({one.seed for one in results})
    late = [fault.what for name, fault in FAULTS.items() if name not in {one.fault for one in results}]
    beside = f"; {machine['beside']}" if "beside" in machine else ""
    about = f"{machine['cores']} cores, {machine['memory_gib']:.0f} GiB, Linux {machine['kernel']}, {date}{beside}."
    return _HEAD.format(
        machine=about,
        seeds=f"{'One try' if seeds == 1 else f'Median and worst of {seeds} tries'} of each; a try's seed draws when it begins, whom it hits and how long it lasts",
        table="\n".join([_line(table[0]), _line(["---"] * len(table[0])), *map(_line, table[1:])]),
        faults="".join(
            _section(fault, [one for one in results if one.fault == name]) for name, fault in FAULTS.items()
        ),
        not_here="\n".join(f"- {what}. {why}" for what, why in NOT_HERE.items()),
        not_yet="".join(f"\n- {what}. Not yet, on this occasion." for what in late),
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _section(fault: Fault, tries: Sequence[Result]) -> str:
    if not tries:
        return ""
    acknowledged = sum(one.acknowledged for one in tries)
    lost = (
        f"Nothing that was acknowledged: {acknowledged} of {acknowledged} commits were there, once, on every member."
        if all(one.kept for one in tries)
        else "; ".join(word for one in tries for word in one.wrong)
    )
    double = max(one.double_s for one in tries)
    more = f" Two members took writes at once for {double:.1f} s." if double > 0.5 else ""
    return f"""## {fault.what}

- What you see: {fault.seen}
- What the cluster does: {fault.book}
- What you do: {fault.you}
- What can be lost: {lost}{more}

"""
