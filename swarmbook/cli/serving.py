"""`endpoint` and `switch-writer`: the address that applications use, and who takes the writes behind it."""

from __future__ import annotations

import json

import click

from swarmbook.cli.common import example, open_book, require_machines, say, with_json, with_parameters
from swarmbook.params import Params

__all__ = ["endpoint", "switch_writer"]


@click.command(epilog=example("swarmbook endpoint params/lab.yaml --json"))
@with_parameters
@with_json
def endpoint(params: Params, as_json: bool) -> None:
    """Show where applications find the writer and the readers: host, port, user, database, CA and the password's file."""
    from swarmbook.diagnosis.endpoint import endpoint_lines
    from swarmbook.phases.endpoint.ways import ways

    require_machines(params, "endpoint")
    book = open_book(params)
    try:
        writer, found = ways(book)
    finally:
        book.close()
    if as_json:
        say(json.dumps({role: way.to_json() for role, way in found.items()}, indent=2))
    else:
        say("\n".join(endpoint_lines(writer, found)))


@click.command("switch-writer", epilog=example("swarmbook switch-writer params/lab.yaml sw2"))
@with_parameters
@click.argument("node")
@with_json
def switch_writer(params: Params, node: str, as_json: bool) -> None:
    """Make the member on NODE the writer: the present one lets commits that are under way end, and hands over.

    Its other transactions are rolled back, and its sessions ended: an application connects again, and runs what failed once more.
    """
    from swarmbook.phases.endpoint.switch import switch_writer as switch

    require_machines(params, "switch-writer")
    book = open_book(params)
    try:
        with book.cluster.lock("switch-writer"):
            done = switch(book, node)
    finally:
        book.close()
    if as_json:
        say(json.dumps({"before": done.before, "after": done.after, "seconds": round(done.seconds, 3)}))
    elif done.before == done.after:
        say(f"The member on {node} is the writer already.")
    else:
        say(f"The writer is on {done.after} now; it was on {done.before}. It took {done.seconds:.1f} s.")
