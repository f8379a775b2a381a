"""Phase 04: an HA Consul as a service of the swarm itself: servers on the managers, client agents on the rest."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swarmbook.access.hosts import Host, fan_out
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book, Change, StepResult, converge
from swarmbook.machines.host_engine import ensure_engine
from swarmbook.machines.images import ensure_image
from swarmbook.model.checks import Check, equal
from swarmbook.phases.consul.config import FOLDER, STACK, Wanted, wanted
from swarmbook.phases.support import stack
from swarmbook.phases.support.consul_api import api, known_tokens, policy_token, token_mark
from swarmbook.phases.support.images import ensure_images, nodes_without_image, wanted_image
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["Agents", "NodeState", "deploy", "plan_consul"]


@dataclass(frozen=True)
class NodeState:
    """What of Consul lies on a node.

    Args:
        config: node.json as it is there, or nothing.
        files: Hashes of the other files there.
        label: The swarm node label ``consul``.
        image: Whether the engine has the image.
        running: Name of the Consul service that runs a container there, or nothing.
        nameservers: Name servers of the node itself.
        listeners: Who listens there (``ss -Hltunp``), while no Consul runs.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    image: bool = False
    running: str = ""
    nameservers: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agents:
    """Consul as it is.

    Args:
        nodes: Per node.
        specs: Hash on each service of the stack.
        secrets: Names of the swarm's secrets.
        leader: The raft leader, or nothing.
        tokens: Accessor ids of the tokens that are there.
        managers: Nodes that are swarm managers, and so carry a server.
        version: Of the Consul that the image holds.
    """

    nodes: Mapping[str, NodeState]
    specs: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    leader: str = ""
    tokens: frozenset[str] = frozenset()
    managers: tuple[str, ...] = ()
    version: tuple[int, ...] = ()


# -- observe -----------------------------------------------------------------------------------------------------------


_PROBE = f"""
cd {FOLDER} 2>/dev/null && for f in tokens.json ca.pem cert.pem key.pem; do [ -e $f ] && sha256sum $f; done
echo "config $(base64 -w0 {FOLDER}/node.json 2>/dev/null)"
echo "running $(docker ps --filter label=com.docker.stack.namespace={STACK} --format '{{{{.Label "com.docker.swarm.service.name"}}}}' | head -n 1)"
echo "nameservers $(sed -n 's/^nameserver *//p' /etc/resolv.conf | tr '\\n' ' ')"
ss -Hltunp | sed 's/^/listener /'
"""


def in_the_way(listener: str, config: Mapping[str, Any]) -> bool:
    """Whether a line of ``ss -Hltunp`` is somebody who listens where an agent has to.

    Args:
        listener: Protocol, state, queues, local address and port, peer, process.
        config: The agent's configuration.
    """
    address, _, port = listener.split()[4].rpartition(":")
    wanted = {
        str(config["ports"]["dns"]): {config["addresses"]["dns"]},
        str(config["ports"]["https"]): set(config["addresses"]["https"].split()),
    }
    # A resolver on 127.0.0.53 is in nobody's way.
    return port in wanted and address.partition("%")[0] in {"0.0.0.0", "*", "[::]", *wanted[port]}  # noqa: S104


