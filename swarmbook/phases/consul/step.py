"""Phase 04: an HA Consul as a service of the swarm itself: servers on the managers, client agents on the rest."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.docker_api import Engine
from swarmbook.access.hosts import Host
from swarmbook.access.pki import Purpose
from swarmbook.access.probe import number, understood
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.machines.images.labels import CONSUL_VERSION
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.health import Role
from swarmbook.params import Params
from swarmbook.phases.consul import gossip
from swarmbook.phases.consul.acl import begin, let_in
from swarmbook.phases.consul.agents import wait_for_agents, wait_for_container, wait_for_updates
from swarmbook.phases.consul.config import FOLDER, PUBLIC_CA, STACK, Wanted, wanted
from swarmbook.phases.consul.fence import about_version, raft_check, refuse_leap, refuse_open_raft
from swarmbook.phases.consul.probe import NodeState, on_node
from swarmbook.phases.support import stack
from swarmbook.phases.support.authorities import advance, replacements
from swarmbook.phases.support.consul_api import api, patiently
from swarmbook.phases.support.consul_tokens import forget_others, known_tokens, lingering, write_token
from swarmbook.phases.support.images import ensure_images, image_of, nodes_without_image
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["Agents", "deploy"]

_CONFIG = "node.json"
_MANAGEMENT = "management"


def _mark(wanted: Wanted) -> str:
    return gossip.key_mark(wanted.gossip.reveal())


@dataclass(frozen=True)
class Agents:
    """Consul as it is.

    Args:
        nodes: Per node.
        specs: Hash on each service of the stack.
        secrets: Names of the swarm's secrets.
        leader: The raft leader, or nothing.
        let_in: Whether Consul knows the management token; it is as good as known while there is no leader to ask.
        tokens: Marks of the tokens that are there.
        keys: Marks of the gossip keys that agents accept; none while Consul does not say.
        managers: Nodes that are swarm managers, and so carry a server.
        version: Of the Consul that the image holds; empty while no node has it.
    """

    nodes: Mapping[str, NodeState]
    specs: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    leader: str = ""
    let_in: bool = True
    tokens: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    managers: tuple[str, ...] = ()
    version: tuple[int, ...] = ()


class Deploy(Step[Agents, Wanted]):
    """Deploy Consul, wait for its leader, give every agent its own token.

    Raises:
        WorldError: A port that an agent needs is taken.
    """

    name = "Consul"

    def observe(self, book: Book) -> Agents:
        manager = require_swarm(book)
        engines = book.engines()
        image = image_of(book, "consul")
        lacking = nodes_without_image(engines, image)
        listed = engines[manager].swarm_nodes()
        labels = {node.labels.get("name"): node.labels.get("consul", "") for node in listed}
        drained = {node.labels.get("name") for node in listed if node.availability != "active"}
        named = (node.labels.get("name", "") for node in listed if node.role is Role.MANAGER)
        managers = tuple(sorted(filter(None, named)))
        if not managers:
            raise WorldError(
                "the swarm lists no manager that 03 has named", where=manager, next="swarmbook run PARAMS --from 03"
            )

        def one(host: Host) -> NodeState:
            return host.ask(on_node(host.name not in lacking, labels.get(host.name, ""), host.name in drained))

        nodes = book.fleet.each(one)
        leader, known, tokens, keys = "", True, frozenset[str](), frozenset[str]()
        server = next((name for name, state in nodes.items() if state.running == f"{STACK}_server"), None)
        if server is not None:
            consul = api(book, server)
            if leader := consul.leader():
                known, tokens = patiently(
                    book, "Consul says which tokens it knows", lambda: (let_in(consul), known_tokens(consul))
                )
                keys = gossip.known_keys(consul)
        carrier = next((engine for name, engine in engines.items() if name not in lacking), None)
        return Agents(
            nodes,
            stack.specs(engines[manager], STACK),
            engines[manager].secrets(),
            leader,
            known,
            tokens,
            keys,
            managers,
            _version(carrier, image) if carrier is not None else (),
        )

    def want(self, book: Book, seen: Agents) -> Wanted:
        nameservers = {name: state.nameservers for name, state in seen.nodes.items()}
        image = image_of(book, "consul")
        return wanted(book, nameservers, seen.managers, seen.version, image)

    def plan(self, wanted: Wanted, seen: Agents) -> list[Change]:
        _refuse_version(wanted, seen)
        changes = [
            Change("cluster", Action.SECRET, (stack.secret_base(name),))
            for name in wanted.secrets
            if name not in seen.secrets
        ]
        for name, state in seen.nodes.items():
            config = wanted.configs[name]
            _refuse_taken_ports(name, state, config)
            if not state.image:
                changes.append(Change(name, Action.IMAGES, ("Consul's image",)))
            stale = _stale(state, config, wanted.private[name])
            if stale:
                changes.append(Change(name, Action.PUT_FILES, tuple(f"{FOLDER}/{file}" for file in sorted(stale))))
            role = "server" if config["server"] else "client"
            service = wanted.document["services"][role]["deploy"]["labels"][stack.SPEC_LABEL]
            if state.label != role:
                changes.append(Change(name, Action.LABEL, (f"consul={role}",)))
            elif set(stale) - {PUBLIC_CA} and state.running:
                changes.append(Change(name, Action.RESTART_AGENT, (state.running,)))
            elif not state.running and not state.drained and seen.specs.get(role) == service:
                # Its node has just come back, say. One that is deployed is waited for anyway.
                changes.append(Change(name, Action.AWAIT_AGENT, (f"{STACK}_{role}",)))
        for service, spec in wanted.document["services"].items():
            if seen.specs.get(service) != spec["deploy"]["labels"][stack.SPEC_LABEL]:
                because = "it has changed" if service in seen.specs else ""
                changes.append(Change("cluster", Action.DEPLOY, (f"{STACK}_{service}",), because=because))
        # Agents that are started with a key which the others do not know yet would be no one's neighbours: where Consul
        # does not say which keys it knows, another secret means another key.
        new_key = not seen.secrets >= wanted.secrets.keys() if not seen.keys else seen.keys != {_mark(wanted)}
        if seen.leader and new_key:
            changes.append(Change("cluster", Action.GOSSIP_KEY))
        if not seen.let_in:
            changes.append(Change("cluster", Action.TOKEN, (_MANAGEMENT,)))
        for name, token in wanted.tokens.items():
            if token.mark not in seen.tokens:
                changes.append(Change("cluster", Action.TOKEN, (name,)))
            elif lingering(token, seen.tokens):
                changes.append(Change("cluster", Action.REMOVE_TOKEN, (name,)))
        if old := stack.replaced_secrets(seen.secrets, wanted.secrets):
            changes.append(Change("cluster", Action.REMOVE_SECRETS, old))
        return changes + replacements(wanted.replacing)

    def apply(self, book: Book, wanted: Wanted, seen: Agents, changes: list[Change]) -> None:
        manager = require_swarm(book)
        engine = book.engine(manager)
        with Todo(changes) as todo:
            todo.take(Action.REPLACE_AUTHORITY)  # by stages: `advance`
            ensure_images(book, {c.host: ["consul"] for c in todo.take(Action.IMAGES)})
            if not seen.version:  # no node had the image, so nothing said which settings its Consul reads
                image = image_of(book, "consul")
                seen = replace(seen, version=_version(book.engine(min(seen.nodes)), image))
                wanted = self.want(book, seen)
                _refuse_version(wanted, seen)
            servers = [name for name, config in wanted.configs.items() if config["server"]]
            bases = {thing for change in todo.take(Action.SECRET) for thing in change.things}
            contents = {name: content for name, content in wanted.secrets.items() if stack.secret_base(name) in bases}
            stack.ensure_secrets(book, engine, contents, {})
            files = {c.host: c.things for c in todo.take(Action.PUT_FILES)}
            book.fleet.each(lambda host: _put(host, wanted, files[host.name], formed=bool(seen.leader)), files)
            tokens = [thing for change in todo.take(Action.TOKEN) for thing in change.things]
            replaced = [*tokens, *(thing for change in todo.take(Action.REMOVE_TOKEN) for thing in change.things)]
            new_key = bool(todo.take(Action.GOSSIP_KEY))
            if seen.leader:  # first: an agent that starts without its token would remember that the token is unknown
                begin(book, servers[0])  # a run that was killed may have got no further than the leader
                _make_tokens(book, wanted, servers[0], tokens)
            if new_key:  # before agents are started with it: the others have to understand them
                gossip.introduce(book, api(book, servers[0]), wanted.gossip)
            labels = todo.take(Action.LABEL)
            if labels:
                book.fleet[manager].run(lines(sh("set -e"), *map(_label, labels)))
            deployed = [thing for change in todo.take(Action.DEPLOY) for thing in change.things]
            if deployed:
                stack.deploy(book, manager, STACK, wanted.document)
                changed = [name for name in deployed if name.removeprefix(f"{STACK}_") in seen.specs]
                wait_for_updates(book, manager, changed)
            begin(book, servers[0])
            for change in todo.take(Action.RESTART_AGENT):  # one after the other, so that raft keeps its majority
                _restart(book.fleet[change.host], change.things[0])
                # The others take an agent for alive for a while after it has gone.
                wait_for_container(book, book.fleet[change.host], change.things[0])
                wait_for_agents(book, {name: api(book, name) for name in servers})
            awaited = {change.host: change.things[0] for change in todo.take(Action.AWAIT_AGENT)}
            book.fleet.each(lambda host: wait_for_container(book, host, awaited[host.name]), awaited)
            wait_for_agents(book, {name: api(book, name) for name in servers})
            if not seen.leader:
                _make_tokens(book, wanted, servers[0], tokens)
            else:
                forget_others(
                    book, api(book, servers[0]), [wanted.tokens[name] for name in replaced if name in wanted.tokens]
                )
            for change in todo.take(Action.REMOVE_SECRETS):
                stack.remove_secrets(book, manager, change.things)
            if new_key:
                gossip.forget_others(book, api(book, servers[0]), wanted.gossip)

    def verify(self, wanted: Wanted, seen: Agents) -> list[Check]:
        rows = []
        for name, config in wanted.configs.items():
            role = "server" if config["server"] else "client"
            state = seen.nodes[name]
            stale = _stale(state, config, wanted.private[name])
            rows += [
                equal(name, "agent runs", f"{STACK}_{role}", state.running or "none"),
                equal(name, f"files in {FOLDER}", "as wanted", " ".join(sorted(stale)) or "as wanted"),
            ]
        known = [token for token in wanted.tokens.values() if token.mark in seen.tokens]
        return [
            *rows,
            *about_version(seen.version),
            *raft_check(seen.version, wanted.configs, wanted.open_raft),
            Check("cluster", "raft leader", "one", seen.leader or "none", bool(seen.leader)),
            equal("cluster", "tokens and policies", len(wanted.tokens), len(known)),
            # While an agent is away, Consul does not say.
            Check("cluster", "gossip keys", "one", str(len(seen.keys) or "unknown"), len(seen.keys) < 2),
            stack.none_replaced(seen.secrets, wanted.secrets),
        ]

    def advance(self, book: Book) -> bool:
        return advance(book, Purpose.CONSUL)

    def files(self, book: Book, wanted: Wanted) -> Mapping[str, str]:
        return {f"stack-{STACK}.yaml": stack.file(wanted.cluster, STACK, wanted.document)}

    def assume(self, ahead: Forecast, params: Params, seen: Agents | None) -> Agents:
        # Nodes that are still to come have been sent the image by 03.
        known = seen or Agents({})
        nodes = {name: known.nodes.get(name) or NodeState(image=True) for name in params.nodes}
        return replace(known, nodes=nodes, managers=tuple(sorted({*known.managers, *ahead.managers})))


deploy = Deploy()

#: Only read when an agent first starts: a node that joins later changes nothing on those that run.
_AT_FIRST_START = ("retry_join", "bootstrap_expect")


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _AT_FIRST_START}


def _stale(state: NodeState, config: Mapping[str, Any], private: Mapping[str, bytes]) -> list[str]:
    """List the files on a node that are not as wanted."""
    stale = [file for file, content in private.items() if state.files.get(file) != hashlib.sha256(content).hexdigest()]
    return [*stale, *([_CONFIG] if _lasting(state.config) != _lasting(config) else [])]


def _refuse_taken_ports(name: str, state: NodeState, config: Mapping[str, Any]) -> None:
    taken = [listener.line for listener in state.listeners if listener.in_the_way_of(config)]
    if taken:
        raise WorldError(
            f"a port that Consul needs is in use on {name}",
            where=name,
            wanted=f"port 53 on {config['bind_addr']} and port {config['ports']['https']} free",
            seen="\n".join(taken),
            next="end what listens there, or choose another consul_https_port",
            code=Code.CONSUL_PORT_TAKEN,
        )


def _refuse_version(wanted: Wanted, seen: Agents) -> None:
    refuse_open_raft(seen.version, wanted.configs, wanted.open_raft)
    if seen.leader:
        refuse_leap(seen.version, {name: state.config for name, state in seen.nodes.items()})


def _version(engine: Engine, image: str) -> tuple[int, ...]:
    """Return the version of the Consul in an image: it says what the agents' files have to look like.

    Raises:
        WorldError: The image does not say it, or something that is none.
    """
    text = engine.image_labels(image).get(CONSUL_VERSION, "")
    with understood(engine.name):
        return tuple(number(part) for part in text.split("."))


def _put(host: Host, wanted: Wanted, paths: tuple[str, ...], *, formed: bool) -> None:
    for path in paths:
        file = posixpath.relpath(path, FOLDER)
        config = dict(wanted.configs[host.name])
        if formed:  # a server that comes later must not expect to form a cluster
            config.pop("bootstrap_expect", None)
        content = json.dumps(config, indent=2).encode() if file == _CONFIG else wanted.private[host.name][file]
        host.put(path, content, mode=0o644 if file == PUBLIC_CA else 0o600)


def _label(change: Change) -> Script:
    return sh(
        "docker node update --label-add @{label} $(docker node ls -q --filter @{filter})",
        label=change.things[0],
        filter=f"node.label=name={change.host}",
    )


def _restart(host: Host, service: str) -> None:
    select = f"label=com.docker.swarm.service.name={service}"
    host.run(sh("docker rm -f $(docker ps -q --filter @{select})", select=select))


def _make_tokens(book: Book, wanted: Wanted, server: str, names: list[str]) -> None:
    consul = api(book, server)
    for name in names:
        if name != _MANAGEMENT:  # which `begin` has made
            write_token(book, consul, wanted.tokens[name])
