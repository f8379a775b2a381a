"""`schedule`: `verify`, `backup` or `archive` at regular times, by systemd or cron."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from swarmbook.access.cluster import home
from swarmbook.access.ssh_config import ENVIRONMENT
from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_atomic
from swarmbook.cli.common import example, require_machines, say
from swarmbook.params import load_params
from swarmbook.show.schedule import COMMANDS, EVERY, Watch, cron_line, units

__all__ = ["schedule"]


@click.command(epilog=example("swarmbook schedule params/lab.yaml --every 15m --out ~/.config/systemd/user"))
@click.argument("path", type=click.Path(dir_okay=False), metavar="PARAMS")
@click.option("--what", type=click.Choice(list(COMMANDS)), default="verify", show_default=True, help="The command.")
@click.option(
    "--every",
    type=click.Choice(list(EVERY)),
    help=f"How often.  [default: {', '.join(f'{every} for {what}' for what, (_, every) in COMMANDS.items())}]",
)
@click.option("--cron", is_flag=True, help="Print a line for crontab instead.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the units there, such as ~/.config/systemd/user, instead of printing them.",
)
def schedule(path: str, what: str, every: str | None, cron: bool, out: Path | None) -> None:
    """Have something done regularly: print a systemd timer with its service, or a line for crontab. Installs nothing.

    verify --on-change reports a trouble once, on standard output and by the hooks on_finish and on_failure, and once more when
    it is another one or has gone. backup --verify takes a backup and restores it for a trial. archive brings what was committed
    since the last time into the archive, which is all that two of its calls may lose.
    """
    params = load_params(path)
    require_machines(params, what)
    lost = [name for name, value in params.model_dump().items() if str(value).startswith("env:")]
    if params.ssh_agent == ENVIRONMENT:
        lost.append("ssh_agent")
    if lost:
        raise UsageError(
            "a timer starts with no environment of yours, so what a parameter looks up there is missing",
            where=", ".join(lost),
            wanted="file:PATH; of an agent, the path of its socket",
            seen=", ".join(f"{name}: {getattr(params, name)}" for name in lost),
            next="write the value into a file of mode 0600, and name that; or name the socket",
        )
    watch = Watch(
        params.cluster,
        Path(path).absolute(),
        home().absolute(),
        Path(sys.argv[0]).absolute(),
        every or COMMANDS[what][1],
        what,
    )
    if cron:
        say(cron_line(watch))
        return
    made = units(watch)
    if out is None:
        say("\n".join(f"# {name}\n{text}" for name, text in made.items()), nl=False)
        return
    folder = out.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        write_atomic(folder / name, text)
        say(f"wrote {folder / name}")
    timer = next(name for name in made if name.endswith(".timer"))
    user = "" if folder.is_relative_to("/etc") else " --user"
    say(f"next: systemctl{user} daemon-reload && systemctl{user} enable --now {timer}")
