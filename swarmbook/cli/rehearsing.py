"""Commands that stand in for machines: rented ones, and hosts you own."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarmbook.access.cluster import home
from swarmbook.base.errors import ForeignData, UsageError
from swarmbook.base.words import typed
from swarmbook.cli.common import example, say, with_parameters
from swarmbook.params import Params, load_params

if TYPE_CHECKING:
    from swarmbook.machines.rehearsal import Fault

__all__ = ["lab_hosts", "rehearse_command"]

_HEAD = "# REHEARSAL of "


def _faults(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[Fault]:
    from swarmbook.machines.rehearsal import Fault

    try:
        return [Fault.parse(text) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("rehearse", epilog=example("swarmbook rehearse params/softlayer.yaml"))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), metavar="[PARAMS]", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File to write.  [default: the name of PARAMS, ending in .rehearsal.yaml]",
)
@click.option(
    "--up",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Minimum seconds until an instance runs.  [default: 20]",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    callback=_faults,
    metavar="FAULT",
    help="Inject a fault: KIND[,on=CALL or HOSTNAME][,times=N][,seconds=S].",
)
@click.option("--behave", is_flag=True, help="Clear all injected faults.")
@click.option("--serve", is_flag=True, help="Serve the rehearsed account to slcli until Ctrl-C, and show each call.")
@click.option("--port", default=0, show_default=True, help="Port to listen on, on 127.0.0.1; 0: any free port.")
def rehearse_command(
    path: Path | None, out: Path | None, up: float | None, faults: list[Fault], behave: bool, serve: bool, port: int
) -> None:
    """Rehearse a run on rented machines: same parameters, but on lab machines; nothing is rented, nothing is charged.

    Writes a parameter file that differs from PARAMS only in `cluster` and `sl_endpoint`; every command accepts it. The account is
    made up and kept in rehearsal/; `swarmbook cancel` empties it again. None of your keys is sent anywhere.
    """
    from swarmbook.machines.rehearsal.service import set_up

    if path is None and not (faults or behave or serve or up is not None):
        raise UsageError(
            "nothing to rehearse",
            wanted="parameters, --serve, or a fault to inject",
            next="swarmbook rehearse params/softlayer.yaml",
        )
    if path is not None:
        params = load_params(path)
        written = out or path.with_name(f"{path.stem}.rehearsal.yaml")
        _write(path, written, params)
        say(
            f"{written}: {path}, but cluster {params.cluster}-rehearsal, sl_endpoint rehearsal\nnext: swarmbook run {written}"
        )
    if faults or behave or up is not None:
        up_s, injected = set_up(home(), up_s=up, faults=faults, behave=behave)
        say(
            f"an instance takes {up_s:g} s at least; {'injected faults: ' + '; '.join(injected) if injected else 'no faults are injected'}"
        )
    if serve:
        _serve(port)


def _write(path: Path, out: Path, params: Params) -> None:
    if params.provider != "softlayer":
        raise UsageError(
            "only rented machines can be rehearsed",
            where=str(path),
            wanted="provider: softlayer",
            seen=f"provider: {params.provider}",
            next=f"this one costs nothing: swarmbook run {typed(path)}"
            if params.provider == "lab"
            else "name another file, such as params/softlayer.yaml",
        )
    if out.exists() and not out.read_text(encoding="utf-8").startswith(_HEAD):
        raise ForeignData("the file exists, and no rehearsal wrote it", where=str(out), next="name another: --out FILE")
    kept = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if not re.match(r"(sl_endpoint|cluster)\s*:", line)
    ]
    head = [
        f"{_HEAD}{path.name}: the same run on lab machines on this computer. It rents nothing, and nothing is charged.",
        f"# Written by: swarmbook rehearse {path.name}. What follows is that file, except for these two lines.",
        f"cluster: {params.cluster}-rehearsal",
        "sl_endpoint: rehearsal",
        "",
    ]
    out.write_text("\n".join([*head, *kept]) + "\n", encoding="utf-8")
    load_params(out)


def _serve(port: int) -> None:
    from swarmbook.machines.rehearsal.door import shown_to_slcli
    from swarmbook.machines.rehearsal.service import rehearse

    service = rehearse(home(), str(Params().lab_base_image), port)
    service.cloud.watch = lambda call: say(f"{call.name}{f' {call.id}' if call.id is not None else ''}", err=True)
    with service, shown_to_slcli(home(), service.xmlrpc, service.key) as file:
        say(f"# REHEARSAL: only you can read the settings; for example:\nslcli -C {file} vs list")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("rehearsal ended; its account and its machines stay", err=True)


@click.command(
    "lab-hosts", epilog=example("swarmbook lab-hosts params/generic.yaml && swarmbook run params/generic.yaml")
)
@with_parameters
@click.option("--down", is_flag=True, help="Remove these machines instead.")
def lab_hosts(params: Params, down: bool) -> None:
    """Create lab machines that stand in for the hosts of PARAMS (provider: generic); only SSH reaches them.

    Every host in PARAMS must be at 127.0.0.1, on a port of its own. If the file ssh_key_file does not exist, a key is generated.
    """
    from swarmbook.machines.lab.hosts import stand_up, take_down

    lines = take_down(params, home()) if down else stand_up(params, home())
    say("\n".join(lines) or ("nothing to remove" if down else "they exist already"))
