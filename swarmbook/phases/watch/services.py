"""What watches, on the swarm: Prometheus, an exporter on every node, one for all members; their secrets and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.pki import Purpose
from swarmbook.base import secrets
from swarmbook.base.secrets import Secret
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_tokens import Token
from swarmbook.phases.support.images import image_of
from swarmbook.phases.support.members import watch_service, watch_stack
from swarmbook.phases.support.prepared import only_prepared
from swarmbook.phases.watch.config import node_targets, prometheus_yml, rules_yaml

__all__ = [
    "FOLDER",
    "LOGIN",
    "Wanted",
    "image_nodes",
    "node_line",
    "password_of",
    "tokens",
    "wanted_watch",
]

#: Who asks the members for their status and variables.
LOGIN = "swarmbook_watch"
#: On each node: who it is, for the exporter there.
FOLDER = "/etc/swarmbook/watch"
#: Where 04 puts the CA of Consul's agents, for all that ask the agent of their node.
_CONSUL_CA = "/etc/swarmbook/consul/public"
#: The user without rights of Debian, whom the containers run as.
_USER = "65534"


@dataclass(frozen=True)
class Wanted:
    """What the swarm is given.

    Args:
        params: The parameters that it follows from.
        document: The stack file.
        configs: Texts, by the names of the swarm's configs.
        secrets: Contents by full name; never shown.
        lines: What says on each node who it is.
        images: Names of the images that each node should have, by node.
        tags: The images' tags, by name.
        tokens: Consul's, each with a policy of its own.
    """

    params: Params
    document: Mapping[str, Any]
    configs: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    lines: Mapping[str, str]
    images: Mapping[str, tuple[str, ...]]
    tags: Mapping[str, str]
    tokens: tuple[Token, ...] = ()

    @property
    def specs(self) -> dict[str, str]:
        """The hash on each service."""
        return {
            name: service["deploy"]["labels"][stack.SPEC_LABEL] for name, service in self.document["services"].items()
        }


def password_of(book: Book) -> Secret:
    """Return the password of :data:`LOGIN`, which is made if there is none."""
    return book.cluster.secret(f"{book.params.mariadb_cluster_name}-watch-password", make=secrets.password)


def tokens(book: Book) -> tuple[Token, Token]:
    """Return the tokens: one that reads who there is and what agents measure, and one that registers the node exporters."""
    name = watch_stack(book.params)
    reads = 'node_prefix "" { policy = "read" }\nservice_prefix "" { policy = "read" }\nagent_prefix "" { policy = "read" }\n'
    writes = f'service "{node_targets(book.params)}" {{ policy = "write" }}\n'
    return (
        Token.of(book, f"{name}-reads", reads, f"{name}-reads-token"),
        Token.of(book, f"{name}-registers", writes, f"{name}-registers-token"),
    )


def node_line(node: str, address: str, port: int, role: str) -> str:
    """Return what says on a node who it is: its name, where its Consul agent answers, and what it is to the swarm."""
    return f"{node} {address}:{port} {role}\n"


def image_nodes(params: Params) -> dict[str, tuple[str, ...]]:
    """Return the names of the images that each node should have: Prometheus runs on a manager."""
    return {node: ("exporters", *(("prometheus",) if node in params.managers() else ())) for node in params.nodes}


def wanted_watch(book: Book) -> Wanted:
    """Build what watches.

    Args:
        book: The open book.
    """
    params = book.params
    salt = stack.salt_of(book.cluster)
    reads, registers = tokens(book)
    my_cnf = f"[client]\nuser={LOGIN}\npassword={password_of(book).reveal()}\nssl-ca=/etc/swarmbook/database-ca.pem\n"
    contents = {
        "reads": reads.secret.reveal(),
        "registers": registers.secret.reveal(),
        "my-cnf": my_cnf,
    }
    secrets = {part: stack.secret_name(salt, f"{watch_stack(params)}-{part}", text) for part, text in contents.items()}
    texts = {
        "prometheus": prometheus_yml(params),
        "rules": rules_yaml(params),
        "ca": book.authority(Purpose.DATABASE).bundle.decode(),
    }
    configs = {
        part: f"{watch_stack(params)}-{part}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        for part, text in texts.items()
    }
    tags = {name: image_of(book, name) for name in ("exporters", "prometheus")}
    managers = params.managers()
    return Wanted(
        params,
        document(params, book.cluster.name, tags, secrets, configs),
        {configs[part]: text for part, text in texts.items()},
        {secrets[part]: text for part, text in contents.items()},
        {
            node.name: node_line(
                node.name,
                node.private_address,
                params.consul_https_port,
                "manager" if node.name in managers else "worker",
            )
            for node in book.nodes
        },
        image_nodes(params),
        tags,
        (reads, registers),
    )


def document(
    params: Params, cluster: str, tags: Mapping[str, str], secrets: Mapping[str, str], configs: Mapping[str, str]
) -> dict[str, Any]:
    """Build the stack file.

    Args:
        params: The parameters.
        cluster: Name of the book's cluster.
        tags: The images' tags, by name.
        secrets: Full names: reads, registers, my-cnf.
        configs: Full names: prometheus, rules, ca.
    """

    def service(image: str, deploy: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        common = {
            # The name resolves to the containers' own addresses: a virtual one would need IPVS (decision 0009).
            "endpoint_mode": "dnsrr",
            "restart_policy": {"condition": "any", "delay": "2s"},
            "update_config": {"parallelism": 1, "order": "stop-first", "failure_action": "pause", "monitor": "1s"},
        }
        return stack.stamp(
            cluster,
            {
                "image": tags[image],
                "networks": ["overlay"],
                "read_only": True,
                "cap_drop": ["ALL"],
                "stop_grace_period": "10s",
                **more,
                "deploy": {**common, **deploy},
            },
        )

    def secret(source: str, target: str) -> dict[str, Any]:
        return {"source": secrets[source], "target": target, "uid": _USER, "mode": 0o400}

    consul_ca = {"type": "bind", "source": _CONSUL_CA, "target": "/etc/swarmbook/consul-ca", "read_only": True}
    on_managers = {"mode": "replicated", "replicas": 1, "placement": {"constraints": ["node.role == manager"]}}
    services = {
        "prometheus": service(
            "prometheus",
            on_managers,
            environment={
                "WATCH_NODES": node_targets(params),
                "WATCH_DATABASE": params.mariadb_cluster_name,
                "WATCH_CONSUL_PORT": str(params.consul_https_port),
            },
            secrets=[secret("reads", "consul_token")],
            configs=[
                {"source": configs["prometheus"], "target": "/etc/swarmbook/prometheus.yml"},
                {"source": configs["rules"], "target": "/etc/swarmbook/rules.yaml"},
            ],
            volumes=[
                consul_ca,
                {"type": "volume", "source": "data", "target": "/var/lib/watch"},
                {"type": "tmpfs", "target": "/run/watch", "tmpfs": {"size": 1 << 20}},
            ],
            stop_grace_period="30s",
        ),
        "node-exporter": service(
            "exporters",
            {
                "mode": "global",
                "placement": only_prepared(watch_stack(params)),
            },
            environment={"WATCH_SERVICE": node_targets(params), "WATCH_SUBNET": params.overlay_subnet},
            secrets=[secret("registers", "consul_token")],
            volumes=[
                consul_ca,
                {"type": "bind", "source": FOLDER, "target": FOLDER, "read_only": True},
                # What it measures: without any capability, it reads what any user of the node reads.
                {
                    "type": "bind",
                    "source": "/",
                    "target": "/host",
                    "read_only": True,
                    "bind": {"propagation": "rslave"},
                },
                {"type": "tmpfs", "target": "/run/watch", "tmpfs": {"size": 1 << 20}},
            ],
        ),
        "mysqld-exporter": service(
            "exporters",
            on_managers,
            entrypoint=["watch-mysqld"],
            secrets=[secret("my-cnf", "my.cnf")],
            configs=[{"source": configs["ca"], "target": "/etc/swarmbook/database-ca.pem"}],
        ),
    }
    return {
        "version": "3.12",
        "services": services,
        "networks": {"overlay": {"external": True, "name": params.overlay_network}},
        "secrets": {name: {"external": True} for name in sorted(secrets.values())},
        "configs": {name: {"external": True} for name in sorted(configs.values())},
        "volumes": {"data": {"name": f"{watch_service(params, 'data')}", "labels": {stack.CLUSTER_LABEL: cluster}}},
    }
