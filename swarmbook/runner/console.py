"""What a terminal sees of a run; the only place of the run that writes to a stream."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from swarmbook.base.plain import plain
from swarmbook.base.secrets import mask
from swarmbook.base.words import cut, many
from swarmbook.model import states

if TYPE_CHECKING:
    from swarmbook.model.results import ChapterRecord, RunResult, StepRecord

__all__ = ["Console"]

_TITLE = 38
#: Characters of what a step is at.
_AT = 100
SIGN_OF_LIFE_S = 15.0


class Console:
    """One line per step as it ends, a bar on a terminal, a table at the end.

    Args:
        stream: Where to write; standard output by default.
        tty: Whether that is a terminal; asked of the stream by default.
        quiet: Only what went wrong.
    """

    def __init__(self, stream: TextIO | None = None, *, tty: bool | None = None, quiet: bool = False) -> None:
        self.stream: TextIO = stream if stream is not None else sys.stdout
        self.tty = bool(getattr(self.stream, "isatty", lambda: False)()) if tty is None else tty
        self.quiet = quiet
        self._bar: Any = None
        self._label = 0
        self._said = time.monotonic()
        unicode = self._can("✔✘…─")
        self.good, self.bad, self.dots, self.rule = ("✔", "✘", "…", "─") if unicode else ("ok", "FAILED", "...", "-")

    def _can(self, text: str) -> bool:
        try:
            text.encode(getattr(self.stream, "encoding", None) or "utf-8")
        except (UnicodeError, LookupError):
            return False
        return True

    # -- the run, in the order it happens ---------------------------------------------------------

    def run_started(self, chapters: Sequence[tuple[str, str]], steps: int) -> None:
        self._label = max((len(f"{number} {name}") for number, name in chapters), default=0)
        self._said = time.monotonic()
        if self.tty and not self.quiet and steps:
            from tqdm import tqdm

            form = "{desc}|{bar}| {n_fmt}/{total_fmt} steps {elapsed} {postfix}"
            self._bar = tqdm(total=steps, file=self.stream, leave=False, dynamic_ncols=True, bar_format=form)

    def step_started(self, number: str, name: str, title: str) -> None:
        self._said = time.monotonic()
        if self._bar is not None:
            self._bar.set_description_str(f"{number} {cut(title or name, 30, self.dots)} ")

    def waiting(self, title: str, seconds: float, at: Callable[[], str] = str) -> None:
        """Show a sign of life, and what is being done: at the bar on a terminal, now and then in a line elsewhere.

        Args:
            title: The step.
            seconds: How long it has been at work.
            at: Says what it is at; asked only when that is shown.
        """
        if self._bar is not None:
            self._bar.set_postfix_str(cut(plain(at()), _AT, self.dots), refresh=True)
        elif not self.tty and time.monotonic() - self._said >= SIGN_OF_LIFE_S:
            doing = plain(at())
            self.line(
                f"{self.dots} still at: {title} ({seconds:.0f} s)"
                + (f": {cut(doing, _AT, self.dots)}" if doing else "")
            )

    def step_finished(self, step: StepRecord) -> None:
        label = f"{step.number} {step.chapter}".ljust(self._label)
        acted = step.hosts or step.changes or step.checks
        columns = [
            label,
            cut(step.title, _TITLE, self.dots).ljust(_TITLE),
            (many(step.hosts, "host") if step.hosts else "").rjust(8),
            (many(step.changes, "change") if acted else "").rjust(11),
            f"{step.seconds:.1f} s".rjust(8),
            " " + self._mark(step.status),
        ]
        self.line("  ".join(columns))
        if self._bar is not None:
            self._bar.update(1)

    def chapter_failed(self, chapter: ChapterRecord, notebook: Path) -> None:
        """Print the message of the error that stopped the run, and where to look."""
        error = chapter.error or {}
        self._close()
        missed = sum(1 for step in chapter.steps if step.status == states.NOT_RUN)
        head = f"{self.bad} {chapter.number} {chapter.name}: {chapter.status}"
        if missed:
            head += f"; {many(missed, 'step')} of it did not run"
        self.line("", loud=True)
        self.line(head, loud=True)
        self.line(f"{error.get('ename', 'Error')}: {error.get('evalue') or '(no message)'}", loud=True)
        if chapter.notebook:
            self.line(f"  saved: {notebook}", loud=True)

    def run_finished(self, result: RunResult) -> None:
        self._close()
        rows = [("phase", "seconds", "changes", "result")]
        for chapter in result.chapters:
            ran = chapter.status != states.NOT_RUN
            seconds = f"{chapter.seconds:.1f}" if ran else ""
            changes = str(chapter.changes) if ran else ""
            rows.append(
                (
                    f"{chapter.number} {chapter.name}",
                    seconds,
                    changes,
                    f"{self._mark(chapter.status)} {chapter.proof}".rstrip(),
                )
            )
        rows.append(("total", f"{result.seconds:.1f}", str(result.changes), self._mark(result.status)))
        wide = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}  {d}".rstrip() for a, b, c, d in rows]
        ruler = self.rule * (sum(wide) + 6)
        for text in ("", lines[0], ruler, *lines[1:-1], ruler, lines[-1]):
            self.line(text)

    def note(self, text: str) -> None:
        """Print something worth a line that belongs to no step."""
        self.line(text, loud=True)

    # -- how --------------------------------------------------------------------------------------

    def line(self, text: str, *, loud: bool = False) -> None:
        """Write whole lines, above the bar if there is one."""
        if self.quiet and not loud:
            return
        self._said = time.monotonic()
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        text = mask(plain(text)).encode(encoding, "replace").decode(encoding)
        try:
            if self._bar is not None:
                self._bar.write(text, file=self.stream)
            else:
                self.stream.write(text + "\n")
            self.stream.flush()
        except OSError:
            # The reader closed the pipe (| head), or the disk of the log is full: the run goes on and is recorded, only unseen.
            self._bar, self.quiet, self.tty = None, True, False
            with contextlib.suppress(OSError, ValueError):
                # What is still in the stream's buffer would fail again when Python ends, and give an exit code that means nothing here.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)
            self.stream = io.StringIO()

    def _mark(self, status: str) -> str:
        if status == states.COMPLETED:
            return self.good
        if status == states.NOT_RUN:
            return "not run"
        return self.bad if status == states.FAILED else f"{self.bad} {status}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
