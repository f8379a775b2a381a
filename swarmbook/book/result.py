"""What a step did and found; shows itself in a notebook and on a terminal."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from swarmbook.base.secrets import mask
from swarmbook.model import transcript as transcripts
from swarmbook.model.change import Change
from swarmbook.model.checks import Check, CheckTable, Table
from swarmbook.model.transcript import Command
from swarmbook.show.changes import grouped
from swarmbook.show.drawing import as_image

__all__ = ["STEP_MIME", "StepResult"]

STEP_MIME = "application/vnd.swarmbook.step+json"


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

    @property
    def failed(self) -> list[Check]:
        """Checks that are not as wanted."""
        return self.table.failed if isinstance(self.table, CheckTable) else []

    def summary(self) -> str:
        """One line: what was changed."""
        if self.stopped:
            return "Stopped by the error below; what was done until then stays, and is not done twice."
        if not self.changes:
            if self.traces:
                return f"Tried out; {self.traces} was removed again."
            return "Looked; changed nothing." if self.looked else "Nothing to change."
        hosts = grouped(self.changes)
        return (
            f"{len(self.changes)} changed: "
            + "; ".join(f"{what} ({', '.join(where)})" for what, where in hosts.items())
            + "."
        )

    def counts(self) -> dict[str, int]:
        """What the runner reads from the cell."""
        checks = len(self.table.checks) if isinstance(self.table, CheckTable) else 0
        return {"hosts": self.hosts, "changes": len(self.changes), "checks": checks, "failed": len(self.failed)}

    def __repr__(self) -> str:
        return mask(f"{self.summary()}\n{self.table.to_text()}")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = f"<p>{html.escape(mask(self.summary()))}</p>{self.table.to_html()}{transcripts.to_html(self.commands, self.picture and as_image(mask(self.picture)))}"
        return {"text/plain": repr(self), "text/html": page, STEP_MIME: self.counts()}
