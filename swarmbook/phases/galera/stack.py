"""What a Galera cluster is made of on the swarm: one service per member, its secrets, its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from swarmbook.access.node import Node
from swarmbook.access.pki import Purpose, Use
from swarmbook.base import secrets
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.galera.scripts import Scripts
from swarmbook.phases.galera.settings import settings_of
from swarmbook.phases.support import stack
from swarmbook.phases.support.authorities import replacing
from swarmbook.phases.support.images import image_of
from swarmbook.phases.support.member_data import data_folder, volume_name
from swarmbook.phases.support.members import ROLES, endpoint_name, member_name
from swarmbook.phases.support.source import source_secrets

__all__ = ["Parts", "certificate_names", "document", "own_secrets", "parts"]

_DATA = "/var/lib/galera"
#: Where 04 puts the CA of Consul's agents, for all that ask the agent of their node.
_CONSUL_CA = "/etc/swarmbook/consul/public"


@dataclass(frozen=True)
class Parts:
    """All that the swarm has to be given.

    Args:
        params: The parameters that it follows from.
        cluster: Name of the book's cluster.
        services: A service per node, with labels.
        secrets: Content by full name; never shown.
        settings: Name and content of the swarm config with server settings.
        externals: Names of secrets that each service uses, by node.
        founding: What the bootstrap mark holds; the founder's service alone is given it.
        replacing: Whose authorities are being replaced, and go on by themselves.
        scripts: What the founder runs once.
    """

    params: Params
    cluster: str
    services: Mapping[str, Mapping[str, Any]]
    secrets: Mapping[str, bytes] = field(repr=False)
    settings: tuple[str, str]
    externals: Mapping[str, tuple[str, ...]]
    founding: str = ""
    replacing: tuple[Purpose, ...] = ()
    scripts: Scripts = field(default_factory=Scripts)


def certificate_names(params: Params, node: Node) -> list[str]:
    """List the names by which clients know a member: its own, the database's, and those by which outsiders reach it.

    ``localhost`` stands for the database at the near end of a tunnel: every member holds all of it, so a client that does
    not name a member means any.
    """
    cluster = params.mariadb_cluster_name
    names = [
        member_name(params, node.name),
        cluster,
        f"{cluster}.service.consul",
        *(
            name
            for role in ROLES
            for name in (endpoint_name(params, role), f"{endpoint_name(params, role)}.service.consul")
        ),
        node.name,
        node.private_address,
        *([] if ip_address(node.public_address).is_loopback else [node.public_address]),
        "localhost",
    ]
    return list(dict.fromkeys(names))


#: What each member has of its own.
_OWN = ("cert.pem", "key.pem", "server_cert.pem", "server_key.pem")


def _base(owner: str, target: str) -> str:
    return f"{owner}-{target.replace('_', '-').replace('.', '-')}"


def own_secrets(params: Params, node: str) -> frozenset[str]:
    """Return the names, without hash, of the swarm secrets that the member on a node alone uses.

    Example:
        >>> sorted(own_secrets(Params(), "sw1"))[:2]
        ['galera-sw1-cert-pem', 'galera-sw1-key-pem']
    """
    return frozenset(_base(member_name(params, node), target) for target in _OWN)


def parts(book: Book, founder: str | None = None) -> Parts:
    """Build everything that members need, for every member of the parameters.

    Args:
        book: The open book.
        founder: The node of the member that founded the cluster, or is to; the first by default; nothing
            where no one is.
    """
    params, cluster = book.params, book.params.mariadb_cluster_name
    image = image_of(book, "galera")
    replication, database = book.authority(Purpose.REPLICATION), book.authority(Purpose.DATABASE)
    shared = {
        "ca.pem": replication.bundle,
        "client_ca.pem": database.bundle,
        "consul_token": book.cluster.secret(f"{cluster}-consul-token", make=secrets.token).reveal().encode(),
        **source_secrets(book),
    }
    settings = settings_of(params)
    settings_name = f"{cluster}-settings-{hashlib.sha256(settings.encode()).hexdigest()[:10]}"
    contents: dict[str, bytes] = {}
    services, externals = {}, {}
    nodes = {node.name: node for node in book.nodes}
    salt = stack.salt_of(book.cluster)
    founder = params.members()[0] if founder is None else founder
    # Of this cluster and this node: a mark that another cluster, or another order of the members, has left does not fit.
    founding = stack.secret_name(salt, f"{cluster}-founding", founder)
    for name in params.members():
        member = member_name(params, name)
        # A donor checks the joiner by this name, so a member has no other.
        peer = book.leaf(Purpose.REPLICATION, member, [member], Use.PEER)
        server = book.leaf(Purpose.DATABASE, member, certificate_names(params, nodes[name]), Use.SERVER)
        files = {
            **shared,
            "cert.pem": peer.certificate,
            "key.pem": peer.key,
            "server_cert.pem": server.certificate,
            "server_key.pem": server.key,
        }
        names = {}
        for target, content in files.items():
            owner = cluster if target in shared else member
            names[target] = stack.secret_name(salt, _base(owner, target), content)
            contents[names[target]] = content
        services[name] = stack.stamp(
            book.cluster.name,
            _service(params, nodes[name], image, names, settings_name, founding if name == founder else ""),
        )
        externals[name] = tuple(names.values())
    going_on = replacing(book, Purpose.REPLICATION, Purpose.DATABASE)
    named = (settings_name, settings)
    return Parts(params, book.cluster.name, services, contents, named, externals, founding, going_on)


def _service(
    params: Params, node: Node, image: str, names: Mapping[str, str], settings: str, founding: str
) -> dict[str, Any]:
    cluster = params.mariadb_cluster_name
    member = member_name(params, node.name)
    environment = {
        "GALERA_CLUSTER": cluster,
        "GALERA_MEMBER": member,
        "GALERA_SUBNET": params.overlay_subnet,
        # One alias for all members: with dnsrr it resolves to those that are healthy, which is whom a joiner may ask.
        "GALERA_PEERS": cluster,
        "GALERA_DATABASE": params.mariadb_database,
        "GALERA_USER": params.mariadb_user,
        "GALERA_NETWORK": params.galera_network,
        "GALERA_FOUNDING": founding,
        "GALERA_JOIN_TIMEOUT": str(params.wait_timeout),
        "CONSUL_ADDR": f"{node.private_address}:{params.consul_https_port}",
    }
    service: dict[str, Any] = {
        "image": image,
        "hostname": member,
        "environment": {key: value for key, value in environment.items() if value},
        "networks": {"overlay": {"aliases": [member, cluster]}},
        "secrets": [{"source": source, "target": target, "mode": 0o400} for target, source in sorted(names.items())],
        "configs": [{"source": settings, "target": "/etc/swarmbook/galera.cnf"}],
        "volumes": [
            {"type": "bind", "source": data_folder(params), "target": _DATA}
            if params.mariadb_data_path
            else {"type": "volume", "source": "data", "target": _DATA},
            *({"type": "tmpfs", "target": target} for target in ("/run/galera", "/run/mysqld", "/tmp")),  # noqa: S108
            # The announcer reads it for each call, so a member need not restart when Consul's CA is replaced.
            {"type": "bind", "source": _CONSUL_CA, "target": "/etc/swarmbook/consul-ca", "read_only": True},
        ],
        # The entrypoint is root, to read secrets and to drop to the user of the server, which keeps nothing of these.
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"],
        # mariadbd flushes its buffer pool before it ends; killed half way it would have to recover, and could not join by IST.
        "stop_grace_period": "180s",
        "healthcheck": {
            "test": ["CMD", "galera-health"],
            "interval": "5s",
            "timeout": "5s",
            "retries": 12,
            "start_period": "24h",
            "start_interval": "2s",
        },
        "deploy": {
            "mode": "replicated",
            "replicas": 1,
            # A virtual IP would need IPVS, which drops connections idle for 15 minutes (moby 31208, 37466), and members ask for each other by address.
            "endpoint_mode": "dnsrr",
            "placement": {"constraints": [f"node.labels.name == {node.name}"]},
            "restart_policy": {"condition": "any", "delay": "5s"},
            # The book itself waits until the member is Synced; the swarm need not watch it for 5 s after that.
            "update_config": {"parallelism": 1, "order": "stop-first", "failure_action": "pause", "monitor": "1s"},
        },
    }
    if params.mariadb_port:
        service["ports"] = [{"target": 3306, "published": params.mariadb_port, "protocol": "tcp", "mode": "host"}]
        service["environment"]["CONSUL_SERVICE_ADDRESS"] = node.private_address
        service["environment"]["CONSUL_SERVICE_PORT"] = str(params.mariadb_port)
    return service


def document(made: Parts, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Build the stack file for some of the members, or all.

    Args:
        made: What :func:`parts` gave.
        names: Nodes of the members to name; all by default.
    """
    params = made.params
    names = list(made.services if names is None else names)
    used = sorted({secret for name in names for secret in made.externals[name]})
    whole: dict[str, Any] = {
        "version": "3.12",
        "services": {name: dict(made.services[name]) for name in names},
        "networks": {"overlay": {"external": True, "name": params.overlay_network}},
        "secrets": {name: {"external": True} for name in used},
        "configs": {made.settings[0]: {"external": True}},
    }
    if not params.mariadb_data_path:
        whole["volumes"] = {"data": {"external": True, "name": volume_name(params)}}
    return whole
