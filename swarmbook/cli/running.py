"""Commands that run the book, or take away what it built."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cluster import Cluster, home
from ..errors import ConfirmationMissing, OutOfOrder, UsageError
from ..params import PHASES, Params
from .common import example, known_secrets, open_book, with_json, with_parameters

if TYPE_CHECKING:
    from ..runbook.console import Console
    from ..runbook.failure import OnFailure
    from ..runbook.results import ChapterRecord

__all__ = ["cancel", "destroy", "prune", "rebuild", "run", "verify"]

BUILD = [number for number in PHASES if number < "20"]


def _run(
    params: Params, numbers: list[str], what: str, *, as_json: bool = False, confirm: str = "", cell_timeout: int | None = None, signing_key: str | None = None
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
        chapters.append(Chapter(path, {**params.model_dump(), "confirm": word}, number, PHASES[number]))
    cluster = Cluster(params.cluster, root)
    _preflight(params, cluster, numbers)
    signing = Signing(cluster, signing_key)
    console = Console(sys.stderr if as_json else sys.stdout)
    with cluster.lock(what):
        folder = new_folder(root / "runs" / params.cluster)
        env = {"SWARMBOOK_RUN_DIR": str(folder), "SWARMBOOK_HOME": str(root), **cluster.child_environment()}
        console.note(f"{what}: cluster {params.cluster}, {len(params.nodes)} nodes, run {os.path.relpath(folder)}")
        result = run_chapters(
            chapters,
            folder,
            env=env,
            console=console,
            cell_timeout_s=cell_timeout,
            cwd=root,
            cluster=cluster.folder,
            evidence=Evidence(folder, cluster, signing),
            on_failure=_asks_why(params, folder, console),
        )
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    elif result.exit_code == 0 and numbers[-1] in ("07", "08") and cluster.exists():
        from ..status import how_to_reach

        click.echo("\nHow to reach it:\n" + how_to_reach(open_book(params)))
    sys.exit(result.exit_code)


def _asks_why(params: Params, folder: Path, console: Console) -> OnFailure:
    """What collects the nodes' logs into the run's folder after a chapter failed."""
    began = datetime.now(timezone.utc)

    def ask(record: ChapterRecord, stopped: Callable[[], bool]) -> list[str]:
        from ..logs import collect

        book = open_book(params)
        if not book.cluster.exists():
            return []
        console.note(f"asking {', '.join(book.params.nodes)} why (at most 45 s)")
        found = collect(book, folder / "logs", phase=record.number, fresh=began, stopped=stopped)
        where = f"logs of {', '.join(node.node for node in found.nodes)}, {found.seconds:.1f} s: {os.path.relpath(found.folder)}/"
        told = [f"  {line}" for line in found.lines]
        return (["the lines that matter:", *told] if told else ["no line in the logs stands out"]) + [where]

    return ask


def _preflight(params: Params, cluster: Cluster, numbers: list[str]) -> None:
    """What can be told before anything runs, beyond the parameters themselves."""
    known_secrets(params)
    if params.mariadb_init_scripts and not Path(params.mariadb_init_scripts).expanduser().is_dir():
        raise UsageError(
            "the folder of initial scripts is not there",
            where=str(Path(params.mariadb_init_scripts).resolve()),
            next="mend mariadb_init_scripts in the parameters",
        )
    if cluster.exists() and numbers[-1] < "90":
        cluster.refuse_removal(params.nodes)


_phase = click.Choice(list(PHASES))


@click.command(epilog=example("swarmbook run params/lab.yaml --from 07"))
@with_parameters
@click.option("--from", "first", type=_phase, default="01", show_default=True, help="First notebook to run.")
@click.option("--to", "last", type=_phase, default="08", show_default=True, help="Last notebook to run.")
@click.option("--only", type=_phase, help="Run this one alone.")
@click.option("--cell-timeout", type=click.IntRange(1), metavar="SECONDS", help="End a cell that takes longer.")
@click.option("--signing-key", metavar="KEY", help="SSH key that signs the run's record; a .pub: by the agent. Default: git's, else the cluster's.")
@with_json
def run(params: Params, first: str, last: str, only: str | None, cell_timeout: int | None, signing_key: str | None, as_json: bool) -> None:
    """Run the book: from nothing to a verified cluster, or on from what is there."""
    numbers = [only] if only else [n for n in BUILD if first <= n <= last]
    if not numbers or any(n >= "90" for n in numbers):
        raise UsageError(
            f"--from {first} --to {last} names no notebook to run",
            wanted=f"numbers among {' '.join(BUILD)}",
            next="90 and 91 take away: swarmbook destroy PARAMS, swarmbook cancel PARAMS",
        )
    _run(params, numbers, "run", as_json=as_json, cell_timeout=cell_timeout, signing_key=signing_key)


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


_yes = click.option("--yes", is_flag=True, help="Do not ask.")


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
