"""The run over all chapters: each notebook in a fresh kernel, each saved, the first failure stops it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat

from swarmbook.base.border import ours
from swarmbook.base.codes import Code
from swarmbook.base.errors import ERROR_MIME, Interrupted, exit_code_for
from swarmbook.base.files import write_atomic
from swarmbook.base.secrets import mask, mask_data, register_references, watch
from swarmbook.base.shadows import shadows
from swarmbook.model import states
from swarmbook.model.names import keep_names
from swarmbook.model.plan import Approval, Plan
from swarmbook.model.results import Chapter, ChapterRecord, RunResult
from swarmbook.model.rundir import RunFolder
from swarmbook.record.evidence import Evidence
from swarmbook.record.notebooks import (
    PARAMETER_TAGS,
    count_steps,
    parameter_names,
    plain,
    read_notebook,
    recorded_step,
    recorded_steps,
    step_titles,
)
from swarmbook.runner.console import Console
from swarmbook.runner.failure import OnFailure, look_into
from swarmbook.runner.kernels import OWN, KernelPool, log
from swarmbook.runner.papermill_engine import register
from swarmbook.runner.stop import StopSignals

__all__ = ["run_chapters"]


#: No chapter gets in where one did not, and more logins that fail are held against us (sshd's PerSourcePenalties).
_SHUT_OUT = frozenset(code.value for code in (Code.LOGIN_REFUSED, Code.HOST_KEY_CHANGED, Code.KEY_GONE))


class _Steps:
    """Listens to one notebook's execution, keeps its step records, feeds the ledger and the console."""

    def __init__(self, chapter: Chapter, console: Console, evidence: Evidence, folder: RunFolder) -> None:
        self.chapter, self.console, self.evidence, self.folder = chapter, console, evidence, folder
        self.title = ""
        self.titles: list[str | None] = []
        self.code: dict[str, str] = {}

    # The engine's Listener:

    def notebook_started(self, nb: Any) -> None:
        self.titles = step_titles(nb)

    def cell_started(self, cell: Any, index: int, total: int) -> None:
        self.title = self.titles[index] or ""
        if self.title:  # before the cell runs: what its kernel writes belongs to it
            self.evidence.step_began(self.chapter, self.title)
        self.console.step_started(self.chapter.number, self.chapter.name, self.title)

    def cell_output(self, cell: Any, index: int, output: Any) -> None:
        """Keep the code of the error that ends a cell for the record, too; what a cell shows is in the notebook."""
        if isinstance(said := output.get("data", {}).get(ERROR_MIME), Mapping):
            self.code = {"code": str(said.get("code"))}

    def cell_waiting(self, cell: Any, index: int, seconds: float) -> None:
        self.console.waiting(self.title or f"{self.chapter.number} {self.chapter.name}", seconds, self._at)

    def _at(self) -> str:
        with contextlib.suppress(OSError):
            return self.folder.at_work.read_text(encoding="utf-8", errors="replace")
        return ""

    def cell_finished(self, cell: Any, index: int, total: int, status: str, seconds: float) -> None:
        self.folder.at_work.unlink(missing_ok=True)  # of a kernel that was killed
        if self.title:
            step = recorded_step(cell, self.chapter.number, self.chapter.name, self.title)
            self.evidence.step_ended(step)
            self.console.step_finished(step)


