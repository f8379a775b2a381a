"""What there is to run, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.base.words import many
from swarmbook.model import states
from swarmbook.model.checks import Check
from swarmbook.model.transcript import Command

__all__ = ["Chapter", "ChapterRecord", "Counts", "RecordedChange", "RunResult", "StepRecord", "read_check"]


@dataclass(frozen=True)
class Counts:
    """What is counted of a step: hosts it was about, changes, checks, and those of them that failed."""

    hosts: int = 0
    changes: int = 0
    checks: int = 0
    failed: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counts:
        """Read them; where the things themselves stand, they are counted."""

        def count(name: str) -> int:
            value = data.get(name)
            return len(value) if isinstance(value, list) else int(value or 0)

        return cls(count("hosts"), count("changes"), count("checks"), count("failed"))

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hosts + other.hosts,
            self.changes + other.changes,
            self.checks + other.checks,
            self.failed + other.failed,
        )


@dataclass(frozen=True)
class Chapter:
    """One notebook to execute: its file, its parameters, its number ``04`` and name ``deploy_consul``.

    ``before``: an earlier run, which this one resumes, says that it completed it. That is proven, not believed.
    """

    path: Path
    parameters: Mapping[str, Any]
    number: str
    name: str
    before: bool = False

    @property
    def notebook(self) -> str:
        """File name of the executed notebook in the run's folder."""
        return f"{self.number}_{self.name}.ipynb"


@dataclass(frozen=True)
class RecordedChange:
    """A change as a record keeps it.

    It is no :class:`~swarmbook.model.change.Change`: an earlier or a later swarmbook may have other actions than this one,
    and what was done has to be readable all the same.

    Args:
        host: Where.
        action: What was done, by the word of the swarmbook that did it.
        detail: The same as a sentence.
        word: The word that was typed for it; empty if it needed none.
    """

    host: str
    action: str
    detail: str = ""
    word: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedChange:
        """Read a change of a ledger or of a step's data, of whatever format."""
        return cls(*(str(data.get(key) or "") for key in ("host", "action", "detail", "word")))

    @property
    def sentence(self) -> str:
        """What was done, for a person."""
        return self.detail or self.action


_CODES: Mapping[str, Code] = {code.value: code for code in Code}


def read_check(data: Mapping[str, Any]) -> Check:
    """Read a check of a ledger or of a step's data; a code that this swarmbook does not know is the plain one."""
    host, name, wanted, seen = (str(data.get(key)) for key in ("host", "name", "wanted", "seen"))
    code = _CODES.get(data.get("code", ""), Code.CHECK_FAILED)
    return Check(host, name, wanted, seen, bool(data.get("ok")), code)


