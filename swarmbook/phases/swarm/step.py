"""Phase 03, second half: the swarm and its managers. Phase 05 reads the same."""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swarmbook.access.docker_api import api_errors
from swarmbook.access.hosts import Host
from swarmbook.base.activity import doing
from swarmbook.base.errors import ForeignData, OutOfOrder, UsageError, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book, Change, Prospect, StepResult, converge, look, show_picture
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.params import ParamView
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.show.drawing import Card, Part, topology

__all__ = ["Member", "Swarm", "form", "nodes_table", "plan_swarm"]

_PORT = 2377


@dataclass(frozen=True)
class Member:
    """A node as the swarm's managers list it."""

    id: str
    hostname: str
    role: str
    state: str
    availability: str
    manager: str
    engine: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Swarm:
    """What each node says of itself, and what the managers say of all.

    Args:
        local: Per node: ``LocalNodeState``, the swarm's id and the node's id, as ``docker info`` gives them.
        members: By swarm node id.
        id: The swarm's id, or nothing when there is none.
        routes: Per node, the networks it has routes to.
    """

    local: Mapping[str, tuple[str, str]]
    members: Mapping[str, Member] = field(default_factory=dict)
    id: str = ""
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def member(self, name: str) -> Member | None:
        """A node's entry, by what the node itself says its id is."""
        return self.members.get(self.local[name][1])


_PROBE = """docker info --format '{"state": "{{.Swarm.LocalNodeState}}", "id": "{{.Swarm.NodeID}}", "manager": {{.Swarm.ControlAvailable}}, "cluster": {{if .Swarm.Cluster}}"{{.Swarm.Cluster.ID}}"{{else}}""{{end}}}'"""


def observe(book: Book) -> Swarm:
    """Ask every node, then the first manager that answers."""

    def one(host: Host) -> tuple[dict[str, Any], tuple[str, ...]]:
        lines = host.run(f"{_PROBE}; ip -4 -o route show scope link | cut -d' ' -f1", check=False).stdout.splitlines()
        if not lines or not lines[0].startswith("{"):
            raise OutOfOrder(
                f"run 03 first: no engine answers on {host.name}",
                where=host.name,
                wanted="a running Docker Engine",
                seen=" ".join(lines)[:200] or "nothing",
                next="swarmbook run PARAMS --from 03",
            )
        return json.loads(lines[0]), tuple(line for line in lines[1:] if "/" in line)

    seen = book.fleet.each(one)
    routes = {name: found for name, (_, found) in seen.items()}
    local = {name: (info["state"], info["id"]) for name, (info, _) in seen.items()}
    manager = next((name for name, (info, _) in seen.items() if info["manager"]), None)
    if manager is None:
        stranded = [name for name, (state, _) in local.items() if state not in ("inactive", "")]
        if stranded:
            raise ForeignData(
                f"{', '.join(stranded)} belongs to a swarm none of whose managers is among the nodes",
                where=", ".join(stranded),
                wanted="no swarm, or one with a manager here",
                seen=", ".join(f"{name}: {local[name][0]}" for name in stranded),
                next=f"if that swarm is lost: swarmbook ssh {stranded[0]} docker swarm leave --force",
            )
        return Swarm(local, routes=routes)
    listing = book.fleet[manager].run("docker node inspect $(docker node ls -q)", check=False)
    if not listing.ok:
        raise WorldError(
            "the swarm has no leader: too many managers are gone",
            where=manager,
            wanted="a majority of the managers",
            seen=listing.stderr.strip()[:300],
            next="start the managers that are down: swarmbook run PARAMS --only 01; then: swarmbook status PARAMS",
        )
    members = {entry["ID"]: _member(entry) for entry in json.loads(listing.stdout)}
    foreign = [name for name, (state, id) in local.items() if state == "active" and id not in members]
    if foreign:
        raise ForeignData(
            f"{', '.join(foreign)} belongs to another swarm",
            where=", ".join(foreign),
            wanted=f"the swarm of {manager}",
            seen=", ".join(f"{name}: node id {local[name][1]}" for name in foreign),
            next=f"if that swarm may go: swarmbook ssh {foreign[0]} docker swarm leave --force",
        )
    return Swarm(local, members, seen[manager][0]["cluster"], routes)