def _observe(book: Book) -> Agents:
    manager = require_swarm(book)
    engines = book.engines()
    client = engines[manager]
    image = wanted_image(book, "consul")
    lacking = nodes_without_image(engines, image)
    listed = [(entry["Spec"]["Role"], entry["Spec"].get("Labels") or {}) for entry in client.api.nodes()]
    labels = {found.get("name"): found.get("consul", "") for _, found in listed}
    managers = tuple(sorted(found["name"] for role, found in listed if role == "manager" and found.get("name")))
    if not managers:
        raise WorldError(
            "the swarm lists no manager that 03 has named", where=manager, next="swarmbook run PARAMS --from 03"
        )
    carriers = [name for name in engines if name not in lacking]
    version = _version(book, image, engines[carriers[0]] if carriers else None)

    def one(host: Host) -> NodeState:
        config: Any = {}
        files: dict[str, str] = {}
        running, nameservers = "", tuple[str, ...]()
        listeners: list[str] = []
        for line in host.run(_PROBE).stdout.splitlines():
            head, _, rest = line.partition(" ")
            if head == "config":
                config = json.loads(base64.b64decode(rest)) if rest else {}
            elif head == "running":
                running = rest.strip()
            elif head == "nameservers":
                nameservers = tuple(rest.split())
            elif head == "listener":
                listeners.append(rest)
            elif rest:
                files[rest.strip()] = head
        return NodeState(
            config,
            files,
            labels.get(host.name, ""),
            host.name not in lacking,
            running,
            nameservers,
            () if running else tuple(listeners),
        )

    nodes = book.fleet.each(one)
    specs = {name: stack.spec_of(attrs) for name, attrs in stack.services(client, STACK).items()}
    leader, tokens = "", frozenset[str]()
    server = next((name for name, state in nodes.items() if state.running == f"{STACK}_server"), None)
    if server is not None:
        consul = api(book, server)
        leader = consul.leader()
        if leader:
            tokens = known_tokens(consul)
    return Agents(nodes, specs, frozenset(stack.secret_names(client)), leader, tokens, managers, version)


def _version(book: Book, image: str, engine: Any | None) -> tuple[int, ...]:
    """Version of the Consul in an image: it says what the agents' files have to look like."""
    if engine is None:
        if book.prospect is not None:
            return ()
        engine = ensure_engine()
        ensure_image(engine, "consul", book.params.lab_base_image)
    labels = engine.api.inspect_image(image)["Config"]["Labels"] or {}
    return tuple(int(part) for part in labels.get("swarmbook.phases.consul.step.version", "1.8").split("."))


# -- plan --------------------------------------------------------------------------------------------------------------

#: Only read when an agent first starts: a node that joins later changes nothing on those that run.
_AT_FIRST_START = ("retry_join", "bootstrap_expect")


def plan_consul(cluster: str, wanted: Wanted, seen: Agents) -> list[Change]:
    """Changes that bring Consul to what is wanted; pure.

    Raises:
        WorldError: A port is taken.
    """
    changes = []
    for name in wanted.secrets:
        if name not in seen.secrets:
            changes.append(Change("cluster", "secret", f"swarm secret {stack.secret_base(name)}", {"name": name}))
    for name, state in seen.nodes.items():
        config = wanted.configs[name]
        taken = [listener for listener in state.listeners if in_the_way(listener, config)]
        if taken:
            raise WorldError(
                f"a port that Consul needs is in use on {name}",
                where=name,
                wanted=f"port 53 on {config['bind_addr']} and port {config['ports']['https']} free",
                seen="\n".join(taken),
                next="end what listens there, or choose another consul_https_port",
                code=Code.CONSUL_PORT_TAKEN,
            )
        if not state.image:
            changes.append(Change(name, "image", "Consul's image loaded"))
        stale = [
            file
            for file, content in wanted.private[name].items()
            if state.files.get(file) != hashlib.sha256(content).hexdigest()
        ]
        if _lasting(state.config) != _lasting(config):
            stale.append("node.json")
        if stale:
            changes.append(Change(name, "files", f"{' '.join(sorted(stale))} put in {FOLDER}", {"files": stale}))
        role = "server" if config["server"] else "client"
        if state.label != role:
            changes.append(Change(name, "label", f"node label consul={role}", {"role": role}))
        elif stale and state.running:
            changes.append(Change(name, "restart", "agent restarted", {"service": state.running}))
    for service, spec in wanted.document["services"].items():
        if seen.specs.get(service) != spec["deploy"]["labels"][stack.SPEC_LABEL]:
            changes.append(
                Change(
                    "cluster",
                    "deploy",
                    f"service {STACK}_{service} {'updated' if service in seen.specs else 'created'}",
                )
            )
    for name, (_, rules) in wanted.tokens.items():
        if token_mark(cluster, name, rules) not in seen.tokens:
            changes.append(Change("cluster", "token", f"token and policy {name}", {"name": name}))
    return changes


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _AT_FIRST_START}


