"""Commands that show a cluster, and lead to its nodes."""

from __future__ import annotations

import difflib
import json
import os
import sys
from pathlib import Path

import click

from swarmbook.access.cluster import Cluster, home
from swarmbook.access.node import Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.cli.common import example, known_secrets, open_book, require_machines, say, with_json, with_parameters
from swarmbook.model.phases import PHASES
from swarmbook.params import Params

__all__ = ["explain", "logs", "ls", "scp", "show_params", "ssh", "status"]


@click.command(epilog=example("swarmbook status params/lab.yaml --json"))
@with_parameters
@with_json
def status(params: Params, as_json: bool) -> None:
    """Show the state of every node, and how to reach the cluster."""
    from swarmbook.diagnosis.status import how_to_reach, status_table
    from swarmbook.diagnosis.status import status as ask
    from swarmbook.phases import certificates

    require_machines(params, "look at")
    book = open_book(params)
    rows = ask(book)
    table = status_table(rows)
    say(
        json.dumps(table.to_json(), indent=2)
        if as_json
        else f"{table.to_text()}\n\nCertificates end in: {certificates.summary(book.cluster)}\n"
        f"\nHow to reach it:\n{how_to_reach(book)}"
    )
    book.close()
    sys.exit(3 if not all(row.reachable for row in rows) else 0 if all(row.fine for row in rows) else 1)


@click.command(epilog=example("swarmbook logs params/lab.yaml sw2 --since 2h"))
@with_parameters
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Folder to write to. Default: logs/CLUSTER/STAMP in the book's folder.",
)
@click.option(
    "--since",
    metavar="WHEN",
    help="Only logs from this time on: an age (30m, 2h, 1d) or a time (2026-11-25T02:57:37Z). Default: the last 400 lines of each log.",
)
@with_json
def logs(params: Params, nodes: tuple[str, ...], out: Path | None, since: str | None, as_json: bool) -> None:
    """Collect logs from all nodes at once: engine, swarm, Consul, members, disk, memory, network. Changes nothing on them.

    Name a NODE to collect from it alone. Writes NODE.txt for each node, with secrets masked, and prints the lines that matter. Exit code 3: a node did not answer.
    """
    from swarmbook.diagnosis.logs import collect, parse_since
    from swarmbook.record.stamp import new_folder

    moment = parse_since(since) if since else None
    require_machines(params, "look at")
    book = open_book(params)
    known_secrets(params)
    try:
        folder = out.absolute() if out else new_folder(home() / "logs" / params.cluster)
        found = collect(book, folder, names=nodes, since=moment, fresh=moment)
    except OSError as error:
        raise WorldError(
            "the logs could not be written",
            where=str(error.filename),
            seen=error.strerror or str(error),
            next="--out FOLDER",
        ) from None
    if as_json:
        say(json.dumps(found.to_json(), indent=2))
    else:
        for node in found.nodes:
            say(
                f"{os.path.relpath(node.file)}  {node.size // 1024 + 1} KiB"
                + (f"  {node.trouble}" if node.trouble else "")
            )
        say(
            "\n".join(
                ["\nThe lines that matter:", *(f"  {line}" for line in found.lines)]
                if found.lines
                else ["\nNo line stands out."]
            )
        )
    sys.exit(0 if all(node.answered for node in found.nodes) else 3)


def the_cluster(name: str | None) -> Cluster:
    """Open the cluster by name, or the only one there is."""
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
            code=Code.USAGE if names else Code.CLUSTER_NOT_THERE,
        )
    return Cluster(name)


which_cluster = click.option("--cluster", metavar="NAME", help="Name of the cluster. Needed only if there are several.")


def one_node(cluster: Cluster, name: str) -> Node:
    """Return a node of a cluster by name."""
    for node in cluster.nodes:
        if node.name == name:
            return node
    raise UsageError(
        f"no node {name} in cluster {cluster.name}",
        where=str(cluster.file),
        wanted=", ".join(n.name for n in cluster.nodes),
        next="swarmbook ls",
        code=Code.NODE_UNKNOWN,
    )


