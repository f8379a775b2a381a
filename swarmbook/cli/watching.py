"""`metrics`, `alerts`, `prometheus`, `dashboard`: how a cluster is, as numbers, and what should wake a person."""

from __future__ import annotations

import json
import sys
import time
from importlib.resources import files

import click

from swarmbook.cli.common import example, open_book, require_machines, say, with_json, with_parameters
from swarmbook.params import Params

__all__ = ["alerts", "dashboard", "metrics", "prometheus"]


@click.command(epilog=example("swarmbook metrics params/lab.yaml > /var/lib/prometheus/node-exporter/swarmbook.prom"))
@with_parameters
@with_json
def metrics(params: Params, as_json: bool) -> None:
    """Print the state of the cluster as Prometheus reads it: nodes, managers, members, the writer, when certificates end.

    Asks the nodes through SSH, and needs no Prometheus. A node that does not answer is a number, too: swarmbook_node_up is 0.
    """
    from swarmbook.diagnosis.metrics import exposition, metrics_of

    require_machines(params, "look at")
    book = open_book(params)
    try:
        found = metrics_of(book)
    finally:
        book.close()
    if as_json:
        say(json.dumps([metric.to_json() for metric in found], indent=2))
    else:
        say(exposition(found, params.cluster), nl=False)


@click.command(epilog=example("swarmbook alerts params/lab.yaml || mail -s 'lab needs you' you@example.com"))
@with_parameters
@with_json
def alerts(params: Params, as_json: bool) -> None:
    """Show which alerts fire now, each with what is wrong and the next command. Needs notebook 24.

    Exit code 1: at least one fires.
    """
    from dataclasses import asdict

    from swarmbook.phases.watch.api import prometheus as reached

    require_machines(params, "watch")
    book = open_book(params)
    try:
        with reached(book) as asked:
            found = [alert for alert in asked.alerts() if alert.state == "firing"]
    finally:
        book.close()
    if as_json:
        say(json.dumps([asdict(alert) for alert in found], indent=2))
    else:
        say("\n".join(f"{a.severity}: {a.name}: {a.what} Next: {a.next}" for a in found) or "No alert fires.")
    sys.exit(1 if found else 0)


@click.command(epilog=example("swarmbook prometheus params/lab.yaml"))
@with_parameters
def prometheus(params: Params) -> None:
    """Bring Prometheus's page to a port of this computer's loopback, through SSH, until it is interrupted. Needs notebook 24."""
    from swarmbook.phases.watch.api import PORT, whereabouts

    require_machines(params, "watch")
    book = open_book(params)
    try:
        node, address = whereabouts(book)
        with book.fleet[node].forward(address, PORT) as port:
            say(f"Prometheus, on {node}, answers here: http://127.0.0.1:{port}/alerts")
            say("Ctrl-C ends it")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                say("ended", err=True)
    finally:
        book.close()


@click.command(epilog=example("swarmbook dashboard > swarmbook.json"))
def dashboard() -> None:
    """Print a dashboard for Grafana, to be imported there. Grafana itself is not part of the book."""
    say(files("swarmbook.phases.watch").joinpath("dashboard.json").read_text("utf-8"), nl=False)
