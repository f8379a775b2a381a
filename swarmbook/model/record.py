"""A record: the one model of what happened in a run. Report, comparison, history and resuming are views of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmbook.model import states
from swarmbook.model.checks import Check
from swarmbook.model.material import Material
from swarmbook.model.results import ChapterRecord, StepRecord
from swarmbook.model.transcript import Command

__all__ = ["Approved", "Failure", "HeldPlan", "Link", "Record"]


@dataclass(frozen=True)
class HeldPlan:
    """The plan that a run was held to.

    Args:
        digest: Of its file.
        changes: How many changes it names.
        partial: It holds only the steps that needed an approval.
    """

    digest: str
    changes: int
    partial: bool = False


@dataclass(frozen=True)
class Approved:
    """One approval, as the ledger has it.

    Args:
        time: When, as the ledger writes it.
        word: The word that was typed or given.
        by: Who.
        how: ``typed``, ``--yes`` or ``--approve DIGEST``.
        what: What it stands for, a line each.
    """

    time: str
    word: str
    by: str
    how: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """An error that ended a notebook.

    Args:
        number: Of the notebook; empty if the record does not say.
        what: Name of the error.
        detail: Its message.
        code: Its code, where it is one of ours.
        lines: What matters of the logs collected then.
    """

    number: str
    what: str
    detail: str = ""
    code: str = ""
    lines: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it for a person."""
        return "\n".join((f"{self.what}: {self.detail}" if self.detail else self.what, *self.lines))


@dataclass(frozen=True)
class Link:
    """The run that a run resumes.

    Args:
        run: Its id.
        status: How it ended.
        head: Hash of its ledger's last line then.
    """

    run: str
    status: str
    head: str = ""


@dataclass(frozen=True)
class Record:
    """One run, as it was recorded.

    Args:
        folder: Its folder.
        run: Its id; empty if no ledger says it.
        cluster: Its cluster; empty for a run of none.
        status: How it ended; ``running`` if no end is recorded.
        exit_code: Of the run; None if no end is recorded.
        began: Seconds since 1970; 0 if unknown.
        seconds: How long it took.
        chapters: Its notebooks with their steps, also those that it did not reach.
        commands: Every command, in the order in which they began; those of a step stand in the step as well.
        parameters: As they were resolved; secrets are references.
        plan: What it was held to.
        approvals: Who approved what.
        failures: What ended its notebooks.
        parent: The run that it resumes.
        note: What no reader may overlook.
        facts: Who ran it, from where, with which command.
        versions: Of swarmbook, Python and packages.
        notebooks: Hash of each notebook's source.
        host_keys: Of the nodes, as they were last.
        addresses: Of the nodes: where the others reach them. Older runs do not say.
        materials: What was found deployed, last of each.
        head: Hash of the ledger's last line.
        broken: Where the ledger does not hold together; empty if it does.
    """

    folder: Path
    run: str = ""
    cluster: str = ""
    status: str = states.RUNNING
    exit_code: int | None = None
    began: float = 0.0
    seconds: float = 0.0
    chapters: tuple[ChapterRecord, ...] = ()
    commands: tuple[Command, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    plan: HeldPlan | None = None
    approvals: tuple[Approved, ...] = ()
    failures: tuple[Failure, ...] = ()
    parent: Link | None = None
    note: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notebooks: Mapping[str, str] = field(default_factory=dict)
    host_keys: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    materials: tuple[Material, ...] = ()
    head: str = ""
    broken: str = ""

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """Every step, in order."""
        return tuple(step for chapter in self.chapters for step in chapter.steps)

    @property
    def checks(self) -> tuple[tuple[StepRecord, Check], ...]:
        """Every check with the step that made it, in order."""
        return tuple((step, check) for step in self.steps for check in step.checked)

    @property
    def reached(self) -> tuple[ChapterRecord, ...]:
        """The notebooks that the run got as far as."""
        return tuple(chapter for chapter in self.chapters if chapter.reached)

    @property
    def changes(self) -> int:
        """How many changes it made."""
        return sum(step.changes for step in self.steps)

    @property
    def failed(self) -> int:
        """How many checks failed, also of a step that did not live to count them."""
        return sum(max(step.failed, sum(not check.ok for check in step.checked)) for step in self.steps)

    def work(self) -> Iterator[tuple[str, float, float]]:
        """Give host, begin and end of each command, in seconds since the run began."""
        for command in self.commands:
            ended = command.began + command.seconds - self.began
            yield command.host, max(ended - command.seconds, 0.0), ended
