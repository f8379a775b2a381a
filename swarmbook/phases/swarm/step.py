"""Phase 03, second third: the swarm and its managers. Phase 05 reads the same."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.docker_types import SwarmNode
from swarmbook.base.activity import doing
from swarmbook.base.errors import ForeignData, OutOfOrder, UsageError, WorldError
from swarmbook.base.secrets import register
from swarmbook.base.wait import wait_for
from swarmbook.base.words import subject
from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.model.health import Role, SwarmState
from swarmbook.params import Params
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.swarm.probe import LISTING, LOCAL, Local
from swarmbook.show.drawing import Card, Part, topology

__all__ = ["Swarm", "form", "nodes_table", "observe"]

_PORT = 2377
#: A manager that takes part in raft.
_IN_RAFT = ("leader", "reachable")


@dataclass(frozen=True)
class Swarm:
    """What each node says about itself, and what the managers say about all.

    Args:
        local: By node.
        nodes: By the swarm's node id.
        id: The swarm's id, or nothing when there is none.
    """

    local: Mapping[str, Local]
    nodes: Mapping[str, SwarmNode] = field(default_factory=dict)
    id: str = ""

    def node(self, name: str) -> SwarmNode | None:
        """Return a node's entry, by what the node itself says its id is."""
        return self.nodes.get(self.local[name].id)


def observe(book: Book) -> Swarm:
    """Ask every node, then the first manager that answers.

    Raises:
        OutOfOrder: No engine answers on a node.
        ForeignData: A node belongs to another swarm.
        WorldError: The swarm has no leader.
    """
    local = book.fleet.each(lambda host: host.ask(LOCAL))
    for name, seen in local.items():
        if not seen.answers:
            raise OutOfOrder(
                f"run 03 first: no engine answers on {name}",
                where=name,
                wanted="a running Docker Engine",
                seen=seen.error or "nothing",
                next="swarmbook run PARAMS --from 03",
            )
    manager = next((name for name, seen in local.items() if seen.manager), None)
    if manager is None:
        stranded = [name for name, seen in local.items() if seen.state is not SwarmState.INACTIVE]
        if stranded:
            raise _stranded(stranded, local)
        return Swarm(local)
    listing = book.fleet[manager].ask(LISTING)
    if isinstance(listing, str):
        raise WorldError(
            "the swarm has no leader: too many managers are gone",
            where=manager,
            wanted="a majority of the managers",
            seen=listing,
            next="start the managers that are down: swarmbook run PARAMS --only 01; then: swarmbook status PARAMS",
        )
    nodes = {node.id: node for node in listing}
    foreign = [name for name, seen in local.items() if seen.state is SwarmState.ACTIVE and seen.id not in nodes]
    if foreign:
        raise ForeignData(
            f"{subject(foreign, 'belongs', 'belong')} to another swarm",
            where=", ".join(foreign),
            wanted=f"the swarm of {manager}",
            seen=", ".join(f"{name}: node id {local[name].id}" for name in foreign),
            next=f"if that swarm may go: swarmbook ssh {foreign[0]} docker swarm leave --force",
        )
    return Swarm(local, nodes, local[manager].swarm)


def _stranded(names: list[str], local: Mapping[str, Local]) -> WorldError:
    """Build the error for nodes that are in a swarm, or were, none of which manages it."""
    seen = "\n".join(
        f"{name}: {local[name].state}" + (f": {local[name].error}" if local[name].error else "") for name in names
    )
    broken = [name for name in names if local[name].state not in (SwarmState.ACTIVE, SwarmState.PENDING)]
    if (
        broken
    ):  # the engine's own word: an expired certificate, a locked swarm; leaving would destroy what can be repaired
        return WorldError(
            f"the engine of {', '.join(broken)} cannot take part in its swarm",
            where=", ".join(broken),
            wanted="an engine whose swarm state is active, or inactive",
            seen=seen,
            next=f"read what the engine says above; its log: swarmbook ssh {broken[0]} journalctl -u docker -n 50",
        )
    return ForeignData(
        f"{subject(names, 'belongs', 'belong')} to a swarm none of whose managers is among the nodes",
        where=", ".join(names),
        wanted="no swarm, or one with a manager here",
        seen=seen,
        next=f"if that swarm is lost: swarmbook ssh {names[0]} docker swarm leave --force",
    )