def _member(entry: Mapping[str, Any]) -> Member:
    status = entry.get("ManagerStatus") or {}
    manager = "leader" if status.get("Leader") else status.get("Reachability", "")
    spec = entry["Spec"]
    return Member(
        entry["ID"], entry["Description"]["Hostname"], spec["Role"], entry["Status"]["State"], spec["Availability"],
        manager, entry["Description"]["Engine"]["EngineVersion"], spec.get("Labels") or {},
    )  # fmt: skip


def plan_swarm(params: ParamView, seen: Swarm) -> list[Change]:
    """Changes that form the swarm; pure.

    Raises:
        UsageError: The swarm's address pool overlaps a network that a node has a route to.
        WorldError: A manager would have to be demoted.
    """
    changes = []
    managers = params.managers()
    if not seen.id:
        pool = ipaddress.ip_network(params.swarm_address_pool)
        for name, routes in seen.routes.items():
            clash = next((route for route in routes if pool.overlaps(ipaddress.ip_network(route, strict=False))), None)
            if clash:
                raise UsageError(
                    "the swarm's address pool overlaps a network of a node",
                    where=name,
                    wanted="networks that do not share an address",
                    seen=f"swarm_address_pool {pool}, {name} has a route to {clash}",
                    next="choose another swarm_address_pool in the parameters",
                )
        changes.append(Change(managers[0], "init", "swarm initialised"))
    for name in params.nodes:
        role = "manager" if name in managers else "worker"
        member = seen.member(name)
        if member is None:
            if seen.id or name != managers[0]:
                changes.append(Change(name, "join", f"joined as {role}", {"role": role}))
            changes.append(Change(name, "label", f"node label name={name}"))
            continue
        if member.role == "worker" and role == "manager":
            changes.append(Change(name, "promote", "promoted to manager"))
        elif member.role == "manager" and role == "worker":
            raise WorldError(
                f"{name} is a manager and by the parameters should be a worker; the book does not demote managers yet",
                where=name,
                wanted=f"managers: {', '.join(managers)}",
                seen=f"{name}: manager",
                next="a Consul server lives on every manager and has to leave its raft first; set swarm_managers as it was, or rebuild: swarmbook rebuild PARAMS",
            )
        if member.labels.get("name") != name:
            changes.append(Change(name, "label", f"node label name={name}"))
    ours = {id for _, id in seen.local.values()}
    for member in seen.members.values():
        # A machine that was made anew joins as a new node; its old entry would count as a lost manager for ever.
        if member.state == "down" and member.hostname in params.nodes and member.id not in ours:
            changes.append(
                Change(
                    member.hostname,
                    "forget",
                    "entry of its earlier machine removed",
                    {"id": member.id, "role": member.role},
                )
            )
    return changes


