"""A plan: what each step of a run would change, host by host. Made by looking only, approved by its digest, held while it is applied.

A plan has one spelling, so that the hash of its file is its digest (``sha256sum plan.json``), and the same world and
parameters give the same digest again. What it says of nodes that are not there yet is *assumed*: that they come up
empty. What cannot be said before something runs again is *unknown*, and allows nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swarmbook.base.errors import PlanMismatch, UsageError
from swarmbook.base.files import write_atomic
from swarmbook.model.checks import Table

__all__ = ["FILE", "FORMAT", "Approval", "Change", "Cost", "Plan", "PlannedStep", "read_plan"]

#: Name of a plan in a run's folder.
FILE = "plan.json"
#: Format of a plan's file. Another one is refused.
FORMAT = 1
#: How a digest is written.
DIGEST = "sha256:"


@dataclass(frozen=True)
class Change:
    """One thing a plan wants done.

    Args:
        host: Where; ``cluster`` for what belongs to no single host.
        action: What, by the name its phase knows it.
        detail: For a person.
        data: For the phase; holds no secret, and is no part of a plan's file.
        word: The word that has to be typed before it is done (ORDER, DESTROY, CANCEL); empty for what neither costs nor destroys.
    """

    host: str
    action: str
    detail: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    word: str = ""


@dataclass(frozen=True)
class Cost:
    """What one machine would be and cost, an hour, or where it is billed so, a month; ``new``: it is not there yet."""

    name: str
    what: str
    hourly: float
    new: bool
    monthly: float = 0.0


@dataclass(frozen=True)
class PlannedStep:
    """What one step would do.

    Args:
        phase: Number of its notebook.
        step: Its name within the phase.
        changes: In order; empty for nothing to change.
        assumed: Nodes that are not there yet, or that an earlier step has to make ready: they are taken to come up empty.
        unknown: Why nothing can be said yet; empty where something can.
    """

    phase: str
    step: str
    changes: tuple[Change, ...] = ()
    assumed: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def loose(self) -> set[str]:
        """Where the changes are only assumed; what belongs to no single host depends on every one."""
        return {*self.assumed, "cluster"} if self.assumed else set()

    def differs(self, changes: Iterable[Change]) -> tuple[list[Change], list[Change]]:
        """How changes that are about to be made differ from the planned ones.

        On what was observed they have to be just the planned ones. On what was assumed they may be fewer, and their
        details others (an address, a version), but nothing that was not planned.

        Returns:
            Those that were not planned, and those that were and are not wanted any more.
        """
        loose = self.loose
        kinds = {(change.host, change.action) for change in self.changes}

        def exact(every: Iterable[Change]) -> Counter[tuple[str, str, str]]:
            return Counter((c.host, c.action, c.detail) for c in every if c.host not in loose)

        made = list(changes)
        planned, wanted = exact(self.changes), exact(made)
        extra = [c for c in made if c.host in loose and (c.host, c.action) not in kinds]
        extra += [Change(*key) for key in (wanted - planned).elements()]
        return extra, [Change(*key) for key in (planned - wanted).elements()]


def _is_part_of(change: Change, planned: Change) -> bool:
    """The same action on the same host, on some of the things that it was planned for."""
    return (change.host, change.action) == (planned.host, planned.action) and set(change.detail.split()) <= set(
        planned.detail.split()
    )


@dataclass(frozen=True)
class Approval:
    """That somebody said yes to what costs or destroys.

    Args:
        word: The word it stands for.
        by: Who, as user@host.
        how: ``typed``, ``--yes`` or ``--approve DIGEST``.
        what: What it stands for, a line each.
    """

    word: str
    by: str
    how: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Args:
        cluster: Name of the cluster.
        parameters: All of them, resolved; secrets are references.
        notebooks: Hash of each notebook's source, by number, in order.
        steps: What each step would do; steps that only look are left out.
        costs: What the machines cost; empty where no notebook of the plan is about machines.
        swarmbook: Version that made it.
        partial: It speaks of the steps that it names, and leaves the others free.
    """

    cluster: str
    parameters: Mapping[str, Any]
    notebooks: Mapping[str, str]
    steps: tuple[PlannedStep, ...]
    costs: tuple[Cost, ...] = ()
    swarmbook: str = ""
    partial: bool = False

    @property
    def changes(self) -> list[tuple[PlannedStep, Change]]:
        """Every change with its step."""
        return [(step, change) for step in self.steps for change in step.changes]

    def words(self) -> dict[str, list[str]]:
        """What has to be approved: by the word, what it stands for."""
        found: dict[str, list[str]] = {}
        for _, change in self.changes:
            if change.word:
                found.setdefault(change.word, []).append(f"{change.host}: {change.detail}")
        return found

    def canonical(self) -> bytes:
        """The one spelling."""
        steps = [
            {
                "phase": s.phase, "step": s.step, "assumed": list(s.assumed), "unknown": s.unknown,
                "changes": [{"host": c.host, "action": c.action, "detail": c.detail, "word": c.word} for c in s.changes],
            }
            for s in self.steps
        ]  # fmt: skip
        costs = [
            {"name": c.name, "what": c.what, "hourly": c.hourly, "monthly": c.monthly, "new": c.new} for c in self.costs
        ]
        data = {
            "format": FORMAT, "cluster": self.cluster, "swarmbook": self.swarmbook, "parameters": dict(self.parameters),
            "notebooks": dict(self.notebooks), "steps": steps, "costs": costs, "partial": self.partial,
        }  # fmt: skip
        return (json.dumps(data, sort_keys=True, indent=1, default=str) + "\n").encode()

    @property
    def digest(self) -> str:
        """What is approved."""
        return DIGEST + hashlib.sha256(self.canonical()).hexdigest()

    def approved_by(self, digest: str) -> bool:
        """Whether a digest that somebody typed is this plan's; 16 characters of it will do."""
        typed = digest.strip().removeprefix(DIGEST).lower()
        return len(typed) >= 16 and self.digest.removeprefix(DIGEST).startswith(typed)

    def approved_part(self) -> Plan:
        """The steps that somebody has to say yes to; what was shown to them is what is done."""
        return replace(self, steps=tuple(s for s in self.steps if any(c.word for c in s.changes)), partial=True)

    def save(self, path: Path) -> None:
        """Write it."""
        write_atomic(path, self.canonical())

    def hold(self, phase: str, step: str, changes: Sequence[Change]) -> None:
        """Refuse changes that are not those of this plan; of a partial one, those that are more than it.

        Raises:
            PlanMismatch: The world is no longer as it was when the plan was made. Nothing of the step was done.
        """
        planned = next((s for s in self.steps if (s.phase, s.step) == (phase, step)), None)
        if planned is None:
            if self.partial:
                return
            planned = PlannedStep(phase, step)
        extra, missing = planned.differs(changes)
        if self.partial:
            # What was approved is the most that may be done. Less has to be possible: what a destroy that was killed had asked to stop
            # is still there when the next one is approved, and gone when it begins.
            extra, missing = [c for c in extra if not any(_is_part_of(c, p) for p in planned.changes)], []
        if not extra and not missing:
            return
        lines = [f"not planned: {c.host}: {c.detail or c.action}" for c in extra]
        lines += [f"planned, and no longer needed: {c.host}: {c.detail or c.action}" for c in missing]
        raise PlanMismatch(
            "the world is not as it was when the plan was made; this step was not begun",
            where=f"{phase}, {step}",
            wanted=f"just what the plan {self.digest[:23]} says"
            + (f" (nothing: {planned.unknown})" if planned.unknown else ""),
            seen="\n".join(lines[:20]),
            next="swarmbook plan PARAMS --out FILE; read it, then: swarmbook run --plan FILE",
        )

    # -- shown -------------------------------------------------------------------------------------------------

    def table(self) -> Table:
        """A row a change; the same change on several hosts is one row."""
        rows: list[list[str]] = []
        for step in self.steps:
            if step.unknown:
                rows.append([step.phase, step.step, "", f"not known yet: {step.unknown}", ""])
            groups: dict[tuple[str, str, str], list[str]] = {}
            for change in step.changes:
                groups.setdefault(
                    (change.detail or change.action, change.word, "assumed" if change.host in step.loose else ""), []
                ).append(change.host)
            for (what, word, basis), hosts in groups.items():
                rows.append(
                    [
                        step.phase,
                        step.step,
                        ", ".join(hosts),
                        what,
                        ", ".join(filter(None, [basis, f"asks for {word}" if word else ""])),
                    ]
                )
            if not step.changes and not step.unknown:
                rows.append([step.phase, step.step, "", "nothing to change", ""])
        return Table(["phase", "step", "host", "what", "note"], rows)

    def cost_table(self) -> Table:
        """What the machines cost, by the hour or by the month."""
        monthly = any(c.monthly for c in self.costs)
        paid = [(c, c.monthly if monthly else c.hourly) for c in self.costs]
        digits = 2 if monthly else 3
        rows = [[c.name, c.what, "new" if c.new else "there", f"{cost:.{digits}f}"] for c, cost in paid]
        fresh = [cost for c, cost in paid if c.new]
        totals = [
            ["new", f"{len(fresh)} machines", "", f"{sum(fresh):.{digits}f}"],
            ["all", f"{len(paid)} machines", "", f"{sum(cost for _, cost in paid):.{digits}f}"],
        ]
        return Table(["node", "machine", "is", "per month" if monthly else "per hour"], [*rows, *totals])

    def summary(self) -> str:
        """One line."""
        count = len(self.changes)
        hosts = {change.host for _, change in self.changes} - {"cluster", "here"}
        unknown = sum(bool(step.unknown) for step in self.steps)
        told = (
            "nothing to change"
            if not count
            else f"{count} change{'s'[: count != 1]} on {len(hosts)} host{'s'[: len(hosts) != 1]}"
        )
        return told + (f", {unknown} step{'s'[: unknown != 1]} not known yet" if unknown else "")

    def to_text(self) -> str:
        """For a terminal."""
        parts = [self.table().to_text()]
        if any(step.assumed for step in self.steps):
            parts.append(
                "assumed: an earlier step makes these nodes, or makes them ready, and they are taken to come up empty; a run of this plan does no more than this on them"
            )
        if self.costs:
            parts.append(self.cost_table().to_text())
        parts.append(f"{self.cluster}: {self.summary()}\ndigest {self.digest}")
        return "\n\n".join(parts)


