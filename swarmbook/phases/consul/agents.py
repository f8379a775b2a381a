"""Waiting for Consul's agents, and trying out what they do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from swarmbook.access.fleet import fan_out
from swarmbook.access.hosts import Host
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.health import Role
from swarmbook.model.material import Kind, found
from swarmbook.phases.consul.config import STACK
from swarmbook.phases.consul.probe import NodeState, on_node
from swarmbook.phases.support.consul_api import ConsulApi, api, patiently
from swarmbook.phases.support.preconditions import require_consul, require_swarm
from swarmbook.phases.support.updates import Updates

__all__ = ["prove", "wait_for_agents", "wait_for_container", "wait_for_updates"]


def wait_for_container(book: Book, host: Host, service: str) -> None:
    """Wait until the swarm has started a node's agent again.

    Args:
        book: The open book.
        host: The node.
        service: The agent's service.

    Raises:
        WaitTimeout: It takes too long.
    """

    def runs() -> tuple[bool, str]:
        running = host.ask(on_node(), quiet=True).running
        return running == service, running or "no agent runs"

    wait_for(
        f"the swarm runs {service} on {host.name}",
        runs,
        timeout_s=book.params.wait_timeout,
        where=host.name,
        next=f"swarmbook ssh {host.name} docker ps -a --filter label=com.docker.swarm.service.name={service}",
    )


def wait_for_agents(book: Book, servers: Mapping[str, ConsulApi]) -> None:
    """Wait until Consul has a leader that every server follows, and every agent is a member.

    A server that was away has its vote back only when it has been stable for 10 s; until then another one must not go.

    Args:
        book: The open book.
        servers: The API of each server, by its node.

    Raises:
        WaitTimeout: It takes too long.
    """
    first = next(iter(servers.values()))

    def settled() -> tuple[bool, str]:
        leaders = fan_out(ConsulApi.leader, servers)
        if len(set(leaders.values())) != 1 or not all(leaders.values()):
            return False, "; ".join(f"{name}: {leader or 'no leader'}" for name, leader in leaders.items())
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
        return servers.keys() <= voters, f"voters: {', '.join(sorted(voters))}"

    wait_for(
        "Consul has a leader that every server follows, every server has its vote, and every agent is a member",
        settled,
        timeout_s=book.params.wait_timeout,
        where=", ".join(servers),
        next=f"swarmbook ssh {next(iter(servers))} docker service logs --tail 30 {STACK}_server",
    )


def wait_for_updates(book: Book, manager: str, services: Sequence[str]) -> None:
    """Wait until the swarm has replaced the agents of services that have changed, one node after the other.

    Args:
        book: The open book.
        manager: A manager's name.
        services: Full names.

    Raises:
        WaitTimeout: It takes too long.
    """
    updates = Updates()

    def updated() -> tuple[bool, str]:
        found = {service.name: service for service in book.engine(manager).stack_services(STACK).values()}
        late = updates.late(found, services)
        return not late, "; ".join(f"{name}: {state}" for name, state in late.items())

    if services:
        wait_for(
            "the swarm has replaced Consul's agents, node by node",
            updated,
            timeout_s=book.params.wait_timeout,
            where=manager,
            next=f"swarmbook ssh {manager} docker service ps {services[0]}",
        )


class _Answers(NamedTuple):
    """What one agent answers: its leader, its settings, the key that it has stored, a stranger's status, and its node."""

    leader: str
    own: Mapping[str, Any]
    stored: str
    stranger: int
    state: NodeState


@look(traces="a key of its own")
def prove(book: Book) -> CheckTable:
    """Try Consul out: members and raft, a key written and read back on every server, TLS, and strangers refused."""
    manager = require_swarm(book)
    require_consul(book)
    nodes = book.engine(manager).swarm_nodes()
    managers = {node.labels.get("name", "") for node in nodes if node.role is Role.MANAGER}
    servers = [name for name in book.params.nodes if name in managers]
    consul = {name: api(book, name) for name in book.params.nodes}
    wait_for_agents(book, {name: consul[name] for name in servers})
    first = consul[servers[0]]
    members = {m["Name"]: m for m in first.get("agent/members")}
    peers = patiently(book, "Consul says who is in raft", lambda: first.get("operator/raft/configuration"))["Servers"]
    key, value = "swarmbook/verify", str(uuid.uuid4())
    patiently(book, "Consul stores a key", lambda: first.put(f"kv/{key}", value.encode()))

    def ask(name: str) -> _Answers:
        agent = consul[name]
        own = agent.get("agent/self")
        return _Answers(
            agent.leader(),
            {**own["DebugConfig"], "Version": own["Config"]["Version"]},
            agent.read_back(key, value) if name in servers else "",
            agent.as_stranger(f"kv/{key}"),
            book.fleet[name].ask(on_node()),
        )

    try:
        answers = fan_out(ask, {name: name for name in consul})
    finally:
        first.request("DELETE", f"kv/{key}")
    book.transcript.deployed(
        found(name, Kind.SERVER, "consul", str(answer.own["Version"])) for name, answer in answers.items()
    )
    leader = answers[servers[0]].leader
    rows = []
    for node in book.nodes:
        name, own, answer = node.name, node.private_address, answers[node.name]
        role = "server" if name in servers else "client"
        rows.append(equal(name, "member", f"alive {role}", _role(members.get(name))))
        if role == "server":
            back = "the same" if answer.stored == value else answer.stored
            rows.append(equal(name, "follows leader", leader or "one leader", answer.leader or "none"))
            rows.append(equal(name, "KV write read back", "the same", back))
        listens = " ".join(sorted({a.rpartition("://")[2] for a in answer.own.get("DNSAddrs") or []}))
        nameservers = answer.state.nameservers
        rows += [
            equal(name, "TLS to servers, their name checked", True, _tls(answer.own)),
            equal(name, "a stranger reads KV", 403, answer.stranger),
            equal(name, "DNS listens on", f"{own}:53", listens),
            Check(name, "the node's own resolv.conf", "not ours", " ".join(nameservers), own not in nameservers),
        ]
    rows.append(equal("cluster", "raft peers", len(servers), len([p for p in peers if p["Voter"]])))
    return CheckTable(rows)


def _role(member: Mapping[str, Any] | None) -> str:
    if member is None:
        return "not alive no member"
    role = {"consul": "server", "node": "client"}.get(member["Tags"].get("role", ""), "?")
    return f"{'alive' if member['Status'] == 1 else 'not alive'} {role}"


def _tls(config: Mapping[str, Any]) -> bool:
    modern = (config.get("TLS") or {}).get("InternalRPC") or {}
    return bool(modern.get("VerifyServerHostname") or config.get("VerifyServerHostname"))
