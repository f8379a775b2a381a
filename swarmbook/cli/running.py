"""Commands that run the book, plan it, or take away what it built."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swarmbook import __version__
from swarmbook.access.cluster import Cluster, home
from swarmbook.base.errors import SwarmbookError, UsageError
from swarmbook.base.words import subject
from swarmbook.cli.common import (
    can_leave_out,
    example,
    require_machines,
    say,
    with_03,
    with_json,
    with_named_cluster,
    with_parameters,
    without_option,
)
from swarmbook.cli.session import Session
from swarmbook.model.phases import PHASES, ROTATIONS, Kind, numbers_of, rotation_chapters
from swarmbook.model.plan import Plan, read_plan
from swarmbook.params import Params, differing, load_params, params_from_record
from swarmbook.params.without import left_out
from swarmbook.show.changes import plan_text

if TYPE_CHECKING:
    from swarmbook.record.resume import Parent

__all__ = ["cancel", "destroy", "plan", "prune", "rebuild", "run", "verify"]

BUILD = numbers_of(Kind.START, Kind.BUILD)  # 00 only when asked for by number
#: Those that only check.
_VERIFY = [phase.number for phase in PHASES.values() if phase.verifies]
#: Which notebooks a command runs; `run` by its options.
COMMANDS = {
    "run": [],
    "destroy": ["90"],
    "cancel": ["91"],
    "rebuild": ["90", *(number for number in PHASES["90"].takes_away if PHASES[number].kind is Kind.BUILD)],
    "rotate": rotation_chapters(ROTATIONS),
    "replace": ["23", *numbers_of(Kind.BUILD)],
    "restore": ["27", "07", "08"],
    "scale": ["21", *numbers_of(Kind.BUILD)],
}
#: It goes on from 03, with the packages that 02 has installed.
_REBUILT = {"undo_packages": "never"}

_phase = click.Choice(BUILD)
#: Which a run ends with where the parameters say so, and which may be run alone: the endpoint's, and what watches.
_ENDPOINT, _WATCH = "20", "24"
_first = click.option("--from", "first", type=_phase, help="First notebook.  [default: 01]")
_last = click.option(
    "--to",
    "last",
    type=_phase,
    help="Last notebook.  [default: 08, or 20 and 24 where with_endpoint and with_watch are true]",
)
#: Its application's, which runs when it is asked for by number.
_USE = "09"
#: And the drill's.
_DRILL = "30"
_only = click.option("--only", type=click.Choice([*BUILD, _USE, _ENDPOINT, _WATCH, _DRILL]), help="Only this notebook.")
signing_key_option = click.option(
    "--signing-key",
    metavar="KEY",
    help="SSH key that signs the run's record; with a .pub file, the SSH agent signs. Default: git's signing key, or else the cluster's.",
)


def approvals(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that replace a typed word."""
    approve = click.option(
        "--approve",
        metavar="DIGEST",
        help="Do not ask for confirmation: apply the plan with this digest (see swarmbook plan), and no other.",
    )
    return click.option("--yes", is_flag=True, help="Do not ask for confirmation.")(approve(command))


def with_services(numbers: Iterable[str], params: Params) -> list[str]:
    """Add the notebooks of the endpoint and of what watches to those of a run that goes to the end, where they are wanted."""
    return [*numbers, *([_ENDPOINT] if params.with_endpoint else []), *([_WATCH] if params.with_watch else [])]


def _numbers(params: Params, first: str | None, last: str | None, only: str | None) -> list[str]:
    if not last and not only:
        return with_services((n for n in BUILD if (first or "01") <= n), params)
    numbers = [only] if only else [n for n in BUILD if (first or "01") <= n <= (last or "08")]
    if not numbers:
        raise UsageError(
            "these options name no notebook", wanted=f"numbers among {' '.join(BUILD)}", next="swarmbook run --help"
        )
    return numbers