@click.command(epilog=example("swarmbook ls sw1 8501"))
@click.argument("node", required=False)
@click.argument("port", type=click.IntRange(1, 65535), required=False)
@which_cluster
@with_json
def ls(node: str | None, port: int | None, cluster: str | None, as_json: bool) -> None:
    """List the nodes and their addresses; with NODE and PORT, print that port's address as HOST:PORT."""
    from swarmbook.model.checks import Table

    if node is not None:
        if port is None:
            raise UsageError("which port?", wanted="a node and a port", next=f"swarmbook ls {node} 8501")
        found = the_cluster(cluster)
        to = one_node(found, node)
        if to.tunnelled(port):
            from swarmbook.diagnosis.status import by_ssh

            raise UsageError(
                f"port {port} of {node} can only be reached through SSH",
                wanted="a tunnel, in a terminal of its own",
                next=by_ssh(found, to, [port]),
            )
        say(str(to.reach(port)))
        return

    def by_jump(node: Node) -> str:
        return f"{node.ssh} by way of {node.jump.ssh}" if node.jump else str(node.ssh)

    nodes = the_cluster(cluster).nodes
    ports = sorted({port for node in nodes for port in node.ports})
    table = Table(
        ["node", "id", "private", "ssh", *(f"port {port}" for port in ports)],
        [[n.name, n.id, n.private_address, by_jump(n), *(n.reach(p) for p in ports)] for n in nodes],
    )
    say(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@click.command(context_settings={"ignore_unknown_options": True}, epilog=example("swarmbook ssh sw1 docker ps"))
@click.argument("node")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@which_cluster
def ssh(node: str, command: tuple[str, ...], cluster: str | None) -> None:
    """Log in to a node, or run a command there."""
    found = the_cluster(cluster)
    _exec(["ssh", "-F", str(found.ssh_config), one_node(found, node).name, *command])


@click.command(
    context_settings={"ignore_unknown_options": True}, epilog=example("swarmbook scp sw1:/etc/docker/daemon.json .")
)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
@which_cluster
def scp(arguments: tuple[str, ...], cluster: str | None) -> None:
    """Copy files to or from a node; a path on a node is written NODE:PATH."""
    _exec(["scp", "-F", str(the_cluster(cluster).ssh_config), *arguments])


def _exec(command: list[str]) -> None:
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        raise UsageError(f"{command[0]} is not installed here", next="install OpenSSH's client") from None


@click.command("params", epilog=example("swarmbook params --json"))
@with_json
def show_params(as_json: bool) -> None:
    """List every parameter with its type, its default, the notebooks that use it, and its meaning."""
    from swarmbook.model.checks import Table
    from swarmbook.params import phase_params

    rows = [
        [
            name,
            type(field.default).__name__,
            json.dumps(field.default),
            " ".join(n for n in PHASES if name in phase_params(n)),
            field.description,
        ]
        for name, field in Params.model_fields.items()
    ]
    table = Table(["name", "type", "default", "notebooks", "meaning"], rows)
    say(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())


@click.command(epilog=example("swarmbook explain disk-not-empty"))
@click.argument("name", required=False)
@with_json
def explain(name: str | None, as_json: bool) -> None:
    """Explain a known failure and how to fix it; without NAME, list them all. NAME may also be an error's code."""
    from swarmbook.base.known import known
    from swarmbook.model.checks import Table

    failures = {failure.name: failure for failure in known()}
    name = next((failure.name for failure in known() if name in failure.codes), name) if name not in failures else name
    if name is None:
        table = Table(["name", "what"], [[failure.name, failure.title] for failure in failures.values()])
        say(json.dumps(table.to_json(), indent=2) if as_json else table.to_text())
        return
    if name not in failures:
        close = difflib.get_close_matches(name, failures, n=1)
        raise UsageError(
            f"no known failure {name}", seen=f"did you mean {close[0]}?" if close else None, next="swarmbook explain"
        )
    failure = failures[name]
    if as_json:
        say(
            json.dumps(
                {
                    "name": name,
                    "title": failure.title,
                    "means": failure.means,
                    "fix": failure.fix,
                    "codes": failure.codes,
                },
                indent=2,
            )
        )
    else:
        say(f"{failure.title}\n\nWhat it usually means\n{failure.means}\n\nHow to fix it\n{failure.fix}")
