"""Start a rehearsal whose instances are only counted: ``python -m swarmbook.testing.softlayer``."""

from __future__ import annotations

import threading

import click

from . import Cloud, Fault, MemoryMachines, Rehearsal


def _faults(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> list[Fault]:
    try:
        return [Fault.parse(text) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(epilog="Example: python -m swarmbook.testing.softlayer --fault quota,on=Product_Order::placeOrder,times=1")
@click.option("--port", default=0, show_default=True, help="Where to listen on 127.0.0.1; 0: whichever port is free.")
@click.option("--up", default=30.0, show_default=True, help="Seconds until an instance runs.")
@click.option("--fault", "faults", multiple=True, callback=_faults, help="How to misbehave: KIND[,on=CALL or HOSTNAME][,times=N][,seconds=S].")
def main(port: int, up: float, faults: list[Fault]) -> None:
    """Rehearse IBM Cloud Classic on this computer: nothing is rented. Ctrl-C ends it, and what it knew is gone."""
    with Rehearsal(Cloud(MemoryMachines(up, up / 3), faults=faults), port) as rehearsal:
        click.echo(rehearsal.slcli, nl=False)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            click.echo("rehearsal ended", err=True)


if __name__ == "__main__":
    main()
