"""What Consul should be: its agents' settings, its stack, its secrets and tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.node import Node
from swarmbook.access.pki import Purpose, Use
from swarmbook.base import secrets
from swarmbook.base.secrets import Secret
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.consul.fence import MODERN
from swarmbook.phases.support import stack
from swarmbook.phases.support.authorities import replacing
from swarmbook.phases.support.consul_tokens import Token

__all__ = ["FOLDER", "PUBLIC_CA", "STACK", "Wanted", "agent_config", "document", "wanted"]

STACK = stack.CONSUL
#: What lies here on a node is that node's own; what all share comes as swarm secrets.
FOLDER = "/etc/swarmbook/consul"
#: Within it: for the containers of a node that ask its agent, which read it again for each call.
PUBLIC_CA = "public/consul-ca.pem"
#: What answers to DNS need, and no more: nodes and services, no prepared queries, which the book has none of.
_DNS_RULES = 'node_prefix "" { policy = "read" }\nservice_prefix "" { policy = "read" }\n'


@dataclass(frozen=True)
class Wanted:
    """Consul as it should be; ``private`` and ``secrets`` are never shown.

    Args:
        cluster: Name of the book's cluster.
        document: The stack file.
        configs: Each agent's configuration, by node.
        private: Contents of the other files of each node.
        replacing: Whose authority is being replaced; Consul's, or none.
        open_raft: Whether the parameters accept that client agents can write raft, as before CVE-2021-37219 was fixed.
        secrets: The swarm's secrets: contents by full name.
        tokens: By name.
        gossip: The key of the gossip.
    """

    cluster: str
    document: Mapping[str, Any]
    configs: Mapping[str, Mapping[str, Any]]
    private: Mapping[str, Mapping[str, bytes]] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    tokens: Mapping[str, Token]
    gossip: Secret
    replacing: tuple[Purpose, ...] = ()
    open_raft: bool = False


# -- what is wanted ----------------------------------------------------------------------------------------------------


def agent_config(
    params: Params, node: Node, role: str, servers: list[str], nameservers: tuple[str, ...], modern: bool
) -> dict[str, Any]:
    """Build one agent's configuration, without anything secret.

    Args:
        params: The parameters.
        node: Its node.
        role: ``server`` or ``client``.
        servers: Private addresses of all servers.
        nameservers: Name servers of the node, for names that are not Consul's.
        modern: Consul 1.12 or newer, which wants its TLS settings in a stanza of their own.
    """
    files = {"ca_file": "/run/consul/ca.pem", "cert_file": "/run/consul/cert.pem", "key_file": "/run/consul/key.pem"}
    config: dict[str, Any] = {
        "node_name": node.name,
        "datacenter": params.datacenter,
        "primary_datacenter": params.datacenter,
        "server": role == "server",
        "bind_addr": node.private_address,
        "retry_join": sorted(servers),
        "retry_interval": "1s",
        "ports": {"dns": 53, "https": params.consul_https_port, "http": -1, "grpc": -1},
        "addresses": {"dns": node.private_address, "https": f"{node.private_address} 127.0.0.1"},
        "recursors": [a for a in (params.dns_primary, params.dns_secondary) if a] or list(nameservers),
        "acl": {"enabled": True, "default_policy": "deny", "down_policy": "extend-cache"},
        # A server that leaves takes its vote with it: a restarted task would shrink the quorum. 90 says `leave`.
        "leave_on_terminate": False,
        "skip_leave_on_interrupt": True,
        "disable_update_check": True,
        # For Prometheus, which asks every few seconds, with a token (24); what is not asked for a minute is forgotten.
        "telemetry": {"prometheus_retention_time": "60s", "disable_hostname": True},
        "performance": {"raft_multiplier": 1},
    }
    if role == "server":
        config["bootstrap_expect"] = len(servers)
    if modern:
        config["ports"]["grpc_tls"] = -1
        config["tls"] = {
            "defaults": {**files, "verify_outgoing": True},
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
            "https": {"verify_incoming": False},
        }
    else:
        config |= {**files, "verify_outgoing": True, "verify_incoming_rpc": True, "verify_server_hostname": True}
    return config


def document(cluster: str, image: str, server_secret: str, client_secret: str) -> dict[str, Any]:
    """Build the stack file: two global services, distinguished by a node label.

    Args:
        cluster: The cluster's name.
        image: Consul's image.
        server_secret: Full name of the secret with the servers' keys.
        client_secret: Of the one with the clients'.
    """

    def service(role: str, secret: str) -> dict[str, Any]:
        return stack.stamp(
            cluster,
            {
                "image": image,
                "networks": ["host"],
                "secrets": [{"source": secret, "target": "keys.json", "mode": 0o400}],
                # Keys and tokens are copied to where the agent reads them, which is no disk.
                "volumes": [
                    f"{FOLDER}:{FOLDER}:ro",
                    "data:/consul/data",
                    *({"type": "tmpfs", "target": target} for target in ("/run/consul", "/tmp")),  # noqa: S108
                ],
                "read_only": True,
                "cap_drop": ["ALL"],
                "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"],
                "stop_grace_period": "20s",
                # The long start period is for an agent whose token the book has not made yet.
                "healthcheck": {
                    "test": ["CMD", "consul-health"],
                    "interval": "5s",
                    "timeout": "5s",
                    "retries": 3,
                    "start_period": "24h",
                    "start_interval": "1s",
                },
                "deploy": {
                    "mode": "global",
                    "placement": {"constraints": [f"node.labels.consul == {role}"]},
                    "restart_policy": {"condition": "any", "delay": "2s"},
                    # One at a time and slowly: raft has to find its majority again in between.
                    "update_config": {
                        "parallelism": 1,
                        "delay": "10s",
                        "failure_action": "pause",
                        "order": "stop-first",
                    },
                },
            },
        )

    return {
        "version": "3.12",
        "services": {"server": service("server", server_secret), "client": service("client", client_secret)},
        "networks": {"host": {"external": True, "name": "host"}},
        "secrets": {name: {"external": True} for name in sorted({server_secret, client_secret})},
        "volumes": {"data": {}},
    }


def _agent_rules(node: str, role: str) -> str:
    operator = (
        'operator = "read"\n' if role == "server" else ""
    )  # by which its healthcheck sees whether it has its vote
    return (
        operator
        + f'node "{node}" {{ policy = "write" }}\nagent "{node}" {{ policy = "write" }}\nservice_prefix "" {{ policy = "read" }}\n'
    )


def certificate_names(node: Node, role: str, datacenter: str) -> list[str]:
    """List the names in an agent's certificate; only a server's has ``server.DC.consul``, by which clients know it."""
    names = [node.name, node.private_address, "consul.service.consul"]
    return [*names, *([f"server.{datacenter}.consul"] if role == "server" else [])]


#: Of these versions on, DNS has a token of its own. Before, it takes the ``default`` one, which anyone who asks the API without a token gets.
_DNS_TOKEN = (1, 17)


def wanted(
    book: Book,
    nameservers: Mapping[str, tuple[str, ...]],
    managers: Sequence[str],
    version: tuple[int, ...],
    image: str,
) -> Wanted:
    """Return Consul as it should be.

    Args:
        book: The open book.
        nameservers: Of each node itself.
        managers: Nodes that are swarm managers, and so carry a server.
        version: Of the Consul in the image; empty while it is unknown.
        image: Its image's tag.
    """
    params = book.params
    gossip = book.cluster.secret("consul-gossip-key", params.consul_gossip_key, secrets.gossip_key)
    dns = Token.of(book, "dns", _DNS_RULES, "consul-dns-token")
    nodes = {node.name: node for node in book.nodes}
    servers = [nodes[name].private_address for name in nodes if name in managers]
    keys = dict.fromkeys(("server", "client"), json.dumps({"encrypt": gossip.reveal()}))
    salt = stack.salt_of(book.cluster)
    names = {role: stack.secret_name(salt, f"consul-{role}", content) for role, content in keys.items()}
    answers = "dns" if version >= _DNS_TOKEN else "default"
    configs, private, tokens = {}, {}, {dns.name: dns}
    authority = book.authority(Purpose.CONSUL)
    for name, node in nodes.items():
        role = "server" if name in managers else "client"
        agent = Token.of(book, f"agent-{name}", _agent_rules(name, role), f"consul-agent-{name}-token")
        leaf = book.leaf(Purpose.CONSUL, name, certificate_names(node, role, params.datacenter), Use.PEER)
        configs[name] = agent_config(params, node, role, servers, nameservers.get(name, ()), version >= MODERN)
        private[name] = {
            "tokens.json": json.dumps(
                {"acl": {"tokens": {"agent": agent.secret.reveal(), answers: dns.secret.reveal()}}}
            ).encode(),
            "ca.pem": authority.bundle,
            PUBLIC_CA: authority.bundle,
            "cert.pem": leaf.certificate,
            "key.pem": leaf.key,
        }
        tokens[agent.name] = agent
    return Wanted(
        book.cluster.name,
        document(book.cluster.name, image, names["server"], names["client"]),
        configs,
        private,
        {names[r]: keys[r] for r in keys},
        tokens,
        gossip,
        replacing(book, Purpose.CONSUL),
        params.consul_source == "debian",
    )
