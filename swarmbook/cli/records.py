"""Commands about the record of a run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmbook.access.cluster import home
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.words import typed
from swarmbook.cli.common import example, say, with_json

if TYPE_CHECKING:
    from swarmbook.record.audit import Report
    from swarmbook.record.succession import Succession

__all__ = ["audit", "diff", "report"]


@click.command(epilog=example("swarmbook report runs/lab/2026-11-23T15-53-17Z --out report.html"))
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--before",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run to compare with. Default: the last run of the same notebooks.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report to this file. A sealed run needs it: its folder must stay as it is.",
)
def report(run: Path, before: Path | None, out: Path | None) -> None:
    """Write a run's report.html again, and the index of its cluster's runs. The report is one file and loads nothing else."""
    from swarmbook.record.audit import audit as hold
    from swarmbook.record.index import write_index
    from swarmbook.record.manifest import FILE
    from swarmbook.record.misfit import UNVOUCHED
    from swarmbook.record.report import write_report
    from swarmbook.record.runs import STAMP

    signature = ""
    if (run / FILE).is_file():
        held = hold(run, home())
        signature = held.signature if held.exit_code in (0, UNVOUCHED) else f"does not fit: {held.finding}"
    try:
        say(os.path.relpath(write_report(run, before=before, out=out, signature=signature)))
        if STAMP.fullmatch(run.resolve().name):
            say(os.path.relpath(write_index(run.resolve().parent)))
    except OSError as error:
        raise WorldError(
            "the report could not be written", where=str(run), seen=error.strerror or str(error), next=f"df -h {run}"
        ) from error


@click.command(epilog=example("swarmbook audit runs/lab/2026-11-23T15-32-20Z --allowed-signers ~/.ssh/allowed_signers"))
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--allowed-signers",
    metavar="FILE",
    help="File of the keys whose signatures count. Default: git's gpg.ssh.allowedSignersFile and the cluster's own files.",
)
@click.option(
    "--cluster",
    metavar="NAME",
    help="The cluster whose run this has to be. Default: NAME of a folder runs/NAME/RUN; a copy elsewhere is of any.",
)
@click.option("--run", metavar="ID", help="The run that this has to be. Default: the folder's name.")
@click.option(
    "--remember",
    is_flag=True,
    help="Where no list knows the key that signed, let it count from now on. Compare it with the signer's first.",
)
@with_json
def audit(
    folder: Path, allowed_signers: str | None, cluster: str | None, run: str | None, remember: bool, as_json: bool
) -> None:
    """Check a run's folder against its record, offline, and report anything that was changed since.

    RUN is a run's folder, or runs/CLUSTER for all runs of a cluster, of which none may be missing.

    Exit codes: 0 unchanged, and an allowed signer vouches for it; 1 something does not fit; 2 this is no run; 3 there is no
    ssh-keygen; 4 all fits, and nothing vouches for it: it is unsigned, or no list knows its key.
    """
    from swarmbook.model.ledger import FILE
    from swarmbook.record.audit import audit as hold
    from swarmbook.record.misfit import UNVOUCHED
    from swarmbook.record.runs import runs_in
    from swarmbook.record.succession import audit_all
    from swarmbook.record.trust import remember_signer

    report: Report | Succession
    if not (folder / FILE).exists() and runs_in(folder):
        if run or remember:
            raise UsageError(
                "--run and --remember are about one run",
                where=str(folder),
                next=f"name one run: swarmbook audit {typed(folder)}/RUN",
            )
        report = audit_all(folder, home(), allowed_signers, cluster=cluster)
    else:
        report = hold(folder, home(), allowed_signers, cluster=cluster, run=run)
        if remember and report.exit_code == UNVOUCHED:
            remember_signer(folder, home(), cluster)
            report = hold(folder, home(), allowed_signers, cluster=cluster, run=run)
    say(json.dumps(report.to_json(), indent=2) if as_json else report.to_text())
    sys.exit(report.exit_code)


@click.command(epilog=example("swarmbook diff runs/lab/2026-11-23T15-32-20Z runs/lab/2026-11-24T15-30-02Z"))
@click.argument("before", type=click.Path(path_type=Path), metavar="A")
@click.argument("after", type=click.Path(path_type=Path), metavar="B")
@with_json
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Compare two runs, check by check and parameter by parameter. Exit code 1: they differ.

    Each check that differs is listed as changed, fixed, broke, new or gone; each parameter, as changed, new or gone.
    """
    from swarmbook.record.diff import compare_folders

    found = compare_folders(before, after)
    say(json.dumps(found.to_json(), indent=2) if as_json else found.to_text())
    sys.exit(found.exit_code)
