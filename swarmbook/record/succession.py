"""Auditing all runs of a cluster at once: each by itself, and that none is missing, added or out of its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.base.words import many
from swarmbook.model import ledger
from swarmbook.model.ledger import BrokenChain, Chain, read_chain
from swarmbook.record.audit import Report, audit
from swarmbook.record.journal import Journal
from swarmbook.record.links import names_run_before
from swarmbook.record.misfit import CHANGED, UNREAD, UNVOUCHED
from swarmbook.record.policy import policy_for
from swarmbook.record.runs import runs_in

__all__ = ["Succession", "audit_all"]


@dataclass(frozen=True)
class Succession:
    """What became of an audit of a cluster's folder of runs.

    Args:
        folder: The folder.
        reports: Of each run, in their order.
        findings: What does not fit between them; each with its code.
    """

    folder: str
    reports: tuple[Report, ...]
    findings: tuple[tuple[str, Code], ...] = ()

    @property
    def exit_code(self) -> int:
        """Return the worst of all: something does not fit, cannot be read, no ssh-keygen, nothing vouches."""
        codes = {report.exit_code for report in self.reports} | ({CHANGED} if self.findings else set())
        return next((code for code in (CHANGED, UNREAD, 3, UNVOUCHED) if code in codes), 0)

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        found = [{"finding": finding, "code": code.value} for finding, code in self.findings]
        runs = [report.to_json() for report in self.reports]
        return {
            "ok": not self.exit_code,
            "exit_code": self.exit_code,
            "folder": self.folder,
            "findings": found,
            "runs": runs,
        }

    def to_text(self) -> str:
        """Render the report for people."""
        head = {0: "all of them unchanged, and none missing", UNVOUCHED: "all fit; nothing vouches for some"}
        lines = [f"{self.folder}: {many(len(self.reports), 'run')}: {head.get(self.exit_code, 'not all fits')}"]
        for report in self.reports:
            state = f"{report.status}, {report.signature}" if report.exit_code == 0 else report.finding
            lines.append(f"  {'✔' if report.exit_code == 0 else '✘'} {Path(report.folder).name}  {state}")
            lines += [f"      note: {note}" for note in report.notes]
        return "\n".join(lines + [f"  ✘ {finding}" for finding, _ in self.findings])


def audit_all(folder: Path, root: Path, named: str | None = None, *, cluster: str | None = None) -> Succession:
    """Audit every run in a cluster's folder of runs, and their order.

    A run that was killed has no signature; the next run that is believed vouches for it, since it holds its head.

    Args:
        folder: ``runs/CLUSTER``.
        root: The book's folder.
        named: The allowed_signers file to use.
        cluster: Whose runs they have to be; by default the folder's name says it.

    Raises:
        UsageError: There are no runs in it, or the named list is not there.
    """
    runs = runs_in(folder)
    if not runs:
        raise UsageError(
            "neither a run's folder nor a cluster's folder of runs",
            where=str(folder),
            wanted="runs/CLUSTER/RUN, or runs/CLUSTER",
            next="ls runs",
            code=Code.RECORD_NOT_READ,
        )
    reports = [audit(run, root, named, cluster=cluster) for run in runs]
    chains = {run.name: _chain(run) for run in runs}
    for at, report in enumerate(reports):
        heirs = [r for r in reports[at + 1 :] if r.exit_code == 0 and _before(chains, r) == runs[at].name]
        if report.code == Code.RECORD_UNFINISHED and heirs and _grown(chains, runs[at].name, heirs[0]):
            finding = f"{report.finding}; lines were added to it since {Path(heirs[0].folder).name} began"
            reports[at] = replace(report, finding=finding)
        elif report.code == Code.RECORD_UNFINISHED and heirs:
            note = f"it was killed, and {Path(heirs[0].folder).name}, which is believed, holds its head"
            reports[at] = replace(report, exit_code=0, status="killed", signature="none", notes=(*report.notes, note))
    found = [*_out_of_place(list(chains), chains), *_one_key(reports)]
    policy = policy_for(runs[0], root, signers=named, cluster=cluster)
    if policy.in_place:
        found += [
            (f"{run} is missing: this computer recorded it", Code.RUN_BEFORE_MISSING)
            for run in Journal(root, policy.cluster).heads()
            if not (folder / run).is_dir()
        ]
    return Succession(str(folder), tuple(reports), tuple(found))


def _chain(run: Path) -> Chain | None:
    try:
        return read_chain((run / ledger.FILE).read_bytes())
    except (OSError, BrokenChain):
        return None


def _before(chains: Mapping[str, Chain | None], report: Report) -> str:
    chain = chains[Path(report.folder).name]
    return str((names_run_before(chain) or {}).get("run") or "") if chain is not None else ""


def _grown(chains: Mapping[str, Chain | None], name: str, heir: Report) -> bool:
    """Tell whether a ledger goes on behind the head that the run after it holds."""
    chain, after = chains[name], chains[Path(heir.folder).name]
    held = (names_run_before(after) or {}).get("head") if after is not None else None
    return chain is not None and chain.head != held


def _out_of_place(names: list[str], chains: Mapping[str, Chain | None]) -> list[tuple[str, Code]]:
    """List the runs that do not name the one that lies before them: one was added, or had its date changed."""
    found = []
    for before, name in zip([None, *names], names):
        chain = chains[name]
        if chain is None or "before" not in chain.run:  # damaged, which its own report says; or too old to say
            continue
        named = (names_run_before(chain) or {}).get("run")
        if named != before and not (named is not None and named not in chains):  # a missing one its own report names
            said = f"{name} says that {named or 'none'} was before it, and {before or 'none'} lies there"
            found.append((f"{said}: a run was added, or took another's place", Code.RUN_BEFORE_DIFFERS))
    return found


def _one_key(reports: list[Report]) -> list[tuple[str, Code]]:
    """Take the first key that signed for the right one, where no list says otherwise."""
    keys = [
        (report, report.signature.split()[2].rstrip(","))
        for report in reports
        if report.signature.startswith("signed by ")
    ]
    return [
        (
            f"{Path(report.folder).name} is signed by {key}, and the first signed run here by {keys[0][1]}",
            Code.RECORD_FOREIGN_KEY,
        )
        for report, key in keys
        if key != keys[0][1]
    ]
