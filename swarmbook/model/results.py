"""What there is to run, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swarmbook.model import states

__all__ = ["STEP_MIME", "Chapter", "ChapterRecord", "RunResult", "StepRecord"]

STEP_MIME = "application/vnd.swarmbook.step+json"


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
class StepRecord:
    """One code cell below an H2. ``status`` is the engine's word for the cell."""

    number: str
    chapter: str
    title: str
    status: str
    hosts: int = 0
    changes: int = 0
    checks: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class ChapterRecord:
    """What became of one notebook.

    ``proof``: of what an earlier run had completed: ``verified`` as it left it, or ``drifted``, and mended.
    ``lines``: those that matter of what was collected after it failed.
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
        return sum(step.changes for step in self.steps)


@dataclass(frozen=True)
class RunResult:
    """What became of the run; ``status`` is that of the chapter which ended it."""

    folder: Path
    status: str
    exit_code: int
    seconds: float
    chapters: tuple[ChapterRecord, ...] = field(default=())

    @property
    def changes(self) -> int:
        return sum(chapter.changes for chapter in self.chapters)

    def line(self, cluster: str) -> str:
        """The run in one line."""
        steps = [step for chapter in self.chapters for step in chapter.steps]
        checks, failed = sum(step.checks for step in steps), sum(step.failed for step in steps)
        ended = next(
            (
                chapter
                for chapter in self.chapters
                if chapter.status not in (states.COMPLETED, states.NOT_RUN, states.PENDING)
            ),
            None,
        )
        told = f"{checks} checks, {failed} failed"
        if ended is not None:
            first = (ended.error or {}).get("evalue", "").partition("\n")[0]
            told += f"; {ended.number} {ended.name} {ended.status}: {(ended.error or {}).get('ename', '')}: {first}"
        return (
            f"{cluster}: {'fine' if self.exit_code == 0 else 'NOT FINE'}: {told}; {self.seconds:.1f} s; {self.folder}"
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain data; ``exit_code`` is null while the run goes on."""
        chapters = [{**asdict(chapter), "changes": chapter.changes} for chapter in self.chapters]
        return {
            "status": self.status,
            "exit_code": None if self.status == states.RUNNING else self.exit_code,
            "seconds": self.seconds,
            "changes": self.changes,
            "folder": str(self.folder),
            "chapters": chapters,
        }
