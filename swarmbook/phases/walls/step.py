"""Phase 03, first: a wall on every node, which lets the nodes alone into the cluster's ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swarmbook.access.node import Node
from swarmbook.base.errors import OutOfOrder, WorldError
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.params import Params
from swarmbook.phases.support.ports import SERVED, Port, Users, wanted_ports
from swarmbook.phases.support.wall import FILES, TABLE, WALL, Wall, rules_for, sum_of
from swarmbook.phases.walls.work import confirm_all, pull_down, put_up, still_reached, take_back, unanswered

__all__ = ["Wanted", "build", "wanted_walls"]


@dataclass(frozen=True)
class Wanted:
    """How the nodes' walls should be.

    Args:
        on: Whether they get any.
        ports: The cluster's ports.
        clients: Networks whose hosts may use a port that is for clients, by its number.
        rules: Of each node.
    """

    on: bool
    ports: tuple[Port, ...]
    clients: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)

    def things(self) -> tuple[str, ...]:
        """List each port, and for whom it is."""
        return tuple(f"{port} for {self.whom(port)}" for port in self.ports)

    def whom(self, port: Port) -> str:
        """Say for whom a port is."""
        words = {Users.NODES: "the nodes", Users.CONTAINERS: "their own containers"}
        found = [word for users, word in words.items() if users in port.users]
        return ", ".join([*found, *(self.clients[port.number] if Users.CLIENTS in port.users else ())])


def wanted_walls(params: Params, nodes: Sequence[Node], seen: Mapping[str, Wall]) -> Wanted:
    """Return how the walls should be.

    Another database on the same swarm has parameters of its own: what the walls say of its port stays.

    Args:
        params: The parameters.
        nodes: All of them, with their addresses.
        seen: The walls as they are.
    """
    ports = wanted_ports(params)
    shown = {port.number for port in ports if port.protocol == "tcp"}
    others = {port: clients for wall in seen.values() for port, clients in wall.databases.items() if port not in shown}
    mine = {port.number: tuple(params.mariadb_clients) for port in ports if Users.CLIENTS in port.users}
    ports += [Port("tcp", port, "another database", SERVED | Users.CLIENTS) for port in sorted(others)]
    clients = dict(sorted({**others, **mine}.items()))
    addresses, near = [node.private_address for node in nodes], sorted({node.near for node in nodes if node.near})
    rules = {node.name: rules_for(node.private_address, addresses, near, clients, ports) for node in nodes}
    return Wanted(params.walled(), tuple(ports), clients, rules)


class Build(Step[Mapping[str, Wall], Wanted]):
    """Put up the nodes' walls, or take them down.

    Raises:
        OutOfOrder: ``nft`` is missing; 02 installs it.
        WorldError: A kernel has no nftables; or a wall shut what must stay open, and was taken back.
    """

    name = "wall"

    def observe(self, book: Book) -> Mapping[str, Wall]:
        return book.fleet.each(lambda host: host.ask(WALL))

    def want(self, book: Book, seen: Mapping[str, Wall]) -> Wanted:
        return wanted_walls(book.params, book.nodes, seen)

    def plan(self, wanted: Wanted, seen: Mapping[str, Wall]) -> list[Change]:
        changes = []
        for host, wall in seen.items():
            if not wanted.on:
                if wall.there:
                    changes.append(Change(host, Action.REMOVE_WALL, (TABLE, *FILES)))
                continue
            _can_stand(host, wall)
            if why := _differs(wanted.rules[host], wall):
                because = "" if not wall.there else why
                changes.append(Change(host, Action.WALL, wanted.things(), because=because))
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Mapping[str, Wall], changes: list[Change]) -> None:
        with Todo(changes) as todo:
            book.fleet.each(pull_down, [change.host for change in todo.take(Action.REMOVE_WALL)])
            names = [change.host for change in todo.take(Action.WALL)]
        if not names:
            return
        before = unanswered(book, wanted.ports)
        try:
            book.fleet.each(lambda host: put_up(host, wanted.rules[host.name]), names)
            still_reached(book, wanted.ports, before)
            confirm_all(book, names)
        except BaseException:
            book.fleet.each(take_back, names)
            raise

    def verify(self, wanted: Wanted, seen: Mapping[str, Wall]) -> list[Check]:
        if not wanted.on:
            return [equal(host, "wall", "none", "there" if wall.there else "none") for host, wall in seen.items()]
        rows = []
        for host, wall in seen.items():
            why = _differs(wanted.rules[host], wall)
            rows.append(
                Check(host, "wall", "as wanted, loaded, and at boot", why or "as wanted, loaded, and at boot", not why)
            )
            audiences: dict[str, list[str]] = {}
            for port in wanted.ports:
                audiences.setdefault(wanted.whom(port), []).append(str(port))
            rows += [
                Check(host, f"for {whom} alone", " ".join(ports), "open to anyone" if why else " ".join(ports), not why)
                for whom, ports in audiences.items()
            ]
        return rows

    def assume(self, ahead: Forecast, params: Params, seen: Mapping[str, Wall] | None) -> Mapping[str, Wall]:
        return {name: Wall() if name in ahead.absent else (seen or {}).get(name, Wall()) for name in params.nodes}


build = Build()


def _can_stand(host: str, wall: Wall) -> None:
    if not wall.tool:
        raise OutOfOrder(
            f"run 02 first: {host} has no nft",
            where=host,
            wanted="the package nftables, which 02 installs",
            next="swarmbook run PARAMS --from 02",
        )
    if wall.trouble:
        raise WorldError(
            f"the kernel of {host} takes no rules of nftables, so no wall can stand on it; nothing was touched",
            where=host,
            wanted="nf_tables in its kernel",
            seen=wall.trouble,
            next="modprobe nf_tables, or a kernel that has it; or firewall: never, and shut the cluster's ports in front of the nodes",
        )


def _differs(rules: str, wall: Wall) -> str:
    """Say what of a wall is not as wanted; empty where it stands."""
    if not wall.loaded:
        return "not loaded"
    if wall.rules != sum_of(rules):
        return "other rules"
    if not wall.intact:
        return "changed by hand"
    return "" if wall.boots else "not at boot"
