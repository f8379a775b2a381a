"""What a step's cell shows, as data beside its words: so nothing is read back out of HTML.

Format 1 held counts only. Format 2 holds the step: what it changed, what it checked, the table that it showed, and the
commands that it ran. A command that ran on several hosts stands there once; a long one is cut, since the ledger and the
folded transcript have all of it. A step that only looks names no commands and no times, so that two executions of the
same notebook on the same cluster hold the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmbook.base.secrets import mask
from swarmbook.model.checks import Check
from swarmbook.model.formats import Format
from swarmbook.model.results import Counts, RecordedChange, read_check
from swarmbook.model.transcript import Command

__all__ = ["FORMAT", "STEP_MIME", "StepOutput", "read_outputs"]

STEP_MIME = "application/vnd.swarmbook.step+json"
FORMAT = Format("the step", 2)
_TEXT = 600  # characters of one command


@dataclass(frozen=True)
class StepOutput:
    """One step, as its cell shows it.

    Args:
        summary: What it did, in one line.
        counts: How many hosts, changes, checks and failed checks.
        changes: What it changed.
        checks: What it checked.
        columns: Of its table, where it showed one that holds no checks.
        rows: Of the same table.
        commands: What it ran.
        seconds: How long it took; 0 where it only looked.
        looked: It only looked.
        stopped: An error stopped it.
    """

    summary: str = ""
    counts: Counts = field(default_factory=Counts)
    changes: tuple[RecordedChange, ...] = ()
    checks: tuple[Check, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    commands: tuple[Command, ...] = ()
    seconds: float = 0.0
    looked: bool = False
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it for the notebook; everything in it has to be masked by the caller."""
        data: dict[str, Any] = {
            "format": FORMAT.newest,
            "summary": self.summary,
            "hosts": self.counts.hosts,
            "failed": self.counts.failed,
            "changes": [vars(change) for change in self.changes],
            "checks": [check.to_json() for check in self.checks],
        }
        if self.columns:
            data["table"] = {"columns": list(self.columns), "rows": [list(row) for row in self.rows]}
        if self.looked:
            return {**data, "looked": True}
        data["seconds"] = round(self.seconds, 3)
        data["commands"] = _grouped(self.commands)
        return {**data, "stopped": True} if self.stopped else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepOutput:
        """Read it from a notebook, of whatever format up to ours; what is newer or damaged has counts at most."""
        if FORMAT.refusal(data.get("format")):
            return cls()
        changes, checks = data.get("changes"), data.get("checks")
        counts = Counts.from_json(data)
        if not isinstance(changes, list) or not isinstance(checks, list):
            return cls(counts=counts)
        table = data.get("table") or {}
        return cls(
            str(data.get("summary") or ""),
            counts,
            tuple(RecordedChange.from_json(change) for change in changes),
            tuple(read_check(check) for check in checks),
            tuple(str(column) for column in table.get("columns") or ()),
            tuple(tuple(str(cell) for cell in row) for row in table.get("rows") or ()),
            tuple(_ungrouped(data.get("commands") or ())),
            float(data.get("seconds") or 0),
            bool(data.get("looked")),
            bool(data.get("stopped")),
        )


def read_outputs(outputs: Iterable[Mapping[str, Any]]) -> StepOutput:
    """Read the step's data in the outputs of its cell: most cells have one, those without any give an empty one."""
    found = [
        StepOutput.from_json(data)
        for output in outputs
        if isinstance(data := (output.get("data") or {}).get(STEP_MIME), Mapping)
    ]
    if len(found) == 1:
        return found[0]
    return StepOutput(
        " ".join(step.summary for step in found if step.summary),
        sum((step.counts for step in found), Counts()),
        tuple(change for step in found for change in step.changes),
        tuple(check for step in found for check in step.checks),
        commands=tuple(command for step in found for command in step.commands),
        seconds=sum(step.seconds for step in found),
        looked=bool(found) and all(step.looked for step in found),
        stopped=any(step.stopped for step in found),
    )


def _grouped(commands: Iterable[Command]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, int, str], list[Command]] = {}
    for command in commands:
        # Masked first, cut then: half a secret would not be known as one.
        groups.setdefault((mask(command.text), command.exit, command.tail), []).append(command)
    return [
        {
            "text": text if len(text) <= _TEXT else f"{text[:_TEXT]}\n# ... {len(text) - _TEXT} characters more",
            "exit": code,
            **({"tail": tail} if tail else {}),
            "ran": [[c.host, round(c.began, 3), c.seconds] for c in ran],
        }
        for (text, code, tail), ran in groups.items()
    ]


def _ungrouped(groups: Sequence[Mapping[str, Any]]) -> list[Command]:
    found = [
        Command(
            str(host), str(group["text"]), int(group["exit"]), float(seconds), str(group.get("tail", "")), float(began)
        )
        for group in groups
        for host, began, seconds in group["ran"]
    ]
    return sorted(found, key=lambda command: command.began)
