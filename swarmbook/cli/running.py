"""Commands that run the book, or take away what it built."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cluster import Cluster, home
from ..errors import ConfirmationMissing, OutOfOrder, UsageError
from ..params import PHASES, Params, differing, load_params, params_from_record
from .common import example, open_book, with_json, with_parameters

if TYPE_CHECKING:
    from ..runbook.resume import Parent

__all__ = ["cancel", "destroy", "prune", "rebuild", "run", "verify"]

BUILD = [number for number in PHASES if number < "20"]


def _run(
    params: Params,
    numbers: list[str],
    what: str,
    *,
    as_json: bool = False,
    confirm: str = "",
    cell_timeout: int | None = None,
    signing_key: str | None = None,
    parent: Parent | None = None,
) -> None:
    from ..runbook.console import Console
    from ..runbook.evidence import Evidence
    from ..runbook.results import Chapter
    from ..runbook.run import run_chapters
    from ..runbook.signing import Signing
    from ..runbook.stamp import new_folder

    root = home()
    notebooks = root / "notebooks"
    chapters = []
    for number in numbers:
        path = notebooks / f"{number}_{PHASES[number]}.ipynb"
        if not path.exists():
            raise UsageError("a notebook is not there", where=str(path), next="run from the folder of the book, or name it: export SWARMBOOK_HOME=FOLDER")
        word = {"90": "DESTROY", "91": "CANCEL"}.get(number, "") if confirm else ""
        before = parent is not None and number in parent.completed
        chapters.append(Chapter(path, {**params.model_dump(), "confirm": word}, number, PHASES[number], before))
    cluster = Cluster(params.cluster, root)
    _preflight(params, cluster, numbers)
    signing = Signing(cluster, signing_key)
    console = Console(sys.stderr if as_json else sys.stdout)
    with cluster.lock(what):
        folder = new_folder(root / "runs" / params.cluster)
        env = {"SWARMBOOK_RUN_DIR": str(folder), "SWARMBOOK_HOME": str(root), **cluster.child_environment()}
        resumes = f", resuming {parent.run} ({parent.status})" if parent else ""
        console.note(f"{what}: cluster {params.cluster}, {len(params.nodes)} nodes, run {os.path.relpath(folder)}{resumes}")
        result = run_chapters(
            chapters,
            folder,
            env=env,
            console=console,
            cell_timeout_s=cell_timeout,
            cwd=root,
            cluster=cluster.folder,
            evidence=Evidence(folder, cluster, signing, parent),
        )
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    elif result.exit_code == 0 and numbers[-1] in ("07", "08") and cluster.exists():
        from ..status import how_to_reach

        click.echo("\nHow to reach it:\n" + how_to_reach(open_book(params)))
    sys.exit(result.exit_code)


def _preflight(params: Params, cluster: Cluster, numbers: list[str]) -> None:
    """What can be told before anything runs, beyond the parameters themselves."""
    from .. import secrets

    for name in ("consul_gossip_key", "consul_management_token", "mariadb_password", "mariadb_root_password"):
        reference = getattr(params, name)
        if reference != "generate":
            secrets.resolve(name, reference, cluster.folder / "secrets")
    if params.mariadb_init_scripts and not Path(params.mariadb_init_scripts).expanduser().is_dir():
        raise UsageError(
            "the folder of initial scripts is not there",
            where=str(Path(params.mariadb_init_scripts).resolve()),
            next="mend mariadb_init_scripts in the parameters",
        )
    if cluster.exists() and numbers[-1] < "90":
        cluster.refuse_removal(params.nodes)


_phase = click.Choice(list(PHASES))
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command(epilog=example("swarmbook run params/lab.yaml --from 07"))
@click.argument("path", type=click.Path(dir_okay=False), metavar="[PARAMS]", required=False)
@click.option("--from", "first", type=_phase, help="First notebook to run.  [default: 01]")
@click.option("--to", "last", type=_phase, help="Last notebook to run.  [default: 08]")
@click.option("--only", type=_phase, help="Run this one alone.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on from this run: prove what it completed, do what is missing or drifted.")
@click.option("--cell-timeout", type=click.IntRange(1), metavar="SECONDS", help="End a cell that takes longer.")
@click.option("--signing-key", metavar="KEY", help="SSH key that signs the run's record; a .pub: by the agent. Default: git's, else the cluster's.")
@_yes
@with_json
def run(
    path: str | None,
    first: str | None,
    last: str | None,
    only: str | None,
    resume: Path | None,
    cell_timeout: int | None,
    signing_key: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Run the book: from nothing to a verified cluster, or on from what is there.

    PARAMS may be left out with --resume: the run that is resumed has kept its parameters.
    """
    params = load_params(path) if path else None
    parent = None
    if resume is not None:
        if first or last or only:
            raise UsageError("--resume runs what the earlier run was to run", seen="--from, --to or --only beside it", next="leave one of them out")
        params, parent = _parent(resume, params)
        numbers = parent.left()
    else:
        if params is None:
            raise UsageError("no parameters", wanted="a parameter file, or --resume RUN", next="swarmbook run params/lab.yaml")
        numbers = [only] if only else [n for n in BUILD if (first or "01") <= n <= (last or "08")]
        if not numbers or any(n >= "90" for n in numbers):
            raise UsageError(
                "these options name no notebook to run",
                wanted=f"numbers among {' '.join(BUILD)}",
                next="90 and 91 take away: swarmbook destroy PARAMS, swarmbook cancel PARAMS",
            )
    for number, word in (("90", "DESTROY"), ("91", "CANCEL")):
        if number in numbers:
            _confirm(word, _doomed(params, number), yes)
    _run(params, numbers, "run", as_json=as_json, confirm="yes", cell_timeout=cell_timeout, signing_key=signing_key, parent=parent)


