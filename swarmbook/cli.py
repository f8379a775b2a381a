"""The command line: thin over the library.

Exit codes: 0 fine, 1 a check failed, 2 what was asked for is wrong, 3 the world is not as expected, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from . import __version__
from .cluster import Cluster, home
from .errors import ConfirmationMissing, OutOfOrder, SwarmbookError, UsageError, WorldError
from .params import PHASES, Params, load_params

__all__ = ["main"]

_BUILD = [number for number in PHASES if number < "20"]


def _example(text: str) -> str:
    return f"\b\nExample:\n  {text}"


class _Group(click.Group):
    """Turns our errors into one message and their exit code; a traceback only for who asks for it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SwarmbookError as error:
            if os.environ.get("SWARMBOOK_DEBUG"):
                raise
            click.echo(f"{type(error).__name__}: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="swarmbook")
@click.option("--debug", is_flag=True, help="Show Python's tracebacks.")
def main(debug: bool) -> None:
    """From nothing to a MariaDB Galera cluster on a Docker Swarm with Consul, by notebooks that run headless too.

    Exit codes: 0 fine, 1 a check failed, 2 what was asked for is wrong, 3 the world is not as expected, 130 interrupted.
    """
    if debug:
        os.environ["SWARMBOOK_DEBUG"] = "1"


# -- running the book ------------------------------------------------------------------------------------------------


def _parameters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument PARAMS, read and checked before anything else."""

    @click.argument("params", type=click.Path(dir_okay=False), metavar="PARAMS")
    @wraps(command)
    def wrapped(params: str, **options: Any) -> Any:
        return command(params=load_params(params), **options)

    return wrapped


_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def _run(
    params: Params, numbers: list[str], what: str, *, as_json: bool = False, confirm: str = "", cell_timeout: int | None = None, signing_key: str | None = None
) -> None:
    from .runbook.console import Console
    from .runbook.evidence import Evidence
    from .runbook.run import Chapter, run_chapters
    from .runbook.signing import Signing
    from .runbook.stamp import new_folder

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
        )
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    elif result.exit_code == 0 and numbers[-1] in ("07", "08") and cluster.exists():
        from .status import how_to_reach

        click.echo("\nHow to reach it:\n" + how_to_reach(_book(params)))
    sys.exit(result.exit_code)


def _preflight(params: Params, cluster: Cluster, numbers: list[str]) -> None:
    """What can be told before anything runs, beyond the parameters themselves."""
    from . import secrets

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


def _book(params: Params) -> Any:
    from .book import Book

    return Book("", params)


_phase = click.Choice(list(PHASES))


@main.command(epilog=_example("swarmbook run params/lab.yaml --from 07"))
@_parameters
@click.option("--from", "first", type=_phase, default="01", show_default=True, help="First notebook to run.")
@click.option("--to", "last", type=_phase, default="08", show_default=True, help="Last notebook to run.")
@click.option("--only", type=_phase, help="Run this one alone.")
@click.option("--cell-timeout", type=click.IntRange(1), metavar="SECONDS", help="End a cell that takes longer.")
@click.option("--signing-key", metavar="KEY", help="SSH key that signs the run's record; a .pub: by the agent. Default: git's, else the cluster's.")
@_json
def run(params: Params, first: str, last: str, only: str | None, cell_timeout: int | None, signing_key: str | None, as_json: bool) -> None:
    """Run the book: from nothing to a verified cluster, or on from what is there."""
    numbers = [only] if only else [n for n in _BUILD if first <= n <= last]
    if not numbers or any(n >= "90" for n in numbers):
        raise UsageError(
            f"--from {first} --to {last} names no notebook to run",
            wanted=f"numbers among {' '.join(_BUILD)}",
            next="90 and 91 take away: swarmbook destroy PARAMS, swarmbook cancel PARAMS",
        )
    _run(params, numbers, "run", as_json=as_json, cell_timeout=cell_timeout, signing_key=signing_key)


@main.command(epilog=_example("swarmbook verify params/lab.yaml"))
@_parameters
@_json
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
    from . import destroy as destroying
    from . import provision
    from .book import Book

    book = Book(phase, params)
    try:
        return (destroying.doomed(book) if phase == "90" else provision.doomed(book)).table.rows
    finally:
        book.close()


@main.command(epilog=_example("swarmbook destroy params/lab.yaml"))
@_parameters
@_yes
@_json
def destroy(params: Params, yes: bool, as_json: bool) -> None:
    """Take away all that was built, data included; keep the machines (90)."""
    if Cluster(params.cluster).exists() and _confirm("DESTROY", _doomed(params, "90"), yes):
        _run(params, ["90"], "destroy", as_json=as_json, confirm="yes")
    click.echo("Nothing to destroy.")


@main.command(epilog=_example("swarmbook cancel params/lab.yaml"))
@_parameters
@_yes
@_json
def cancel(params: Params, yes: bool, as_json: bool) -> None:
    """Take the machines away too, with their disks, keys and network (91)."""
    if _confirm("CANCEL", _doomed(params, "91"), yes):
        _run(params, ["91"], "cancel", as_json=as_json, confirm="yes")
    click.echo("Nothing to cancel.")


@main.command(epilog=_example("swarmbook rebuild params/lab.yaml --yes"))
@_parameters
@_yes
@_json
def rebuild(params: Params, yes: bool, as_json: bool) -> None:
    """Destroy, and build again on the same machines (90, then 03 to 08)."""
    if not Cluster(params.cluster).exists():
        raise OutOfOrder("there is nothing to rebuild: no machines", where=params.cluster, next="swarmbook run PARAMS")
    _confirm("DESTROY", _doomed(params, "90"), yes)
    _run(params, ["90", *[n for n in _BUILD if n >= "03"]], "rebuild", as_json=as_json, confirm="yes")


@main.command(epilog=_example("swarmbook report runs/lab/2026-11-23T15-53-17Z --out report.html"))
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--before", type=click.Path(path_type=Path), metavar="RUN", help="Compare with this run; the last one of the same notebooks by default.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there; a sealed run's folder stays as it is.")
def report(run: Path, before: Path | None, out: Path | None) -> None:
    """Write a run's report.html anew, and the index over its cluster's runs. It loads nothing: one file says all."""
    from .runbook.record import STAMP
    from .runbook.report import write_index, write_report

    try:
        click.echo(os.path.relpath(write_report(run, before=before, out=out)))
        if STAMP.fullmatch(run.resolve().name):
            click.echo(os.path.relpath(write_index(run.resolve().parent)))
    except OSError as error:
        raise WorldError("the report could not be written", where=str(run), seen=error.strerror or str(error), next=f"df -h {run}") from error


# -- looking ---------------------------------------------------------------------------------------------------------


@main.command(epilog=_example("swarmbook status params/lab.yaml --json"))
@_parameters
@_json
def status(params: Params, as_json: bool) -> None:
    """Ask every node how it is, and say how to reach the cluster."""
    from .status import how_to_reach, status_table
    from .status import status as ask

    book = _book(params)
    if not book.cluster.exists():
        raise OutOfOrder(f"there is no cluster {params.cluster}", where=str(book.cluster.folder), next="swarmbook run PARAMS")
    rows = ask(book)
    table = status_table(rows)
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else f"{table.to_text()}\n\nHow to reach it:\n{how_to_reach(book)}")
    book.close()
    sys.exit(3 if not all(row.reachable for row in rows) else 0 if all(row.fine for row in rows) else 1)


def _cluster(name: str | None) -> Cluster:
    """The cluster by name, or the only one there is."""
    folder = home() / "clusters"
    names = sorted(p.parent.name for p in folder.glob("*/cluster.json"))
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        raise UsageError(
            "which cluster?" if names else "there is no cluster here",
            where=str(folder),
            wanted="--cluster with one of these" if names else None,
            seen=", ".join(names) or "none",
            next=f"swarmbook --help; for example: --cluster {names[0]}" if names else "swarmbook run PARAMS",
        )
    return Cluster(name)


_which = click.option("--cluster", metavar="NAME", help="Which cluster; the only one by default.")


def _node(cluster: Cluster, name: str) -> Any:
    for node in cluster.nodes:
        if node.name == name:
            return node
    raise UsageError(f"no node {name} in cluster {cluster.name}", where=str(cluster.file), wanted=", ".join(n.name for n in cluster.nodes), next="swarmbook ls")


@main.command(epilog=_example("swarmbook ls"))
@_which
@_json
def ls(cluster: str | None, as_json: bool) -> None:
    """List the nodes and where each is reached."""
    from .checks import Table

    nodes = _cluster(cluster).nodes
    ports = sorted({port for node in nodes for port in node.ports})
    table = Table(
        ["node", "id", "private", "ssh", *(f"port {port}" for port in ports)],
        [[n.name, n.id, n.private_address, n.ssh, *(n.reach(p) for p in ports)] for n in nodes],
    )
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@main.command(context_settings={"ignore_unknown_options": True}, epilog=_example("swarmbook ssh sw1 docker ps"))
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_which
def ssh(node: str, command: tuple[str, ...], cluster: str | None) -> None:
    """Log in to a node, or run a command there."""
    found = _cluster(cluster)
    _exec(["ssh", "-F", str(found.ssh_config), _node(found, node).name, *command])


@main.command(context_settings={"ignore_unknown_options": True}, epilog=_example("swarmbook scp sw1:/etc/docker/daemon.json ."))
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
@_which
def scp(arguments: tuple[str, ...], cluster: str | None) -> None:
    """Copy files from or to a node, named as NODE:PATH."""
    _exec(["scp", "-F", str(_cluster(cluster).ssh_config), *arguments])


def _exec(command: list[str]) -> None:
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        raise UsageError(f"{command[0]} is not installed here", next="install OpenSSH's client") from None


@main.command(epilog=_example('eval "$(swarmbook env sw1)" && docker node ls'))
@click.argument("node")
@_which
@click.option("--unset", is_flag=True, help="Print what takes it back.")
def env(node: str, cluster: str | None, unset: bool) -> None:
    """Print what makes the docker command talk to a node, over mutual TLS."""
    from .files import write_atomic, write_private

    if unset:
        click.echo("unset DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH")
        return
    found = _cluster(cluster)
    end = _node(found, node).reach(2376)
    pki, folder = found.folder / "pki", found.folder / "docker"
    if not (pki / "client.pem").exists():
        raise OutOfOrder("run 03 first: the engines' API is not set up", where=str(pki), next="swarmbook run PARAMS --from 03")
    # The names that the docker command looks for.
    write_atomic(folder / "ca.pem", (pki / "ca.pem").read_bytes())
    write_atomic(folder / "cert.pem", (pki / "client.pem").read_bytes())
    write_private(folder / "key.pem", (pki / "client.key").read_bytes())
    click.echo(f"export DOCKER_HOST=tcp://{end}\nexport DOCKER_TLS_VERIFY=1\nexport DOCKER_CERT_PATH='{folder}'")
    click.echo(f'# eval "$(swarmbook env {node})"')


@main.command(epilog=_example("swarmbook audit runs/lab/2026-11-23T15-32-20Z --allowed-signers ~/.ssh/allowed_signers"))
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--allowed-signers", metavar="FILE", help="Whose signature counts. Default: git's gpg.ssh.allowedSignersFile and the cluster's own.")
@_json
def audit(folder: Path, allowed_signers: str | None, as_json: bool) -> None:
    """Hold a run's folder against its own record, offline: was anything changed since?"""
    from .runbook.audit import audit as hold

    report = hold(folder, home(), allowed_signers)
    click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.to_text())
    sys.exit(report.exit_code)