def read_plan(path: Path) -> Plan:
    """A plan from its file.

    Raises:
        UsageError: It is no plan, was changed by hand, or is of another format.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(
            "the plan cannot be read", where=str(path), seen=error.strerror, next="swarmbook plan PARAMS --out FILE"
        ) from None
    try:
        data = json.loads(raw)
        if data["format"] != FORMAT:
            raise UsageError(
                "the plan was made by another swarmbook",
                where=str(path),
                wanted=f"format {FORMAT}",
                seen=f"format {data['format']}",
                next="swarmbook plan PARAMS --out FILE",
            )
        steps = tuple(
            PlannedStep(
                s["phase"],
                s["step"],
                tuple(Change(c["host"], c["action"], c["detail"], word=c["word"]) for c in s["changes"]),
                tuple(s["assumed"]),
                s["unknown"],
            )
            for s in data["steps"]
        )
        plan = Plan(
            data["cluster"],
            data["parameters"],
            data["notebooks"],
            steps,
            tuple(Cost(**c) for c in data["costs"]),
            data["swarmbook"],
            data["partial"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "this is not a plan", where=str(path), seen=repr(error)[:200], next="swarmbook plan PARAMS --out FILE"
        ) from None
    if plan.canonical() != raw:
        raise UsageError(
            "the plan is not as swarmbook wrote it",
            where=str(path),
            seen=f"its digest would be {plan.digest}",
            next="swarmbook plan PARAMS --out FILE",
        )
    return plan