class Form(Step[Swarm, Params]):
    """Form the swarm: the first manager initialises, the others join.

    Raises:
        ForeignData: A node belongs to another swarm.
        UsageError: The swarm's address pool overlaps a network that a node has a route to.
        WorldError: A manager would have to be demoted.
    """

    name = "swarm"

    def observe(self, book: Book) -> Swarm:
        return observe(book)

    def want(self, book: Book, seen: Swarm) -> Params:
        return book.params

    def plan(self, wanted: Params, seen: Swarm) -> list[Change]:
        changes = []
        managers = wanted.managers()
        if not seen.id:
            _refuse_overlap(wanted, seen)
            changes.append(Change(managers[0], Action.INIT_SWARM))
        for name in wanted.nodes:
            role = Role.MANAGER if name in managers else Role.WORKER
            node = seen.node(name)
            label = Change(name, Action.LABEL, (f"name={name}",))
            if node is None:
                if seen.id or name != managers[0]:
                    changes.append(Change(name, Action.JOIN_SWARM, (role.value,)))
                changes.append(label)
                continue
            if (node.role, role) == (Role.WORKER, Role.MANAGER):
                changes.append(Change(name, Action.PROMOTE))
            elif (node.role, role) == (Role.MANAGER, Role.WORKER):
                raise WorldError(
                    f"{name} is a manager and by the parameters should be a worker; "
                    "the book does not demote managers yet",
                    where=name,
                    wanted=f"managers: {', '.join(managers)}",
                    seen=f"{name}: manager",
                    next="a Consul server lives on every manager and has to leave its raft first; set swarm_managers "
                    "as it was, or rebuild: swarmbook rebuild PARAMS",
                )
            if node.labels.get("name") != name:
                changes.append(label)
        ours = {local.id for local in seen.local.values()}
        for node in seen.nodes.values():
            # A machine that was made again joins as a new node; its old entry would count as a lost manager for ever.
            if node.state == "down" and node.hostname in wanted.nodes and node.id not in ours:
                changes.append(Change(node.hostname, Action.FORGET, (node.id, node.role.value)))
        return changes

    def apply(self, book: Book, wanted: Params, seen: Swarm, changes: list[Change]) -> None:
        address = {node.name: node.private_address for node in book.nodes}
        with Todo(changes) as todo:
            new = []
            for change in todo.take(Action.INIT_SWARM):
                book.fleet[change.host].run(_init(address[change.host], wanted.swarm_address_pool))
                new.append(change.host)
            leader = _leader(wanted, seen)
            joins = todo.take(Action.JOIN_SWARM)
            if joins:
                _join_all(book, joins, address, leader)
                new += [change.host for change in joins]
            ids = {name: local.id for name, local in seen.local.items()}
            ids |= {name: local.id for name, local in book.fleet.each(lambda host: host.ask(LOCAL), new).items()}
            script: list[Script] = [sh("set -e")]
            for change in todo.take(Action.PROMOTE):
                script.append(sh("docker node promote @{id}", id=ids[change.host]))
            for change in todo.take(Action.LABEL):
                (label,) = change.things
                script.append(sh("docker node update --label-add @{label} @{id}", label=label, id=ids[change.host]))
            for change in todo.take(Action.FORGET):
                id, role = change.things
                if role == Role.MANAGER.value:
                    script.append(sh("docker node demote @{id}", id=id))
                script.append(sh("docker node rm --force @{id}", id=id))
            if script[1:]:
                book.fleet[leader].run(lines(*script))
        _settle(book)

    def verify(self, wanted: Params, seen: Swarm) -> list[Check]:
        return swarm_checks(wanted, seen)

    def assume(self, ahead: Forecast, params: Params, seen: Swarm | None) -> Swarm:
        known = seen or Swarm({})
        return replace(known, local={name: known.local.get(name, Local()) for name in params.nodes})

    def forecast(self, ahead: Forecast, seen: Swarm, changes: list[Change]) -> None:
        joining = [c for c in changes if c.action in (Action.INIT_SWARM, Action.JOIN_SWARM)]
        ahead.absent |= {change.host for change in joining}
        ahead.managers |= {
            name for name in seen.local if (node := seen.node(name)) is not None and node.role is Role.MANAGER
        }
        ahead.managers |= {
            change.host
            for change in changes
            if change.action in (Action.INIT_SWARM, Action.PROMOTE)
            or (change.action is Action.JOIN_SWARM and change.things == (Role.MANAGER.value,))
        }


form = Form()


def _refuse_overlap(params: Params, seen: Swarm) -> None:
    pool = ipaddress.ip_network(params.swarm_address_pool)
    for name, local in seen.local.items():
        clash = next((r for r in local.routes if pool.overlaps(ipaddress.ip_network(r, strict=False))), None)
        if clash:
            raise UsageError(
                "the swarm's address pool overlaps a network of a node",
                where=name,
                wanted="networks that do not share an address",
                seen=f"swarm_address_pool {pool}, {name} has a route to {clash}",
                next="choose another swarm_address_pool in the parameters",
            )