@main.command(epilog=_example("swarmbook diff runs/lab/2026-11-23T15-32-20Z runs/lab/2026-11-24T15-30-02Z"))
@click.argument("before", type=click.Path(path_type=Path), metavar="A")
@click.argument("after", type=click.Path(path_type=Path), metavar="B")
@_json
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Compare two runs, check by check and parameter by parameter. Exit code 1: something differs."""
    from .runbook.diff import compare

    found = compare(before, after)
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else found.to_text())
    sys.exit(found.exit_code)


@main.command("params", epilog=_example("swarmbook params --json"))
@_json
def show_params(as_json: bool) -> None:
    """List every parameter: type, default, the notebooks that use it, meaning."""
    from .checks import Table
    from .params import phase_params

    rows = [
        [name, type(field.default).__name__, json.dumps(field.default), " ".join(n for n in PHASES if name in phase_params(n)), field.description]
        for name, field in Params.model_fields.items()
    ]
    table = Table(["name", "type", "default", "notebooks", "meaning"], rows)
    click.echo(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@main.command(epilog=_example("swarmbook prune"))
def prune() -> None:
    """Remove the images that were built here, and stop the engine if this started it."""
    from .docker_api import local_engine
    from .host_engine import stop_own_engine
    from .images import remove_images

    client = local_engine()
    removed = remove_images(client) if client else []
    click.echo("\n".join(f"removed {name}" for name in removed) or "No images to remove.")
    if stop_own_engine():
        click.echo("stopped the Docker Engine that swarmbook had started")