def run_chapters(
    chapters: Sequence[Chapter],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    console: Console | None = None,
    cell_timeout_s: float | None = None,
    cwd: str | os.PathLike[str] | None = None,
    cluster: Path | None = None,
    evidence: Evidence | None = None,
    plan: Plan | None = None,
    approvals: Sequence[Approval] = (),
    on_failure: OnFailure | None = None,
    go_on: bool = False,
) -> RunResult:
    """Execute chapters one after the other into ``folder`` and stop at the first that fails.

    A failed step is a result, not an exception. ``folder/summary.json`` is up to date after every
    chapter; a run that was killed says ``running`` there. The ledger is written as things happen, the
    manifest at the end, also of a run that failed or was interrupted.

    Args:
        chapters: What to execute, in this order.
        folder: Gets one notebook per chapter and the summary; made if missing.
        env: Environment variables for every kernel, on top of this process's.
        console: What the terminal sees; None for silence.
        cell_timeout_s: Time limit per cell.
        cwd: The kernels' working directory.
        cluster: The cluster's folder: its secrets and keys, also those made during the run, are masked in all that is kept.
        evidence: Writes ledger and manifest; None for one that knows of no cluster and does not sign.
        plan: What the steps are held to; None leaves them free.
        approvals: Who said yes to what costs or destroys.
        go_on: After a chapter that failed, execute the others all the same: each only looks. The first failure is the run's.
            Not where the nodes do not let us in.
        on_failure: Finds out why, before the folder is sealed; see :func:`swarmbook.runner.failure.look_into`.

    Returns:
        The records of all chapters, also of those that were not reached, and the exit code.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    console = console if console is not None else Console(io.StringIO())
    keep_names()
    register_references([chapter.parameters for chapter in chapters], Path(cwd) if cwd else None)
    if cluster is not None:
        watch(cluster)
    evidence = evidence if evidence is not None else Evidence(folder)
    began = time.monotonic()
    records = [ChapterRecord(c.number, c.name, states.PENDING, notebook=c.notebook) for c in chapters]
    status, exit_code = states.COMPLETED, 0
    register()

    def result(now: str) -> RunResult:
        return RunResult(folder, now, exit_code, round(time.monotonic() - began, 3), tuple(records))

    with StopSignals() as stop:
        with KernelPool(env=env, cwd=cwd, notebooks=len(chapters)) as pool:
            if chapters:
                pool.warm()  # boots while the notebooks are read
            evidence.began(
                chapters,
                {key: plain(value) for c in chapters for key, value in c.parameters.items() if key != "confirm"},
            )
            evidence.planned(plan, approvals)
            console.run_started([(c.number, c.name) for c in chapters], sum(count_steps(c.path) for c in chapters))
            for index, chapter in enumerate(chapters):
                if stop.requested:
                    status, exit_code = states.INTERRUPTED, Interrupted.exit_code
                    evidence.interrupted(stop.name)
                    break
                records[index] = replace(records[index], status=states.RUNNING)
                _summarize(result(states.RUNNING), console)
                evidence.chapter_began(chapter)
                records[index], code = _execute(chapter, folder, console, pool, stop, cell_timeout_s, evidence)
                if status == states.COMPLETED or records[index].status == states.INTERRUPTED:
                    status, exit_code = records[index].status, code
                if on_failure is not None and not stop.requested:
                    records[index] = look_into(
                        records[index], code, folder, on_failure, lambda: stop.requested, console
                    )
                if status == states.INTERRUPTED:
                    evidence.interrupted(stop.name)
                evidence.chapter_ended(records[index])
                shut_out = (records[index].error or {}).get("code") in _SHUT_OUT
                if status == states.INTERRUPTED or (status != states.COMPLETED and not (go_on and not shut_out)):
                    break
        records = [replace(r, status=states.NOT_RUN) if r.status == states.PENDING else r for r in records]
        ended = result(status)
        _summarize(ended, console)
        _report(ended.folder, console)  # before the folder is sealed: the page is part of the record
        console.run_finished(ended)
        console.line(f"record: {evidence.ended(ended)}", loud=evidence.trouble is not None)
    return ended


def _report(folder: Path, console: Console) -> None:
    """Write the report and the index over the cluster's runs; without them the run's result is the same."""
    from swarmbook.record.index import write_index
    from swarmbook.record.report import write_report
    from swarmbook.record.runs import STAMP

    try:
        # Signed is the whole folder, this page included, so the page can only say who knows.
        write_report(folder, signature="`swarmbook audit` tells")
        if STAMP.fullmatch(folder.name):
            write_index(folder.parent)
    except Exception as error:
        log.debug("report of %s", folder, exc_info=True)
        console.note(f"the report could not be written: {error}")


def _summarize(result: RunResult, console: Console) -> None:
    try:
        write_atomic(
            result.folder / "summary.json", json.dumps(mask_data(result.to_json(), keys=False), indent=1) + "\n"
        )
    except OSError as error:  # a full disk: the result is still returned and shown
        console.note(f"summary.json could not be written: {error}")


def _execute(
    chapter: Chapter,
    folder: Path,
    console: Console,
    pool: KernelPool,
    stop: StopSignals,
    cell_timeout_s: float | None,
    evidence: Evidence,
) -> tuple[ChapterRecord, int]:
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").addHandler(logging.NullHandler())
    steps = _Steps(chapter, console, evidence, RunFolder(folder))
    target = folder / chapter.notebook
    began = time.monotonic()
    error: dict[str, str] | None = None
    status, exit_code = states.COMPLETED, 0
    since = time.time()
    try:
        nb = read_notebook(chapter.path)
        known = parameter_names(nb, chapter.path)
        execute_notebook(
            str(chapter.path).replace("{", "{{").replace("}", "}}"),  # papermill formats paths
            None,
            parameters={key: plain(value) for key, value in chapter.parameters.items() if key in known},
            engine_name="swarmbook",
            kernel_name=OWN,
            language="python",
            progress_bar=False,
            save_path=target,
            pool=pool,
            stop=stop,
            listener=steps,
            timeout=cell_timeout_s,
        )
    except PapermillExecutionError as failure:
        error = {"ename": str(failure.ename), "evalue": str(failure.evalue), **steps.code}
        if not steps.code and (hiding := shadows()):  # a fault of no one's that we know
            error["evalue"] += f"; in the place of modules of Python's own stand: {', '.join(hiding)}"
        status, exit_code = states.FAILED, exit_code_for(error["ename"])
    except Interrupted as failure:
        error = {"ename": "Interrupted", "evalue": mask(str(failure)), "code": failure.code.value}
        status, exit_code = states.INTERRUPTED, failure.exit_code
    except Exception as failure:
        log.debug("chapter %s", chapter.notebook, exc_info=True)
        named = ours(failure)
        error = {"ename": type(named).__name__, "evalue": mask(str(named)), "code": named.code.value}
        status, exit_code = states.FAILED, named.exit_code
    record = ChapterRecord(chapter.number, chapter.name, status, notebook=chapter.notebook, error=error)
    record = _from_notebook(record, target, since)
    record = replace(record, seconds=round(time.monotonic() - began, 3))
    if chapter.before and record.status == states.COMPLETED:
        record = replace(record, proof="drifted" if record.changes else "verified")
    if error is not None:
        console.chapter_failed(record, target)
    return record, exit_code


def _from_notebook(record: ChapterRecord, path: Path, since: float) -> ChapterRecord:
    """Complete a record from the saved notebook: the record and the artifact cannot disagree."""
    try:
        if path.stat().st_mtime < since - 2:  # an older run's, when this one could not even start to save
            return record
        nb = nbformat.reads(path.read_text("utf-8"), as_version=4)
    except (OSError, ValueError):  # nothing was saved
        return replace(record, notebook="")
    done = nb.metadata.get("papermill", {})
    spans = [(cell, float(cell.metadata.papermill.get("duration") or 0.0)) for cell in nb.cells]
    titles = step_titles(nb)
    before = next((i for i, title in enumerate(titles) if title), len(titles))
    start_up = [
        seconds
        for index, (cell, seconds) in enumerate(spans)
        if cell.cell_type == "code"
        and (index < before or "bootstrap" in cell.metadata.get("tags", []))
        and not set(cell.metadata.get("tags", [])) & set(PARAMETER_TAGS)
    ]
    status = str(done.get("status", record.status))
    return replace(
        record,
        # A chapter that raised is never completed, whatever its notebook says.
        status=record.status if record.error and status in (states.COMPLETED, states.RUNNING) else status,
        kernel_seconds=round(float(done.get("kernel_seconds") or 0.0), 3),
        cell_seconds=round(sum(seconds for cell, seconds in spans if cell.cell_type == "code"), 3),
        import_seconds=round(sum(start_up), 3),
        steps=recorded_steps(nb, record.number, record.name),
    )