def _init(own: str, pool: str) -> Script:
    return sh(
        "docker swarm init --advertise-addr @{own} --data-path-addr @{own} --listen-addr @{listen} "
        "--default-addr-pool @{pool} --default-addr-pool-mask-length 24 >/dev/null",
        own=own,
        listen=f"{own}:{_PORT}",
        pool=pool,
    )


def _leader(params: Params, seen: Swarm) -> str:
    """Return a manager that is ready to take commands."""
    if not seen.id:
        return params.managers()[0]
    ready = (
        name
        for name in params.nodes
        if (node := seen.node(name)) and node.role is Role.MANAGER and node.state == "ready"
    )
    return next(ready)


def _join_all(book: Book, joins: list[Change], address: Mapping[str, str], leader: str) -> None:
    tokens = book.engine(leader).join_tokens()
    remote = f"{address[leader]}:{_PORT}"
    by_role = {role: [c.host for c in joins if c.things == (role.value,)] for role in Role}
    # Managers one after the other, since each changes the raft group; workers all at once.
    for name in by_role[Role.MANAGER]:
        _join(book, name, address[name], remote, tokens.manager)
    workers = by_role[Role.WORKER]
    book.fleet.each(lambda host: _join(book, host.name, address[host.name], remote, tokens.worker), workers)


def _join(book: Book, name: str, own: str, remote: str, token: str) -> None:
    """Join over the API: on a command line, every user of the node could read the token."""
    register(token)
    listen = f"{own}:{_PORT}"
    started = time.monotonic()
    with doing(name, "docker swarm join"):
        book.engine(name).join_swarm(remote, token, listen=listen, advertise=own)
    typed = sh(
        "docker swarm join --token @{token} --advertise-addr @{own} --data-path-addr @{own} --listen-addr @{listen} @{remote}",
        token=token,
        own=own,
        listen=listen,
        remote=remote,
    )
    book.transcript.record(name, typed, 0, time.monotonic() - started)


def _settle(book: Book) -> None:
    def settled() -> tuple[bool, str]:
        late = [
            f"{node.hostname}: {node.state} {node.manager}"
            for node in observe(book).nodes.values()
            if node.state != "ready" or (node.role is Role.MANAGER and node.manager not in _IN_RAFT)
        ]
        return not late, "; ".join(late)

    wait_for(
        "every node is ready",
        settled,
        timeout_s=min(60, book.params.wait_timeout),
        where="swarm",
        next="swarmbook status PARAMS",
        first_s=0.2,
    )


def swarm_checks(params: Params, seen: Swarm) -> list[Check]:
    """Check every node's role and state, one leader, and no node too many."""
    rows = []
    managers = params.managers()
    for name in params.nodes:
        role = "manager" if name in managers else "worker"
        node = seen.node(name)
        if node is None:
            rows.append(equal(name, "swarm", role, seen.local[name].state))
            continue
        rows += [
            equal(name, "role", role, node.role),
            equal(name, "state", "ready, active", f"{node.state}, {node.availability}"),
        ]
        if role == "manager":
            fine = node.manager in _IN_RAFT
            rows.append(Check(name, "manager status", "leader or reachable", node.manager, fine))
    leaders = [node.hostname for node in seen.nodes.values() if node.manager == "leader"]
    rows.append(equal("cluster", "leaders", 1, len(leaders)))
    rows.append(equal("cluster", "nodes in the swarm", len(params.nodes), len(seen.nodes)))
    return rows


def _card(name: str, node: SwarmNode | None) -> Card:
    if node is None:
        return Card(name, (Part("swarm", "not in it", "bad"),))
    fine = node.manager in _IN_RAFT or node.role is Role.WORKER
    return Card(
        name,
        (
            Part("state", node.state, "ok" if node.state == "ready" else "bad"),
            Part("takes tasks", node.availability, "ok" if node.availability == "active" else "bad"),
            Part("role", node.role.value, "ok"),
            Part("raft", node.manager or "no part", "ok" if fine else "bad"),
        ),
    )


@look()
def nodes_table(book: Book) -> CheckTable:
    """Show every node's role, state, manager status, engine and labels."""
    require_swarm(book)
    seen = observe(book)
    rows = swarm_checks(book.params, seen)
    engines = sorted({node.engine for node in seen.nodes.values()})
    cards = [_card(name, seen.node(name)) for name in book.params.nodes]
    show_picture(topology(cards, "The swarm"), "the swarm: the table below")
    rows.append(Check("cluster", "engine versions", "one", ", ".join(engines), len(engines) == 1))
    return CheckTable(rows)
