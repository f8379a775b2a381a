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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_atomic
from swarmbook.model.change import WAITS, Action, Change, Word
from swarmbook.model.formats import Format

__all__ = ["FILE", "FORMAT", "Approval", "Cost", "Mismatch", "Plan", "PlannedStep", "read_plan"]

#: Name of a plan in a run's folder.
FILE = "plan.json"
#: Format of a plan's file. A run is held to a plan to the letter, so one of another format is refused, an older one too.
FORMAT = 2
_FORMAT = Format("the plan", FORMAT, oldest=FORMAT, next="swarmbook plan PARAMS --out FILE")
#: How a digest is written.
DIGEST = "sha256:"


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

    def differs(self, changes: Iterable[Change]) -> Mismatch:
        """Compare the changes that are about to be made with the planned ones.

        On what was observed they have to be just the planned ones. On what was assumed they may be fewer, and done
        to other things (an address, a version), but nothing that was not planned. Waiting needs no plan: it touches
        nothing, and whether it is needed is a matter of moments.
        """
        loose = self.loose
        foreseen = [change for change in self.changes if change.action not in WAITS]
        kinds = {(change.host, change.action, change.word) for change in foreseen}
        made = [change for change in changes if change.action not in WAITS]
        planned = Counter(change for change in foreseen if change.host not in loose)
        wanted = Counter(change for change in made if change.host not in loose)
        extra = [c for c in made if c.host in loose and (c.host, c.action, c.word) not in kinds]
        return Mismatch((*extra, *(wanted - planned).elements()), tuple((planned - wanted).elements()))


@dataclass(frozen=True)
class Mismatch:
    """How what a step would do differs from its plan.

    Args:
        extra: Changes that were not planned.
        missing: Changes that were planned, and are no longer needed.
    """

    extra: tuple[Change, ...] = ()
    missing: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.extra or self.missing)


@dataclass(frozen=True)
class Approval:
    """A record of who confirmed a costly or destructive change.

    Args:
        word: The word it stands for.
        by: Who, as user@host.
        how: ``typed``, ``--yes`` or ``--approve DIGEST``.
        what: What it stands for, a line each.
    """

    word: Word
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

    def words(self) -> dict[Word, list[Change]]:
        """Return what has to be approved: by the word, the changes that it stands for."""
        found: dict[Word, list[Change]] = {}
        for _, change in self.changes:
            if change.word is not None:
                found.setdefault(change.word, []).append(change)
        return found

    def canonical(self) -> bytes:
        """Encode the plan in its one spelling."""
        steps = [
            {
                "phase": s.phase, "step": s.step, "assumed": list(s.assumed), "unknown": s.unknown,
                "changes": [change_to_json(change) for change in s.changes],
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
        """Tell whether a typed digest is this plan's; its first 16 characters are enough."""
        typed = digest.strip().removeprefix(DIGEST).lower()
        return len(typed) >= 16 and self.digest.removeprefix(DIGEST).startswith(typed)

    def approved_part(self) -> Plan:
        """Return the plan of the steps that a person has to approve: what was shown is what is done."""
        return replace(self, steps=tuple(s for s in self.steps if any(c.word for c in s.changes)), partial=True)

    def save(self, path: Path) -> None:
        """Write it."""
        write_atomic(path, self.canonical())

    def mismatch(self, phase: str, step: str, changes: Sequence[Change]) -> Mismatch:
        """Compare changes with those of this plan; with a partial one, only in what they are more than it.

        Whether a change is part of an approved one is set inclusion on the things it touches.
        """
        planned = self.step(phase, step)
        if planned is None:
            if self.partial:
                return Mismatch()
            planned = PlannedStep(phase, step)
        found = planned.differs(changes)
        if not self.partial:
            return found
        # What was approved is the most that may be done. Less has to be possible: what a destroy that was killed had
        # asked to stop is still there when the next one is approved, and gone when it begins.
        return Mismatch(tuple(c for c in found.extra if not any(c.is_part_of(p) for p in planned.changes)))

    def step(self, phase: str, name: str) -> PlannedStep | None:
        """Return what the plan says of a step, if anything."""
        return next((s for s in self.steps if (s.phase, s.step) == (phase, name)), None)


def change_to_json(change: Change) -> dict[str, object]:
    """Return a change as a plan's file and a run's ledger hold it."""
    return {
        "host": change.host,
        "action": change.action.value,
        "things": list(change.things),
        "word": change.word.value if change.word else "",
    }


def change_from_json(data: Mapping[str, Any]) -> Change:
    """Read a change from a plan's file or a run's ledger.

    Raises:
        KeyError, TypeError, ValueError: It is none, or has an action that this swarmbook does not know.
    """
    word = Word(data["word"]) if data.get("word") else None
    return Change(str(data["host"]), Action(data["action"]), tuple(data["things"]), word)


def read_plan(path: Path) -> Plan:
    """Read a plan from its file.

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
        _FORMAT.require(data["format"], str(path))
        steps = tuple(
            PlannedStep(
                s["phase"],
                s["step"],
                tuple(change_from_json(c) for c in s["changes"]),
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
    except UsageError:
        raise
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