def _parent(folder: Path, params: Params | None) -> tuple[Params, Parent]:
    """The run that is resumed, and its parameters; those that are given must be the same."""
    from ..runbook.resume import read_parent

    parent = read_parent(folder)
    kept = params_from_record(parent.parameters, f"the ledger of {folder}")
    if params is not None and params.cluster != parent.cluster:
        raise UsageError("the run to resume is another cluster's", where=str(folder), wanted=params.cluster, seen=parent.cluster, next="name a run of this one")
    if params is not None and (seen := differing(kept, params)):
        raise UsageError(
            "the parameters are not those of the run to resume",
            where=str(folder),
            wanted="the same parameters; what was completed with others cannot be proven with these",
            seen=seen,
            next="swarmbook run PARAMS, without --resume",
        )
    return kept, parent


@click.command(epilog=example("swarmbook verify params/lab.yaml"))
@with_parameters
@with_json
def verify(params: Params, as_json: bool) -> None:
    """Run the two notebooks that only look: 05 and 08."""
    _run(params, ["05", "08"], "verify", as_json=as_json)


def _confirm(word: str, doomed: list[list[str]], yes: bool) -> bool:
    """Name what will go, and ask for the word. Returns whether there is anything to do."""
    if not doomed:
        return False
    click.echo("This will be removed, for good:")
    for row in doomed:
        click.echo("  " + ": ".join(row))
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfirmationMissing(
            "not confirmed; nothing was touched", wanted=f"the word {word} typed on a terminal, or --yes", next="the same command with --yes"
        )
    if click.prompt(f"Type {word} to go on", default="", show_default=False).strip() != word:
        raise ConfirmationMissing("not confirmed; nothing was touched", wanted=word, next="run it again and type the word")
    return True


def _doomed(params: Params, phase: str) -> list[list[str]]:
    from .. import destroy as destroying
    from .. import provision
    from ..book import Book

    book = Book(phase, params)
    try:
        return (destroying.doomed(book) if phase == "90" else provision.doomed(book)).table.rows
    finally:
        book.close()


@click.command(epilog=example("swarmbook destroy params/lab.yaml"))
@with_parameters
@_yes
@with_json
def destroy(params: Params, yes: bool, as_json: bool) -> None:
    """Take away all that was built, data included; keep the machines (90)."""
    if Cluster(params.cluster).exists() and _confirm("DESTROY", _doomed(params, "90"), yes):
        _run(params, ["90"], "destroy", as_json=as_json, confirm="yes")
    click.echo("Nothing to destroy.")


@click.command(epilog=example("swarmbook cancel params/lab.yaml"))
@with_parameters
@_yes
@with_json
def cancel(params: Params, yes: bool, as_json: bool) -> None:
    """Take the machines away too, with their disks, keys and network (91)."""
    if _confirm("CANCEL", _doomed(params, "91"), yes):
        _run(params, ["91"], "cancel", as_json=as_json, confirm="yes")
    click.echo("Nothing to cancel.")


@click.command(epilog=example("swarmbook rebuild params/lab.yaml --yes"))
@with_parameters
@_yes
@with_json
def rebuild(params: Params, yes: bool, as_json: bool) -> None:
    """Destroy, and build again on the same machines (90, then 03 to 08)."""
    if not Cluster(params.cluster).exists():
        raise OutOfOrder("there is nothing to rebuild: no machines", where=params.cluster, next="swarmbook run PARAMS")
    _confirm("DESTROY", _doomed(params, "90"), yes)
    _run(params, ["90", *[n for n in BUILD if n >= "03"]], "rebuild", as_json=as_json, confirm="yes")


@click.command(epilog=example("swarmbook prune"))
def prune() -> None:
    """Remove the images that were built here, and stop the engine if this started it."""
    from ..docker_api import local_engine
    from ..host_engine import stop_own_engine
    from ..images import remove_images

    client = local_engine()
    removed = remove_images(client) if client else []
    click.echo("\n".join(f"removed {name}" for name in removed) or "No images to remove.")
    if stop_own_engine():
        click.echo("stopped the Docker Engine that swarmbook had started")