@click.command(epilog=example("swarmbook run params/lab.yaml --from 07"))
@click.argument("path", type=click.Path(dir_okay=False), metavar="[PARAMS]", required=False)
@_first
@_last
@_only
@without_option
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Apply this plan and nothing else.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Continue this run: verify what it completed, and do what is missing or has drifted.",
)
@approvals
@click.option(
    "--cell-timeout", type=click.IntRange(1), metavar="SECONDS", help="Stop a cell that takes longer than this."
)
@signing_key_option
@with_json
def run(
    path: str | None,
    first: str | None,
    last: str | None,
    only: str | None,
    without: tuple[str, ...],
    plan_file: Path | None,
    resume: Path | None,
    **options: Any,
) -> None:
    """Run the book: build a verified cluster from nothing, or continue from what exists.

    PARAMS may be left out with --resume or --plan where the run or the plan is vouched for: it contains the parameters.
    """
    params = load_params(path) if path else None
    if (plan_file or resume) and (first or last or only or without or (plan_file and resume)):
        raise UsageError(
            "--plan and --resume determine themselves what runs",
            wanted="one of --plan, --resume, or --from, --to, --only, --without",
            next="leave the others out",
        )
    parent, held = None, None
    if resume is not None:
        params, parent = _parent(resume, params)
        numbers = parent.left()
    elif plan_file is not None:
        params, held = _held(plan_file, params, bool(options["approve"]))
        numbers = list(held.notebooks)
    else:
        if params is None:
            raise UsageError(
                "no parameters",
                wanted="a parameter file, --plan FILE or --resume RUN",
                next="swarmbook run params/lab.yaml",
            )
        numbers = _numbers(params, first, last, only)
        if without:  # machines are taken as they are
            params = left_out(params, without)
            numbers = with_03(numbers, params)
        elif not (first or last or only) and Cluster(params.cluster).leaving(params.nodes):
            numbers = ["21", *numbers]
    Session(params, numbers, "run", parent=parent, plan=held, **options).run()


def _parent(folder: Path, params: Params | None) -> tuple[Params, Parent]:
    """Read the run that is resumed, and its parameters."""
    from swarmbook.record.resume import read_parent
    from swarmbook.record.trust import require_believed_run

    parent = read_parent(folder)
    kept = params_from_record(parent.parameters, f"the ledger of {folder}")
    _same(params, kept, "the run to resume", folder)
    believed = require_believed_run(folder, home(), parent.chapters, params.cluster if params else None)
    parent = read_parent(folder, believed)
    return params_from_record(parent.parameters, f"the ledger of {folder}"), parent


def _held(file: Path, params: Params | None, digest: bool) -> tuple[Params, Plan]:
    """Read the plan that is applied, and its parameters."""
    from swarmbook.phases.planner import notebook_hash
    from swarmbook.record.trust import require_believed_plan

    held = read_plan(file)
    kept = params_from_record(held.parameters, f"the plan {file}")
    _same(params, kept, "the plan", file)
    require_believed_plan(file, held, home(), given=params is not None, digest=digest)
    if held.swarmbook != __version__:
        raise UsageError(
            "the plan was made by another swarmbook",
            where=str(file),
            wanted=__version__,
            seen=held.swarmbook,
            next="swarmbook plan PARAMS --out FILE",
        )
    changed = [number for number, digest in held.notebooks.items() if notebook_hash(home(), number) != digest]
    if changed:
        raise UsageError(
            f"{subject(changed, 'was', 'were')} changed since the plan was made",
            where=str(file),
            wanted="the notebooks that were planned",
            next="swarmbook plan PARAMS --out FILE",
        )
    return kept, held


def _same(given: Params | None, kept: Params, whose: str, where: Path) -> None:
    """Refuse parameters that are given as well, and are not the same."""
    if given is None:
        return
    if given.cluster != kept.cluster:
        raise UsageError(
            f"{whose} is another cluster's",
            where=str(where),
            wanted=given.cluster,
            seen=kept.cluster,
            next="name one of this cluster",
        )
    if seen := differing(kept, given):
        raise UsageError(
            f"the parameters are not those of {whose}",
            where=str(where),
            wanted="the same parameters",
            seen=seen,
            next="swarmbook run PARAMS",
        )