@dataclass(frozen=True)
class StepRecord:
    """One code cell below an H2.

    Args:
        number: Number of its notebook.
        chapter: Name of its notebook.
        title: The H2.
        status: The engine's word for the cell.
        hosts: How many hosts it was about.
        changes: How many changes it made.
        checks: How many checks it made.
        failed: How many of them failed.
        seconds: How long it took.
        began: When it began, in seconds since 1970; 0 where that is not recorded.
        summary: What it did, in one line.
        planned: The changes that it was about to make.
        checked: The checks themselves.
        commands: What it ran.
    """

    number: str
    chapter: str
    title: str
    status: str
    hosts: int = 0
    changes: int = 0
    checks: int = 0
    failed: int = 0
    seconds: float = 0.0
    began: float = 0.0
    summary: str = ""
    planned: tuple[RecordedChange, ...] = ()
    checked: tuple[Check, ...] = ()
    commands: tuple[Command, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``summary.json`` says of it: the counts. The rest is in the ledger and in the notebook."""
        names = ("number", "chapter", "title", "status", "hosts", "changes", "checks", "failed", "seconds")
        return {name: getattr(self, name) for name in names}

    def counted(self, counts: Counts) -> StepRecord:
        """Return it with other counts."""
        return replace(self, hosts=counts.hosts, changes=counts.changes, checks=counts.checks, failed=counts.failed)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepRecord:
        """Read a step of a ``summary.json``."""
        number, chapter, title, status = (str(data.get(key)) for key in ("number", "chapter", "title", "status"))
        step = cls(number, chapter, title, status, seconds=float(data.get("seconds") or 0))
        return step.counted(Counts.from_json(data))


@dataclass(frozen=True)
class ChapterRecord:
    """What became of one notebook.

    ``proof``: of what an earlier run had completed: ``verified`` as it left it, or ``drifted``, and fixed.
    ``error``: name, message and code of the error that ended it. ``lines``: what matters of the logs collected then.
    """

    number: str
    name: str
    status: str
    seconds: float = 0.0
    kernel_seconds: float = 0.0
    cell_seconds: float = 0.0
    import_seconds: float = 0.0
    notebook: str = ""
    steps: tuple[StepRecord, ...] = ()
    error: Mapping[str, str] | None = None
    proof: str = ""
    lines: tuple[str, ...] = ()

    @property
    def changes(self) -> int:
        """How many changes it made."""
        return sum(step.changes for step in self.steps)

    @property
    def reached(self) -> bool:
        """Whether the run got as far as this notebook."""
        return self.status not in states.UNREACHED

    def to_json(self) -> dict[str, Any]:
        """Return what ``summary.json`` says of it."""
        names = ("number", "name", "status", "seconds", "kernel_seconds", "cell_seconds", "import_seconds", "notebook")
        return {
            **{name: getattr(self, name) for name in names},
            "steps": [step.to_json() for step in self.steps],
            "error": None if self.error is None else dict(self.error),
            "proof": self.proof,
            "lines": list(self.lines),
            "changes": self.changes,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChapterRecord:
        """Read a chapter of a ``summary.json``."""
        error: Mapping[str, Any] | None = data.get("error")
        kernel, cells, imports = (float(data.get(f"{name}_seconds") or 0) for name in ("kernel", "cell", "import"))
        return cls(
            str(data["number"]),
            str(data["name"]),
            str(data["status"]),
            float(data.get("seconds") or 0),
            kernel,
            cells,
            imports,
            str(data.get("notebook") or ""),
            tuple(StepRecord.from_json(step) for step in data.get("steps") or ()),
            {key: str(value) for key, value in error.items()} if error else None,
            str(data.get("proof") or ""),
            tuple(str(line) for line in data.get("lines") or ()),
        )


@dataclass(frozen=True)
class RunResult:
    """What became of the run; ``status`` is that of the chapter which ended it."""

    folder: Path
    status: str
    exit_code: int
    seconds: float
    chapters: tuple[ChapterRecord, ...] = field(default=())

    @property
    def steps(self) -> Iterable[StepRecord]:
        """The steps of all chapters, in order."""
        return (step for chapter in self.chapters for step in chapter.steps)

    @property
    def changes(self) -> int:
        """How many changes it made."""
        return sum(chapter.changes for chapter in self.chapters)

    def line(self, cluster: str) -> str:
        """Return the run in one line."""
        steps = list(self.steps)
        text = f"{many(sum(step.checks for step in steps), 'check')}, {sum(step.failed for step in steps)} failed"
        for ended in (c for c in self.chapters if c.reached and c.status != states.COMPLETED):
            error = ended.error or {}
            first = error.get("evalue", "").partition("\n")[0]
            text += f"; {ended.number} {ended.name} {ended.status}: {error.get('ename', '')}: {first}"
        verdict = "fine" if self.exit_code == 0 else "NOT FINE"
        return f"{cluster}: {verdict}: {text}; {self.seconds:.1f} s; {self.folder}"

    def to_json(self) -> dict[str, Any]:
        """Return the same as plain data; ``exit_code`` is null while the run goes on."""
        return {
            "status": self.status,
            "exit_code": None if self.status == states.RUNNING else self.exit_code,
            "seconds": self.seconds,
            "changes": self.changes,
            "folder": str(self.folder),
            "chapters": [chapter.to_json() for chapter in self.chapters],
        }
