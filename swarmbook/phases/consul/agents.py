"""Waiting for Consul's agents, and trying out what they do."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from swarmbook.access.fleet import fan_out
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.health import Role
from swarmbook.phases.consul.config import STACK
from swarmbook.phases.consul.probe import NodeState, on_node
from swarmbook.phases.support.consul_api import ConsulApi, api
from swarmbook.phases.support.preconditions import require_consul, require_swarm

__all__ = ["prove", "wait_for_agents", "wait_for_updates"]


def wait_for_agents(book: Book, servers: Sequence[str]) -> None:
    """Wait until Consul has a leader that every server follows, and every agent is a member.

    A server that was away has its vote back only when it has been stable for 10 s; until then another one must not go.

    Args:
        book: The open book.
        servers: Nodes that carry a server.

    Raises:
        WaitTimeout: It takes too long.
    """
    consul = {name: api(book, name) for name in servers}

    def settled() -> tuple[bool, str]:
        leaders = {name: server.leader() for name, server in consul.items()}
        if len(set(leaders.values())) != 1 or not leaders[servers[0]]:
            return False, "; ".join(f"{name}: {leader or 'no leader'}" for name, leader in leaders.items())
        first = consul[servers[0]]
        members = first.request("GET", "agent/members")
        alive = {m["Name"] for m in members.json() if m["Status"] == 1} if members.ok else set()
        late = [name for name in book.params.nodes if name not in alive]
        if late:
            return False, f"not members yet: {', '.join(late)}"
        # For a moment after the election a new cluster answers "the ACL system is currently in legacy mode".
        policies = first.request("GET", "acl/policies")
        raft = first.request("GET", "operator/raft/configuration")
        if not (policies.ok and raft.ok):
            acls = policies.text.strip()[:200] if not policies.ok else "ready"
            return False, f"ACLs: {acls}; raft: {raft.text.strip()[:200]}"
        voters = {peer["Node"] for peer in raft.json()["Servers"] if peer["Voter"]}
        return set(servers) <= voters, f"voters: {', '.join(sorted(voters))}"

    wait_for(
        "Consul has a leader that every server follows, every server has its vote, and every agent is a member",
        settled,
        timeout_s=book.params.wait_timeout,
        where=", ".join(servers),
        next=f"swarmbook ssh {servers[0]} docker service logs --tail 30 {STACK}_server",
    )


#: The swarm forgets how the last update went when the next one is asked for, and begins a moment later; an update that
#: replaces no container never begins, seconds.
_BEGINS_S = 3.0


def wait_for_updates(book: Book, manager: str, services: Sequence[str]) -> None:
    """Wait until the swarm has replaced the agents of services that have changed, one node after the other.

    Args:
        book: The open book.
        manager: A manager's name.
        services: Full names.

    Raises:
        WaitTimeout: It takes too long.
    """
    began = time.monotonic()

    def updated() -> tuple[bool, str]:
        found = {service.name: service.update for service in book.engine(manager).stack_services(STACK).values()}
        late = [
            f"{name}: {found.get(name) or 'not begun'}"
            for name in services
            if found.get(name) != "completed" and (found.get(name) or time.monotonic() - began < _BEGINS_S)
        ]
        return not late, "; ".join(late)

    if services:
        wait_for(
            "the swarm has replaced Consul's agents, node by node",
            updated,
            timeout_s=book.params.wait_timeout,
            where=manager,
            next=f"swarmbook ssh {manager} docker service ps {services[0]}",
        )


@look(traces="a key of its own")
def prove(book: Book) -> CheckTable:
    """Try Consul out: members and raft, a key written and read back on every server, TLS, and strangers refused."""
    manager = require_swarm(book)
    require_consul(book)
    nodes = book.engine(manager).swarm_nodes()
    managers = {node.labels.get("name", "") for node in nodes if node.role is Role.MANAGER}
    servers = [name for name in book.params.nodes if name in managers]
    wait_for_agents(book, servers)
    consul = {name: api(book, name) for name in book.params.nodes}
    first = consul[servers[0]]
    members = {m["Name"]: m for m in first.get("agent/members")}
    peers = first.get("operator/raft/configuration")["Servers"]
    key, value = "swarmbook/verify", str(uuid.uuid4())
    first.put(f"kv/{key}", value.encode())
    try:
        stored = fan_out(lambda name: consul[name].read_back(key, value), {name: name for name in servers})
        strangers = fan_out(lambda name: _as_stranger(book, name, key), {name: name for name in consul})
    finally:
        first.request("DELETE", f"kv/{key}")
    leaders = fan_out(lambda name: consul[name].leader(), {name: name for name in servers})
    selves = fan_out(lambda name: _self(consul[name]), {name: name for name in consul})
    states: Mapping[str, NodeState] = book.fleet.each(lambda host: host.ask(on_node()))
    rows = []
    for node in book.nodes:
        name, own = node.name, node.private_address
        role = "server" if name in servers else "client"
        rows.append(equal(name, "member", f"alive {role}", _role(members.get(name))))
        if role == "server":
            back = "the same" if stored[name] == value else stored[name]
            rows.append(equal(name, "follows leader", leaders[servers[0]] or "one leader", leaders[name] or "none"))
            rows.append(equal(name, "KV write read back", "the same", back))
        listens = " ".join(sorted({a.rpartition("://")[2] for a in selves[name].get("DNSAddrs") or []}))
        nameservers = states[name].nameservers
        rows += [
            equal(name, "TLS to servers, their name checked", True, _tls(selves[name])),
            equal(name, "a stranger reads KV", 403, strangers[name]),
            equal(name, "DNS listens on", f"{own}:53", listens),
            Check(name, "the node's own resolv.conf", "not ours", " ".join(nameservers), own not in nameservers),
        ]
    rows.append(equal("cluster", "raft peers", len(servers), len([p for p in peers if p["Voter"]])))
    return CheckTable(rows)


def _as_stranger(book: Book, name: str, key: str) -> int:
    return api(book, name, anonymous=True).request("GET", f"kv/{key}").status_code


def _self(consul: ConsulApi) -> Mapping[str, Any]:
    return dict(consul.get("agent/self")["DebugConfig"])


def _role(member: Mapping[str, Any] | None) -> str:
    if member is None:
        return "not alive no member"
    role = {"consul": "server", "node": "client"}.get(member["Tags"].get("role", ""), "?")
    return f"{'alive' if member['Status'] == 1 else 'not alive'} {role}"


def _tls(config: Mapping[str, Any]) -> bool:
    modern = (config.get("TLS") or {}).get("InternalRPC") or {}
    return bool(modern.get("VerifyServerHostname") or config.get("VerifyServerHostname"))