@click.command(
    epilog=example("swarmbook plan params/lab.yaml --out plan.json && swarmbook run params/lab.yaml --plan plan.json")
)
@with_parameters
@can_leave_out
@_first
@_last
@_only
@click.option(
    "--for",
    "command",
    type=click.Choice(list(COMMANDS)),
    default="run",
    show_default=True,
    help="The command to plan.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the plan to this file, for run --plan.",
)
@click.option("--check", is_flag=True, help="Exit with code 1 if there is something to change.")
@signing_key_option
@with_json
def plan(
    params: Params,
    first: str | None,
    last: str | None,
    only: str | None,
    command: str,
    out: Path | None,
    check: bool,
    signing_key: str | None,
    as_json: bool,
) -> None:
    """Show what a run would do, phase by phase and host by host. Changes nothing.

    The plan's digest is the SHA-256 of its file (sha256sum FILE). Pass it to --approve.
    """
    from swarmbook.phases.planner import make_plan

    if command == "rotate" and not params.rotate:
        params = params.model_copy(update={"rotate": ["all"]})
    if command == "rebuild":
        params = params.model_copy(update=_REBUILT)
    numbers = COMMANDS[command] or _numbers(params, first, last, only)
    if command in ("rebuild", "replace", "scale"):
        numbers = with_services(numbers, params)
    made = make_plan(params, numbers, Cluster(params.cluster))
    if out is not None:
        made.save(out)
        _sign(out, Cluster(params.cluster), signing_key)
    say(made.canonical().decode() if as_json else plan_text(made), nl=not as_json)
    sys.exit(1 if check and (made.changes or any(step.unknown for step in made.steps)) else 0)


def _sign(file: Path, cluster: Cluster, key: str | None) -> None:
    """Sign the plan's file, where a key is there that can."""
    from swarmbook.record.signing import Signing, Unsigned
    from swarmbook.record.trust import SIGNATURE, sign_plan

    file.with_name(file.name + SIGNATURE).unlink(missing_ok=True)  # of the plan that was there
    signing = Signing(cluster, key)
    try:
        said = sign_plan(file, signing) if signing.at_hand() else "no key to sign with yet"
    except Unsigned as reason:
        said = f"unsigned: {reason}"
    say(f"{file}: {said}", err=True)


@click.command(epilog=example("swarmbook verify params/lab.yaml --quiet"))
@with_parameters
@can_leave_out
@click.option("-q", "--quiet", is_flag=True, help="Print exactly one line, for cron.")
@click.option(
    "--on-change",
    is_flag=True,
    help="Print that line, and call the hooks, only if something else is found than by the last verify.",
)
@signing_key_option
@with_json
def verify(params: Params, quiet: bool, on_change: bool, signing_key: str | None, as_json: bool) -> None:
    """Verify the cluster: run 05 and 08, the two notebooks that only check; 08 also where 05 fails."""
    quiet = quiet or (on_change and not as_json)
    try:
        Session(
            params, _VERIFY, "verify", as_json=as_json, quiet=quiet, signing_key=signing_key, on_change=on_change
        ).run()
    except SwarmbookError as error:
        if not quiet:
            raise
        say(f"{params.cluster}: not verified: {error.what}" + (f" ({error.where})" if error.where else ""))
        sys.exit(error.exit_code)


def _takes_away(command: Callable[..., Any]) -> Callable[..., Any]:
    return with_named_cluster(approvals(signing_key_option(with_json(command))))


@click.command(epilog=example("swarmbook destroy params/lab.yaml"))
@with_named_cluster
@can_leave_out
@approvals
@signing_key_option
@with_json
def destroy(params: Params, **options: Any) -> None:
    """Remove everything that was built, including the data; keep the machines (90)."""
    if not Cluster(params.cluster).exists():
        say("Nothing to destroy.")
        return
    Session(params, COMMANDS["destroy"], "destroy", **options).run()


@click.command(epilog=example("swarmbook cancel params/lab.yaml"))
@_takes_away
def cancel(params: Params, **options: Any) -> None:
    """Remove everything, including the machines with their disks, keys and network (91)."""
    Session(params, COMMANDS["cancel"], "cancel", **options).run()


@click.command(epilog=example("swarmbook rebuild params/lab.yaml --yes"))
@_takes_away
def rebuild(params: Params, **options: Any) -> None:
    """Destroy the cluster and rebuild it on the same machines (90, then 03 to 08)."""
    require_machines(params, "rebuild")
    Session(params.model_copy(update=_REBUILT), with_services(COMMANDS["rebuild"], params), "rebuild", **options).run()


@click.command(epilog=example("swarmbook prune"))
def prune() -> None:
    """Remove the images that swarmbook built here, and stop the Docker Engine if swarmbook started it."""
    from swarmbook.machines.host_engine import engine_there, stop_own_engine
    from swarmbook.machines.images import remove_images

    client = engine_there()
    removed = remove_images(client) if client else []
    say("\n".join(f"removed {name}" for name in removed) or "No images to remove.")
    if stop_own_engine():
        say("stopped the Docker Engine that swarmbook had started")
