"""What a step did and found; shows itself in a notebook and on a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swarmbook.base.markup import Markup, tag
from swarmbook.base.secrets import mask, mask_data
from swarmbook.model.change import Change
from swarmbook.model.checks import Check, CheckTable, Table
from swarmbook.model.results import Counts, RecordedChange
from swarmbook.model.step_output import STEP_MIME, StepOutput
from swarmbook.model.transcript import Command
from swarmbook.show.changes import grouped, sentence
from swarmbook.show.commands import as_html
from swarmbook.show.drawing import as_image

__all__ = ["StepResult"]


@dataclass(frozen=True)
class StepResult:
    """What a step did and found; shows itself in a notebook and on a terminal."""

    changes: tuple[Change, ...]
    table: Table
    commands: tuple[Command, ...]
    hosts: int
    seconds: float
    looked: bool = False
    picture: str = ""
    stopped: bool = False
    traces: str = ""
    said: str = ""

    @property
    def failed(self) -> list[Check]:
        """Checks that are not as wanted."""
        return self.table.failed if isinstance(self.table, CheckTable) else []

    def summary(self) -> str:
        """Sum up in one line what was changed."""
        if self.stopped:
            return "Stopped by the error below; what was done until then stays, and is not done twice."
        if not self.changes:
            if self.said:
                return self.said
            if self.traces:
                return f"Tried out; {self.traces} was removed again."
            return "Looked; changed nothing." if self.looked else "Nothing to change."
        hosts = grouped(self.changes)
        return (
            f"{len(self.changes)} changed: "
            + "; ".join(f"{what} ({', '.join(where)})" for what, where in hosts.items())
            + "."
        )

    def output(self) -> StepOutput:
        """Return the step as data: what the run and its record read from the cell."""
        checks, plain = ([], self.table) if not isinstance(self.table, CheckTable) else (self.table.checks, None)
        return StepOutput(
            self.summary(),
            Counts(self.hosts, len(self.changes), len(checks), len(self.failed)),
            tuple(_recorded(change) for change in self.changes),
            tuple(checks),
            tuple(plain.columns) if plain is not None else (),
            tuple(tuple(row) for row in plain.rows) if plain is not None else (),
            self.commands,
            self.seconds,
            self.looked,
            self.stopped,
        )

    def __repr__(self) -> str:
        return mask(f"{self.summary()}\n{self.table.to_text()}")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        picture = as_image(mask(self.picture)) if self.picture else ""
        page = tag("p", mask(self.summary())) + Markup(self.table.to_html()) + as_html(self.commands, picture)
        return {
            "text/plain": repr(self),
            "text/html": str(page),
            STEP_MIME: mask_data(self.output().to_json(), keys=False),
        }


def _recorded(change: Change) -> RecordedChange:
    return RecordedChange(change.host, change.action.value, sentence(change), change.word.value if change.word else "")
