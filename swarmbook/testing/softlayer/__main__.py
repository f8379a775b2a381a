"""Start a rehearsal by hand: ``python -m swarmbook.testing.softlayer``."""

from __future__ import annotations

import dataclasses
import threading

import click

from . import API_KEY, USERNAME, Cloud, Fault, MemoryMachines, Rehearsal
from .faults import KINDS


def _fault(text: str) -> Fault:
    """A fault as typed: ``KIND[,on=CALL or HOSTNAME][,times=N][,seconds=S]``."""
    kind, *rest = text.split(",")
    given = dict(part.split("=", 1) for part in rest if "=" in part)
    unknown = given.keys() - {field.name for field in dataclasses.fields(Fault)}
    if kind not in KINDS or unknown or len(given) != len(rest):
        raise click.BadParameter(f"{text!r}: wanted KIND[,on=NAME][,times=N][,seconds=S], where KIND is one of {', '.join(KINDS)}")
    return Fault(kind, given.get("on", "*"), int(given.get("times", 0)), float(given.get("seconds", 0)), given.get("text", ""))  # type: ignore[arg-type]


@click.command(epilog="Example: python -m swarmbook.testing.softlayer --fault quota,on=Product_Order::placeOrder,times=1")
@click.option("--port", default=0, show_default=True, help="Where to listen on 127.0.0.1; 0: whichever port is free.")
@click.option("--up", default=30.0, show_default=True, help="Seconds until an instance runs.")
@click.option("--fault", "faults", multiple=True, help="How to misbehave: KIND[,on=CALL or HOSTNAME][,times=N][,seconds=S].")
def main(port: int, up: float, faults: tuple[str, ...]) -> None:
    """Rehearse IBM Cloud Classic on this computer: nothing is rented. Ctrl-C ends it, and what it knew is gone."""
    with Rehearsal(Cloud(MemoryMachines(up, up / 3), faults=[_fault(text) for text in faults]), port) as rehearsal:
        click.echo(f"# REHEARSAL: for slcli -C FILE\n[softlayer]\nusername = {USERNAME}\napi_key = {API_KEY}\nendpoint_url = {rehearsal.xmlrpc}\ntimeout = 60")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("rehearsal ended", err=True)


if __name__ == "__main__":
    main()
