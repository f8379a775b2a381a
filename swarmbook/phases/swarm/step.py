"""Phase 03, second third: the swarm and its managers. Phase 05 reads the same."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import replace

from swarmbook.access.commands import Script, lines, sh
from swarmbook.base.activity import doing
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.secrets import register
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check
from swarmbook.model.health import Role
from swarmbook.params import Params
from swarmbook.phases.support.autolock import lock
from swarmbook.phases.support.join_tokens import NEW_JOIN_TOKENS
from swarmbook.phases.swarm.probe import LOCAL, Local
from swarmbook.phases.swarm.state import Swarm, gone, late, observe
from swarmbook.phases.swarm.verify import swarm_checks

__all__ = ["form"]

_PORT = 2377
#: Seconds in which each node reports to the managers. A node that is silent for three periods counts as down, and the
#: swarm ends every container on it and starts it again, the database too. The engine's 5 s is short for a busy
#: computer, and nothing here waits for the swarm to notice: no service moves to another node.
_HEARTBEAT_S = 20
#: The engine's own; any other is what a person has set.
_DEFAULT_HEARTBEAT_S = 5
#: Label of a node that a run went on without, and drained; a node that a person has drained does not have it.
_LEFT_OUT = "swarmbook.left-out"


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
                    f"{name} is a manager and by the parameters should be a worker",
                    where=name,
                    wanted=f"managers: {', '.join(managers)}",
                    seen=f"{name}: manager",
                    next="swarmbook scale PARAMS, which demotes it, after its Consul server has left raft; or set swarm_managers as it was",
                )
            if node.labels.get("name") != name:
                changes.append(label)
            if _LEFT_OUT in node.labels:
                changes.append(Change(name, Action.TAKE_BACK, (node.id,)))
            if late(node):  # its engine answers: it is on its way, after a manager was lost, say
                changes.append(Change(name, Action.AWAIT_NODE, because=node.state))
        if seen.id and seen.heartbeat_s == _DEFAULT_HEARTBEAT_S:
            changes.append(Change("cluster", Action.HEARTBEAT, (str(_HEARTBEAT_S),)))
        # A machine that was made again joins as a new node. Its old entry would count as a lost manager for ever, and a
        # raft in which two members have one address loses its way: it goes first, whether or not it is down already.
        # What a person has switched on by hand, and keeps the key of, stays.
        if wanted.swarm_autolock and not (seen.autolock and seen.key_is_kept):
            changes.append(Change("cluster", Action.AUTOLOCK, ("on",)))
        elif not wanted.swarm_autolock and seen.autolock and seen.key_is_kept:
            changes.append(Change("cluster", Action.AUTOLOCK, ("off",)))
        return [*_forgotten(wanted, seen), *changes, *_left_out(wanted, seen)]

    def apply(self, book: Book, wanted: Params, seen: Swarm, changes: list[Change]) -> None:
        address = {node.name: node.private_address for node in book.nodes}
        with Todo(changes) as todo:
            new = []
            for change in todo.take(Action.INIT_SWARM):
                book.fleet[change.host].run(_init(address[change.host], wanted.swarm_address_pool))
                new.append(change.host)
            leader = _leader(wanted, seen)
            forgotten = [_forget(change) for change in todo.take(Action.FORGET)]
            if forgotten:
                book.fleet[leader].run(lines(sh("set -e"), *forgotten))
            joins = todo.take(Action.JOIN_SWARM)
            if joins:
                _join_all(book, joins, address, leader)
                book.fleet[leader].run(NEW_JOIN_TOKENS)
                new += [change.host for change in joins]
            ids = {name: local.id for name, local in seen.local.items()}
            ids |= {name: local.id for name, local in book.fleet.each(lambda host: host.ask(LOCAL), new).items()}
            script: list[Script] = [sh("set -e")]
            for change in todo.take(Action.PROMOTE):
                script.append(sh("docker node promote @{id}", id=ids[change.host]))
            for change in todo.take(Action.LEAVE_OUT):
                script.append(
                    sh(
                        "docker node update --availability drain --label-add @{mark}=yes @{id}",
                        mark=_LEFT_OUT,
                        id=change.things[0],
                    )
                )
            for change in todo.take(Action.TAKE_BACK):
                script.append(
                    sh(
                        "docker node update --availability active --label-rm @{mark} @{id}",
                        mark=_LEFT_OUT,
                        id=change.things[0],
                    )
                )
            for change in todo.take(Action.LABEL):
                (label,) = change.things
                script.append(sh("docker node update --label-add @{label} @{id}", label=label, id=ids[change.host]))
            for change in todo.take(Action.HEARTBEAT):
                script.append(
                    sh("docker swarm update --dispatcher-heartbeat @{period}s >/dev/null", period=change.things[0])
                )
            if script[1:]:
                book.fleet[leader].run(lines(*script))
            todo.take(Action.AWAIT_NODE)
            for change in todo.take(Action.AUTOLOCK):
                lock(book, leader, change.things == ("on",))
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


def _forgotten(params: Params, seen: Swarm) -> list[Change]:
    ours = {local.id for local in seen.local.values()}
    changes = []
    for node in seen.nodes.values():
        name = node.name
        if name in params.nodes and node.id not in ours:
            changes.append(Change(name, Action.FORGET, (node.id, node.role.value)))
    return changes


def _left_out(params: Params, seen: Swarm) -> list[Change]:
    """Plan that the swarm counts no longer on nodes that are gone: it would wait for them in the middle of an update."""
    return [
        Change(node.name, Action.LEAVE_OUT, (node.id,))
        for node in seen.nodes.values()
        if gone(params, node) and node.availability == "active"
    ]


def _forget(change: Change) -> Script:
    id, role = change.things
    demote = sh("docker node demote @{id}", id=id) if role == Role.MANAGER.value else sh("true")
    return lines(demote, sh("docker node rm --force @{id}", id=id))


def _init(own: str, pool: str) -> Script:
    return sh(
        "docker swarm init --advertise-addr @{own} --data-path-addr @{own} --listen-addr @{listen} "
        "--default-addr-pool @{pool} --default-addr-pool-mask-length 24 --dispatcher-heartbeat @{heartbeat}s >/dev/null",
        own=own,
        listen=f"{own}:{_PORT}",
        pool=pool,
        heartbeat=str(_HEARTBEAT_S),
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
        missing = [
            f"{node.hostname}: {node.state} {node.manager}"
            for node in observe(book).nodes.values()
            if not gone(book.params, node) and late(node)
        ]
        return not missing, "; ".join(missing)

    wait_for(
        "every node is ready",
        settled,
        timeout_s=book.params.wait_timeout,
        where="swarm",
        next="swarmbook status PARAMS",
        first_s=0.2,
    )
