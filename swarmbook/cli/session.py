"""One run from the command line: what has to be approved is asked for, then the notebooks are executed."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from swarmbook.access.cluster import Cluster, home
from swarmbook.base.codes import Code
from swarmbook.base.limits import allow_open_files
from swarmbook.base.words import many
from swarmbook.cli.approval import approve
from swarmbook.cli.common import known_secrets, open_book, say
from swarmbook.model.change import typed
from swarmbook.model.phases import PHASES, Kind
from swarmbook.model.plan import Approval, Plan
from swarmbook.model.rundir import RunFolder
from swarmbook.params import Params
from swarmbook.phases.galera.scripts import initial_scripts
from swarmbook.show.changes import summary

if TYPE_CHECKING:
    from swarmbook.model.results import Chapter, ChapterRecord, RunResult
    from swarmbook.record.resume import Parent
    from swarmbook.runner.console import Console
    from swarmbook.runner.failure import OnFailure

__all__ = ["Session"]

_REHEARSAL = "REHEARSAL: nothing is rented, and nothing is charged; what stands for rented machines is on this computer"
#: Errors after which no log of a node would say more.
_SAYS_IT_ALL = (Code.LOCK_HELD, Code.PLAN_MISMATCH)


@dataclass(frozen=True)
class Session:
    """What a run is to do, and how.

    Args:
        params: The parameters.
        numbers: Of the notebooks, in order.
        what: What it is called: for the terminal, and for the next person who finds the cluster locked.
        as_json: Print the result as JSON, and the rest on standard error.
        quiet: Print one line, at the end.
        cell_timeout: Seconds a cell may take.
        signing_key: The key that signs the record.
        parent: The run that is resumed.
        plan: The plan that the run is held to; by default, where something has to be approved, just those steps.
        yes: Do not ask.
        approve: Digest of the plan that was approved elsewhere.
        on_change: Say nothing, and call no hook, where the run finds the same as the last one of its kind.
    """

    params: Params
    numbers: Sequence[str]
    what: str
    as_json: bool = False
    quiet: bool = False
    cell_timeout: int | None = None
    signing_key: str | None = None
    parent: Parent | None = None
    plan: Plan | None = None
    yes: bool = False
    approve: str | None = None
    on_change: bool = False

    def approved(self, cluster: Cluster) -> tuple[Plan | None, list[Approval]]:
        """Return the plan that the run is held to, and who said yes to it.

        Raises:
            UsageError: An approval of another plan.
            ConfirmationMissing: It was not confirmed.
        """
        from swarmbook.machines.providers import costs_money

        phases = [PHASES[number] for number in self.numbers]
        costs = any(phase.orders for phase in phases) and costs_money(self.params)
        destroys = any(phase.removes or (phase.wipes and self.params.wipe_disks) for phase in phases)
        plan = self.plan
        if plan is None and (costs or destroys or self.approve):
            from swarmbook.phases.planner import make_plan

            plan = make_plan(self.params, self.numbers, cluster)
            approvals = approve(plan, yes=self.yes, digest=self.approve, err=self.as_json)
            return (plan if self.approve else plan.approved_part()), approvals
        return plan, approve(plan, yes=self.yes, digest=self.approve, err=self.as_json) if plan is not None else []

    def run(self) -> None:
        """Execute the notebooks, show what became of it, and end the program with the run's exit code."""
        from swarmbook.model.results import Chapter
        from swarmbook.phases.planner import notebook_file
        from swarmbook.runner.hooks import call, hooks_of

        cluster = Cluster(self.params.cluster, home())
        notebooks = {number: notebook_file(cluster.root, number) for number in self.numbers}
        _preflight(self.params, cluster, list(self.numbers))
        hooks = hooks_of(self.params, cluster.root)
        plan, approvals = self.approved(cluster)
        if (
            plan is not None
            and not plan.changes
            and all(PHASES[number].kind is Kind.TAKE_AWAY for number in self.numbers)
        ):
            say(f"Nothing to {'cancel' if '91' in self.numbers else 'destroy'}.")
            return
        words = (
            {step.phase: typed(change.word, [change]) for step, change in plan.changes if change.word}
            if plan is not None
            else {}
        )
        chapters = []
        for number, path in notebooks.items():
            before = self.parent is not None and number in self.parent.completed
            chapters.append(
                Chapter(
                    path,
                    {**self.params.model_dump(), "confirm": words.get(number, "")},
                    number,
                    PHASES[number].name,
                    before,
                )
            )
        result = self._execute(cluster, chapters, plan, approvals)
        if self.on_change and not _is_news(result):
            sys.exit(result.exit_code)
        self._show(cluster, result)
        for line in call(hooks, result, self.params.cluster, self.what, self.params.wait_timeout):
            say(line, err=True)
        sys.exit(result.exit_code)

    def _show(self, cluster: Cluster, result: RunResult) -> None:
        if self.as_json:
            say(json.dumps(result.to_json(), indent=2))
        elif self.quiet:
            say(result.line(self.params.cluster))
        elif result.exit_code == 0 and PHASES[self.numbers[-1]].serves and cluster.exists():
            from swarmbook.diagnosis.status import how_to_reach

            say("\nHow to reach it:\n" + how_to_reach(open_book(self.params)))

    def _execute(
        self, cluster: Cluster, chapters: list[Chapter], plan: Plan | None, approvals: list[Approval]
    ) -> RunResult:
        from swarmbook.machines.providers import rehearsed
        from swarmbook.record.evidence import Evidence
        from swarmbook.record.signing import Signing
        from swarmbook.record.stamp import new_folder
        from swarmbook.runner.console import Console
        from swarmbook.runner.run import run_chapters

        signing = Signing(cluster, self.signing_key)
        console = Console(io.StringIO() if self.quiet else sys.stderr if self.as_json else sys.stdout, quiet=self.quiet)
        with cluster.lock(self.what):
            folder = new_folder(cluster.root / "runs" / self.params.cluster)
            env = {
                **RunFolder(folder).environment(),
                "SWARMBOOK_HOME": str(cluster.root),
                **cluster.child_environment(),
            }
            resumes = f", resuming {self.parent.run} ({self.parent.status})" if self.parent else ""
            note = " ".join(filter(None, [_REHEARSAL if rehearsed(self.params) else "", _note_of_absence(self.params)]))
            if note:
                console.line(note)
            console.line(
                f"{self.what}: cluster {self.params.cluster}, {many(len(self.params.nodes), 'node')}, run {os.path.relpath(folder)}{resumes}"
            )
            if plan is not None and not plan.partial:
                console.line(f"held to the plan {plan.digest}: {summary(plan)}")
            return run_chapters(
                chapters,
                folder,
                env=env,
                console=console,
                cell_timeout_s=self.cell_timeout,
                cwd=cluster.root,
                cluster=cluster.folder,
                evidence=Evidence(folder, cluster, signing, self.parent, note),
                plan=plan,
                approvals=approvals,
                on_failure=_asks_why(self.params, folder, console),
                go_on=all(PHASES[number].verifies for number in self.numbers),
            )


