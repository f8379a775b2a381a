"""The docker command on a node: `env` and `tunnel`."""

from __future__ import annotations

import contextlib
import shlex
import socket
import time

import click

from swarmbook.access.ambient import NODE_ENGINE, OWN_ENGINE, VARIABLES, own_environment
from swarmbook.access.cluster import Cluster
from swarmbook.access.node import Node
from swarmbook.base.errors import OutOfOrder
from swarmbook.base.words import typed
from swarmbook.cli.common import example, say
from swarmbook.cli.looking import one_node, the_cluster, which_cluster

__all__ = ["env", "tunnel"]


@click.command(epilog=example('eval "$(swarmbook env sw1)" && docker node ls'))
@click.argument("node")
@which_cluster
@click.option("--unset", is_flag=True, help="Print the commands that unset the variables again.")
def env(node: str, cluster: str | None, unset: bool) -> None:
    """Print the shell commands that set variables to point docker at a node.

    Where the engine can be reached from here, that is over mutual TLS, with a certificate for the next 12 hours; else
    through SSH, by `swarmbook tunnel NODE`.
    """
    from swarmbook.access.engine_socket import socket_path

    before = own_environment().get("DOCKER_HOST", "")
    if unset:
        say(f"unset {' '.join(VARIABLES)} {NODE_ENGINE} {OWN_ENGINE}")
        if before:
            say(f"export DOCKER_HOST={shlex.quote(before)}")
        return
    found = the_cluster(cluster)
    to = one_node(found, node)
    if not to.tunnel and _reached(to, port := _api_port(found, to)):
        folder = _certificates(found)
        leads_to = f"tcp://{to.private_address}:{port}"
        say(f"export DOCKER_HOST={leads_to}\nexport DOCKER_TLS_VERIFY=1")
        say(f"export DOCKER_CERT_PATH={shlex.quote(str(folder))}")
    else:
        leads_to = f"unix://{socket_path(found.name, node)}"
        say("unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH")
        say(f"export DOCKER_HOST={shlex.quote(leads_to)}")
        say(f"# first, in a terminal of its own: swarmbook tunnel {node} --cluster {found.name}")
    # By these swarmbook itself knows that it is not meant to go there.
    say(f"export {NODE_ENGINE}={shlex.quote(leads_to)} {OWN_ENGINE}={shlex.quote(before)}")
    say(f'# eval "$(swarmbook env {node})"')


def _api_port(cluster: Cluster, node: Node) -> int:
    """Ask the node: a cluster's folder does not hold its parameters."""
    from swarmbook.access.hosts import Host
    from swarmbook.model.transcript import Transcript
    from swarmbook.phases.engine.probe import API_PORT

    with contextlib.closing(Host(node, cluster, Transcript())) as host:
        port = host.ask(API_PORT)
    if port is None:
        raise OutOfOrder(
            f"run 03 first: the engine's API on {node.name} is not set up",
            where=node.name,
            next="swarmbook run PARAMS --from 03",
        )
    return port


def _reached(node: Node, port: int) -> bool:
    try:
        # Its certificate names this address, and not the one at which a lab publishes its port.
        socket.create_connection((node.private_address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _certificates(cluster: Cluster) -> str:
    """Write the files that the docker command looks for, by its names."""
    from swarmbook.access.pki import Authority, Purpose, operator
    from swarmbook.base.files import write_atomic, write_private

    folder = cluster.folder / "pki" / Purpose.ENGINE.value
    if not Authority.there(folder):
        raise OutOfOrder(
            "run 03 first: the engines' API is not set up", where=str(folder), next="swarmbook run PARAMS --from 03"
        )
    engines = Authority(folder, "")
    ours = operator(engines)
    files = cluster.folder / "docker"
    write_atomic(files / "ca.pem", engines.bundle)
    write_private(files / "key.pem", ours.key)
    write_atomic(files / "cert.pem", ours.certificate)
    return str(files)


@click.command(epilog=example("swarmbook tunnel sw1"))
@click.argument("node")
@which_cluster
def tunnel(node: str, cluster: str | None) -> None:
    """Bring a node's engine to a socket on this computer, through SSH, until it is interrupted."""
    from swarmbook.access.engine_socket import serve, socket_path
    from swarmbook.access.hosts import Host
    from swarmbook.model.transcript import Transcript

    found = the_cluster(cluster)
    host = Host(one_node(found, node), found, Transcript())
    path = socket_path(found.name, node)
    with serve(path, host):
        say(f"the engine of {node} answers here: export DOCKER_HOST=unix://{typed(path)}")
        say("Ctrl-C ends it")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            say("ended", err=True)
        finally:
            host.close()