# -- apply -------------------------------------------------------------------------------------------------------------


def _apply(book: Book, wanted: Wanted, seen: Agents, changes: list[Change]) -> None:
    manager = require_swarm(book)
    client = book.engine(manager)
    todo: dict[str, list[Change]] = {}
    for change in changes:
        todo.setdefault(change.action, []).append(change)
    ensure_images(book, {c.host: ["consul"] for c in todo.get("image", [])})
    stack.ensure_secrets(
        book, client, manager, {c.data["name"]: wanted.secrets[c.data["name"]] for c in todo.get("secret", [])}, {}
    )
    files = {change.host: change.data["files"] for change in todo.get("files", [])}

    def put(host: Host) -> None:
        for file in files[host.name]:
            # A server that comes later finds a cluster that is formed already, and must not expect to form one.
            config = dict(wanted.configs[host.name])
            if seen.leader:
                config.pop("bootstrap_expect", None)
            content = json.dumps(config, indent=2).encode() if file == "node.json" else wanted.private[host.name][file]
            host.put(f"{FOLDER}/{file}", content, mode=0o600)

    book.fleet.each(put, files)
    if seen.leader:  # before an agent starts that would be told, and remember, that its token is not known
        _make_tokens(book, wanted, todo.pop("token", []))
    labels = [
        f"docker node update --label-add consul={c.data['role']} $(docker node ls -q --filter node.label=name={c.host})"
        for c in todo.get("label", [])
    ]
    if labels:
        book.fleet[manager].run("set -e\n" + "\n".join(labels))
    if "deploy" in todo:
        stack.deploy(book, manager, STACK, wanted.document)
    for change in todo.get("restart", []):  # one after the other, so that raft keeps its majority
        book.fleet[change.host].run(
            f"docker rm -f $(docker ps -q --filter label=com.docker.swarm.service.name={change.data['service']})"
        )
        _wait_for_agents(book, wanted)
    _wait_for_agents(book, wanted)
    _make_tokens(book, wanted, todo.get("token", []))


def _wait_for_agents(book: Book, wanted: Wanted) -> None:
    """A server that was away has its vote back only when it has been stable for 10 s; until then another one must not go."""
    servers = [name for name, config in wanted.configs.items() if config["server"]]
    consul = {name: api(book, name) for name in servers}

    def settled() -> tuple[bool, str]:
        leaders = {name: server.leader() for name, server in consul.items()}
        if len(set(leaders.values())) != 1 or not leaders[servers[0]]:
            return False, "; ".join(f"{name}: {leader or 'no leader'}" for name, leader in leaders.items())
        members = consul[servers[0]].request("GET", "agent/members")
        alive = {m["Name"] for m in members.json() if m["Status"] == 1} if members.ok else set()
        late = [name for name in wanted.configs if name not in alive]
        if late:
            return False, f"not members yet: {', '.join(late)}"
        # For a moment after the election a new cluster answers "the ACL system is currently in legacy mode".
        policies = consul[servers[0]].request("GET", "acl/policies")
        raft = consul[servers[0]].request("GET", "operator/raft/configuration")
        if not (policies.ok and raft.ok):
            return (
                False,
                f"ACLs: {policies.text.strip()[:200] if not policies.ok else 'ready'}; raft: {raft.text.strip()[:200]}",
            )
        voters = {peer["Node"] for peer in raft.json()["Servers"] if peer["Voter"]}
        return set(servers) <= voters, f"voters: {', '.join(sorted(voters))}"

    wait_for(
        "Consul has a leader that every server follows, every server has its vote, and every agent is a member",
        settled,
        timeout_s=book.params.wait_timeout,
        where=", ".join(servers),
        next=f"swarmbook ssh {servers[0]} docker service logs --tail 30 {STACK}_server",
    )


def _make_tokens(book: Book, wanted: Wanted, changes: list[Change]) -> None:
    if not changes:
        return
    server = next(name for name, config in wanted.configs.items() if config["server"])
    consul = api(book, server)
    for change in changes:
        secret_name, rules = wanted.tokens[change.data["name"]]
        policy_token(
            book, consul, server, change.data["name"], rules, book.cluster.secret(secret_name, make=secrets.token)
        )