def _apply(book: Book, seen: Swarm, changes: list[Change]) -> None:
    address = {node.name: node.private_address for node in book.nodes}
    pool = book.params.swarm_address_pool
    for change in changes:
        if change.action == "init":
            own = address[change.host]
            book.fleet[change.host].run(
                f"docker swarm init --advertise-addr {own} --listen-addr {own}:{_PORT} --default-addr-pool {pool} --default-addr-pool-mask-length 24 >/dev/null"
            )
    if seen.id:
        leader = next(
            name
            for name in book.params.nodes
            if (m := seen.member(name)) and m.role == "manager" and m.state == "ready"
        )
    else:
        leader = book.params.managers()[0]
    tokens = book.engine(leader).swarm
    tokens.reload()
    joins = [change for change in changes if change.action == "join"]
    # Managers one after the other, since each changes the raft group; workers all at once.
    for change in [c for c in joins if c.data["role"] == "manager"]:
        _join(book, change.host, address, leader, tokens.attrs["JoinTokens"]["Manager"])
    workers = [change.host for change in joins if change.data["role"] == "worker"]
    book.fleet.each(lambda host: _join(book, host.name, address, leader, tokens.attrs["JoinTokens"]["Worker"]), workers)
    ids = {name: id for name, (_, id) in seen.local.items()}
    new = {c.host for c in changes if c.action in ("init", "join")}
    ids.update(
        book.fleet.each(
            lambda host: host.run("docker info --format '{{.Swarm.NodeID}}'").stdout.strip(),
            [n for n in book.params.nodes if n in new],
        )
    )
    script = []
    for change in changes:
        if change.action == "promote":
            script.append(f"docker node promote {ids[change.host]}")
        elif change.action == "label":
            script.append(f"docker node update --label-add name={shlex.quote(change.host)} {ids[change.host]}")
        elif change.action == "forget":
            if change.data["role"] == "manager":
                script.append(f"docker node demote {change.data['id']}")
            script.append(f"docker node rm --force {change.data['id']}")
    if script:
        book.fleet[leader].run("set -e\n" + "\n".join(script))

    def settled() -> tuple[bool, str]:
        now = observe(book)
        late = [
            f"{m.hostname}: {m.state} {m.manager}"
            for m in now.members.values()
            if m.state != "ready" or (m.role == "manager" and m.manager not in ("leader", "reachable"))
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


def _join(book: Book, name: str, address: Mapping[str, str], leader: str, token: str) -> None:
    """Over the API: on a command line the token could be read by everybody on the node."""
    import time

    import docker.errors

    from swarmbook.base.secrets import register

    register(token)
    own, remote = address[name], f"{address[leader]}:{_PORT}"
    started = time.monotonic()
    try:
        with doing(name, "docker swarm join"):
            book.engine(name).swarm.join([remote], token, listen_addr=f"{own}:{_PORT}", advertise_addr=own)
    except docker.errors.APIError as error:
        raise api_errors(name, f"joining the swarm at {remote}", error) from None
    book.transcript.record(
        name,
        f"docker swarm join --token {token} --advertise-addr {own} --listen-addr {own}:{_PORT} {remote}",
        0,
        time.monotonic() - started,
    )


def _suppose(book: Book, seen: Swarm | None) -> Swarm:
    known = seen or Swarm({})
    return replace(known, local={name: known.local.get(name, ("inactive", "")) for name in book.params.nodes})


def _ahead(prospect: Prospect, seen: Swarm, changes: list[Change]) -> None:
    prospect.absent |= {change.host for change in changes if change.action in ("init", "join")}
    prospect.managers |= {
        name for name in seen.local if (member := seen.member(name)) is not None and member.role == "manager"
    }
    prospect.managers |= {
        change.host
        for change in changes
        if change.action in ("init", "promote") or change.data.get("role") == "manager"
    }


def _checks(params: ParamView, seen: Swarm) -> list[Check]:
    rows = []
    managers = params.managers()
    for name in params.nodes:
        role = "manager" if name in managers else "worker"
        member = seen.member(name)
        if member is None:
            rows.append(equal(name, "swarm", role, seen.local[name][0]))
            continue
        rows += [
            equal(name, "role", role, member.role),
            equal(name, "state", "ready, active", f"{member.state}, {member.availability}"),
        ]
        if role == "manager":
            rows.append(
                Check(
                    name,
                    "manager status",
                    "leader or reachable",
                    member.manager,
                    member.manager in ("leader", "reachable"),
                )
            )
    leaders = [m.hostname for m in seen.members.values() if m.manager == "leader"]
    rows.append(equal("cluster", "leaders", 1, len(leaders)))
    rows.append(equal("cluster", "nodes in the swarm", len(params.nodes), len(seen.members)))
    return rows


def form(book: Book) -> StepResult:
    """Form the swarm: the first manager initialises, the others join.

    Raises:
        ForeignData: A node belongs to another swarm.
    """
    return converge(
        book,
        observe=observe,
        plan=plan_swarm,
        apply=_apply,
        verify=_checks,
        what="swarm",
        suppose=_suppose,
        ahead=_ahead,
    )


def _card(name: str, member: Member | None) -> Card:
    if member is None:
        return Card(name, (Part("swarm", "not in it", "bad"),))
    fine = member.manager in ("leader", "reachable") or member.role == "worker"
    return Card(
        name,
        (
            Part("state", member.state, "ok" if member.state == "ready" else "bad"),
            Part("takes tasks", member.availability, "ok" if member.availability == "active" else "bad"),
            Part("role", member.role, "ok"),
            Part("raft", member.manager or "no part", "ok" if fine else "bad"),
        ),
    )


def nodes_table(book: Book) -> StepResult:
    """Read only: every node's role, state, manager status, engine and labels."""

    def checks(book: Book) -> CheckTable:
        require_swarm(book)
        seen = observe(book)
        rows = _checks(book.params, seen)
        engines = sorted({member.engine for member in seen.members.values()})
        show_picture(
            topology([_card(name, seen.member(name)) for name in book.params.nodes], "The swarm"),
            "the swarm: the table below",
        )
        rows.append(Check("cluster", "engine versions", "one", ", ".join(engines), len(engines) == 1))
        return CheckTable(rows)

    return look(book, checks)