def _is_news(result: RunResult) -> bool:
    from swarmbook.record.outcome import is_news

    return is_news(result.folder)


def _note_of_absence(params: Params) -> str:
    gone = ", ".join(params.without)
    return f"WITHOUT {gone}: what runs there, its data and its place in the swarm stay as they are" if gone else ""


def _asks_why(params: Params, folder: Path, console: Console) -> OnFailure:
    """Make the function that collects the nodes' logs into the run's folder after a chapter failed."""
    began = datetime.now(timezone.utc)

    def ask(record: ChapterRecord, stopped: Callable[[], bool]) -> list[str]:
        from swarmbook.diagnosis.logs import collect

        book = open_book(params)
        if not book.cluster.exists() or (record.error or {}).get("code") in _SAYS_IT_ALL:
            return []
        console.note(f"asking {', '.join(book.params.nodes)} why (at most 45 s)")
        found = collect(book, folder / "logs", phase=record.number, fresh=began, stopped=stopped)
        where = f"logs of {', '.join(node.node for node in found.nodes)}, {found.seconds:.1f} s: {os.path.relpath(found.folder)}/"
        lines = [f"  {line}" for line in found.lines]
        return (["the lines that matter:", *lines] if lines else ["no line in the logs stands out"]) + [where]

    return ask


def _preflight(params: Params, cluster: Cluster, numbers: list[str]) -> None:
    """Check what can be checked before anything runs, beyond the parameters themselves."""
    allow_open_files()
    known_secrets(params)
    if "07" in numbers:
        # Once the cluster is founded, no one reads them any more.
        initial_scripts(params.mariadb_init_scripts, look=not cluster.exists())
    shrinks = any(PHASES[number].shrinks for number in numbers)
    if cluster.exists() and PHASES[numbers[-1]].kind is not Kind.TAKE_AWAY and not shrinks:
        cluster.refuse_removal([*params.nodes, *params.without])