# -- verify ------------------------------------------------------------------------------------------------------------


def _verify(book: Book, wanted: Wanted, seen: Agents) -> list[Check]:
    stack.keep_file(book, STACK)
    _wait_for_agents(book, wanted)
    servers = [name for name, config in wanted.configs.items() if config["server"]]
    consul = {name: api(book, name) for name in wanted.configs}
    members = {m["Name"]: m for m in consul[servers[0]].get("agent/members")}
    peers = consul[servers[0]].get("operator/raft/configuration")["Servers"]
    key, value = "swarmbook/verify", str(uuid.uuid4())
    consul[servers[0]].put(f"kv/{key}", value.encode())
    stored = fan_out(lambda name: consul[name].read_back(key, value), {name: name for name in servers})
    consul[servers[0]].request("DELETE", f"kv/{key}")
    leaders = fan_out(lambda name: consul[name].leader(), {name: name for name in servers})
    selves = fan_out(
        lambda name: consul[name].get("agent/self")["DebugConfig"], {name: name for name in wanted.configs}
    )
    nobody = fan_out(
        lambda name: api(book, name, anonymous=True).request("GET", f"kv/{key}").status_code,
        {name: name for name in wanted.configs},
    )
    rows = []
    for name, config in wanted.configs.items():
        role = "server" if config["server"] else "client"
        member = members.get(name)
        seen_role = (
            {"consul": "server", "node": "client"}.get(member["Tags"].get("role", ""), "?") if member else "no member"
        )
        rows.append(
            equal(
                name,
                "member",
                f"alive {role}",
                f"{'alive' if member and member['Status'] == 1 else 'not alive'} {seen_role}",
            )
        )
        if role == "server":
            rows.append(equal(name, "follows leader", leaders[servers[0]] or "one leader", leaders[name] or "none"))
            rows.append(
                equal(name, "KV write read back", "the same", "the same" if stored[name] == value else stored[name])
            )
        rows += [
            equal(name, "TLS to servers, their name checked", True, _tls(selves[name])),
            equal(name, "a stranger reads KV", 403, nobody[name]),
            equal(
                name,
                "DNS listens on",
                f"{config['bind_addr']}:53",
                " ".join(sorted({a.rpartition("://")[2] for a in selves[name].get("DNSAddrs") or []})),
            ),
            Check(
                name,
                "the node's own resolv.conf",
                "not ours",
                " ".join(seen.nodes[name].nameservers),
                config["bind_addr"] not in seen.nodes[name].nameservers,
            ),
        ]
    rows.append(equal("cluster", "raft peers", len(servers), len([p for p in peers if p["Voter"]])))
    return rows


def _tls(config: Mapping[str, Any]) -> bool:
    modern = (config.get("TLS") or {}).get("InternalRPC") or {}
    return bool(modern.get("VerifyServerHostname") or config.get("VerifyServerHostname"))


def _wanted(book: Book, seen: Agents) -> Wanted:
    nameservers = {name: state.nameservers for name, state in seen.nodes.items()}
    return wanted(book, nameservers, list(seen.managers), seen.version >= (1, 12), wanted_image(book, "consul"))


def _suppose(book: Book, seen: Agents | None) -> Agents:
    """Nodes that are still to come have been sent the image by 03."""
    assert book.prospect is not None
    known = seen or Agents({})
    nodes = {name: known.nodes.get(name) or NodeState(image=True) for name in book.params.nodes}
    return replace(known, nodes=nodes, managers=tuple(sorted({*known.managers, *book.prospect.managers})))


def deploy(book: Book) -> StepResult:
    """Deploy Consul, wait for its leader, give every agent a token of its own."""
    return converge(
        book,
        observe=_observe,
        plan=lambda params, seen: plan_consul(book.cluster.name, _wanted(book, seen), seen),
        apply=lambda book, seen, changes: _apply(book, _wanted(book, seen), seen, changes),
        verify=lambda params, seen: _verify(book, _wanted(book, seen), seen),
        what="Consul",
        suppose=_suppose,
    )
