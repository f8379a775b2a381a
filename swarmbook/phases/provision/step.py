"""Phase 01: an SSH key, the price, the machines. Phase 91: their end."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.fleet import fan_out
from swarmbook.access.hosts import Host
from swarmbook.access.node import Node
from swarmbook.access.probe import Probe, line, word
from swarmbook.access.ssh_keys import (
    fingerprint,
    generate_key,
    public_beside,
    public_part,
    same_key,
    take_key,
    usable,
)
from swarmbook.base.errors import ForeignData, PlanMismatch
from swarmbook.base.words import many
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.machines.providers import costs_money, provider_for
from swarmbook.machines.providers.base import Found
from swarmbook.machines.providers.own_keys import key_checks
from swarmbook.model.change import NEW_NODE, Action, Change, Todo, Word
from swarmbook.model.checks import Check, CheckTable, Table, equal

__all__ = ["cancel", "doomed", "key", "machines", "price", "reach"]


@dataclass(frozen=True)
class KeyFile:
    """The cluster's SSH key, as far as it is there.

    Args:
        there: Whether it is.
        private: Whether only its owner may read it.
        needed: Whether anyone logs in with it.
        keys: What logs in to hosts of one's own.
    """

    there: bool
    private: bool = False
    needed: bool = True
    keys: tuple[Check, ...] = ()


class Key(Step[KeyFile, str]):
    """Take the SSH key that ``ssh_key_file`` names, or generate one for the cluster; none where hosts of one's own take other keys.

    Raises:
        UsageError: The key that is named cannot be used, or none is known for a host.
        WorldError: An ssh-agent is not there, or does not hold a key that is named.
        ForeignData: The cluster has another one already.
    """

    name = "SSH key"
    asks_nodes = False

    def hosts(self, book: Book) -> int:
        return 0

    def observe(self, book: Book) -> KeyFile:
        file = book.cluster.key_file
        there = file.exists()
        source = _source(book)
        if source is not None:
            wanted = public_part(source)
            if there and not same_key(wanted, public_part(file)):
                raise ForeignData(
                    "the cluster has another SSH key already",
                    where=str(file),
                    wanted=f"the key of {source}, {fingerprint(wanted)}",
                    seen=fingerprint(public_part(file)),
                    next="leave ssh_key_file empty: the nodes know the key that is there",
                )
        keys = key_checks(book) if book.params.provider == "generic" else []
        return KeyFile(there, there and file.stat().st_mode & 0o077 == 0, source is not None or not keys, tuple(keys))

    def want(self, book: Book, seen: KeyFile) -> str:
        return str(_source(book) or "")

    def plan(self, wanted: str, seen: KeyFile) -> list[Change]:
        if seen.there or not seen.needed:
            return []
        return [Change("here", Action.TAKE_KEY, (wanted,)) if wanted else Change("here", Action.GENERATE_KEY)]

    def apply(self, book: Book, wanted: str, seen: KeyFile, changes: list[Change]) -> None:
        comment = f"swarmbook-{book.cluster.name}"
        with Todo(changes) as todo:
            for change in todo.take(Action.TAKE_KEY):
                take_key(Path(change.things[0]), book.cluster.key_file, comment)
            for _ in todo.take(Action.GENERATE_KEY):
                generate_key(book.cluster.key_file, comment)

    def verify(self, wanted: str, seen: KeyFile) -> list[Check]:
        own = [equal("here", "private key, readable by its owner only", True, seen.private)] if seen.needed else []
        return [*own, *seen.keys]


def _source(book: Book) -> Path | None:
    """Return the path of the key that is to be taken; from the book's folder, wherever the kernel runs.

    One that an agent has to hold stays where it is.
    """
    p = book.params
    path = book.cluster.root / Path(p.ssh_key_file).expanduser() if p.ssh_key_file else None
    agents = p.provider == "generic" and p.ssh_agent
    return None if path is not None and agents and not usable(path) and public_beside(path) else path


key = Key()


@look(hosts=0)
def price(book: Book) -> Table:
    """Show what the machines are and cost, before anything is ordered."""
    offers = provider_for(book).offers(book.params.nodes)
    monthly = any(o.monthly_cost for o in offers)
    costs = [o.monthly_cost if monthly else o.hourly_cost for o in offers]
    digits = 2 if monthly else 3
    rows = [[o.name, o.what, f"{cost:.{digits}f}"] for o, cost in zip(offers, costs)]
    total = ["all", many(len(offers), "machine"), f"{sum(costs):.{digits}f}"]
    return Table(["node", "what", "per month" if monthly else "per hour"], [*rows, total])


@dataclass(frozen=True)
class Machines:
    """The machines as they are.

    Args:
        found: What the provider knows of.
        inventory: What the cluster's folder says.
        nodes: What the inventory should say; empty while a machine is missing or does not run.
        pinned: The host keys that are pinned.
    """

    found: tuple[Found, ...]
    inventory: tuple[Node, ...]
    nodes: tuple[Node, ...] = ()
    pinned: str = ""


@dataclass(frozen=True)
class Wanted:
    """What the provider makes of it.

    Args:
        names: The nodes that should run.
        changes: What the provider would do.
        pin: The line by which a node's host key is pinned.
    """

    names: tuple[str, ...]
    changes: tuple[Change, ...]
    pin: Callable[[Node], str]


class ProvideMachines(Step[Machines, Wanted]):
    """Get every machine of the parameters running, and write the inventory.

    Raises:
        ConfirmationMissing: Machines cost money, and the parameter ``confirm`` is not ``ORDER``.
    """

    name = "machines"
    asks_nodes = False

    def observe(self, book: Book) -> Machines:
        book.cluster.refuse_removal(book.params.nodes)
        provider = provider_for(book)
        found = tuple(provider.machines())
        missing = provider.plan(book.params.nodes, found)
        nodes = () if missing else tuple(provider.wait(book.params.nodes))
        return Machines(found, tuple(book.cluster.nodes), nodes, book.cluster.pinned())

    def want(self, book: Book, seen: Machines) -> Wanted:
        provider = provider_for(book)
        changes = provider.plan(book.params.nodes, seen.found)
        if costs_money(book.params) and any(change.action in NEW_NODE for change in changes):
            prices = {offer.name: offer.price for offer in provider.offers(book.params.nodes)}
            changes = [
                replace(change, things=(*change.things, prices[change.host]), word=Word.ORDER)
                if change.action in NEW_NODE
                else change
                for change in changes
            ]
        return Wanted(tuple(book.params.nodes), tuple(changes), book.cluster.pin)

    def plan(self, wanted: Wanted, seen: Machines) -> list[Change]:
        changes = list(wanted.changes)
        known = {node.name: node for node in seen.inventory}
        for node in seen.nodes:
            # A machine that was restarted behind our back is published on other ports; a key file may have been edited.
            if known.get(node.name) != node:
                changes.append(Change(node.name, Action.INVENTORY))
            elif wanted.pin(node) not in seen.pinned:
                changes.append(Change(node.name, Action.PIN))
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Machines, changes: list[Change]) -> None:
        provider = provider_for(book)
        provider.provision([c for c in changes if c.action not in (Action.INVENTORY, Action.PIN)])
        nodes = provider.wait(book.params.nodes)
        # What is known of the cluster is not given up for machines that let no one in.
        _prove(book, [node for node in nodes if node not in seen.inventory])
        book.cluster.save_nodes(nodes, provider.name)

    def verify(self, wanted: Wanted, seen: Machines) -> list[Check]:
        states = {machine.name: machine for machine in seen.found}
        rows = []
        for name in wanted.names:
            machine = states.get(name)
            what = f"machine {machine.id} at {machine.private_address}" if machine else "machine"
            rows.append(equal(name, what, "running", machine.word if machine else "absent"))
        return rows

    def forecast(self, ahead: Forecast, seen: Machines, changes: list[Change]) -> None:
        ahead.absent |= {change.host for change in changes if change.action in NEW_NODE}
        late = [change.host for change in changes if change.action not in NEW_NODE]
        if late:
            ahead.unknown = f"{', '.join(late)} cannot be asked before 01 has run (swarmbook run PARAMS --only 01)"


machines = ProvideMachines()


def _prove(book: Book, nodes: Sequence[Node]) -> None:
    """Log in to machines that the inventory does not have, or has otherwise, with the host keys that their provider names.

    Raises:
        HostUnreachable: One does not answer.
        HostKeyMismatch: Another machine does.
        LoginRefused: It does not let us in.
    """

    def one(node: Node) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="swarmbook-pins-") as pins:
            pins.write(book.cluster.pins_of(node))
            pins.flush()
            with contextlib.closing(Host(node, book.cluster, book.transcript, Path(pins.name))) as host:
                host.ask(_WHO, quiet=True)

    fan_out(one, {node.name: node for node in nodes})


#: Who we are on a node, and what it runs.
_WHO: Probe[tuple[str, str]] = Probe(
    sh("id -un | as user; uname -sr | as kernel"),
    lambda facts: (word("".join(facts["user"])), line("".join(facts["kernel"]))[:80]),
)


@look()
def reach(book: Book) -> CheckTable:
    """Log in to every node over SSH, with the host key that was pinned."""
    seen = book.fleet.each(lambda host: host.ask(_WHO))
    wanted = "with the pinned host key, as root"
    return CheckTable(
        [Check(name, "logs in", wanted, f"{user}, {kernel}", user == "root") for name, (user, kernel) in seen.items()]
    )


@look(hosts=0)
def doomed(book: Book) -> Table:
    """Name all that 91 would remove; nothing is touched."""
    return Table(["will be removed"], [[thing] for thing in _things(book)])


def _things(book: Book) -> tuple[str, ...]:
    return (*provider_for(book).doomed(), *_folder(book.cluster))


def _folder(cluster: Cluster) -> list[str]:
    """Name the cluster's folder, if it holds more than the lock of this command.

    A run that got no further than the key leaves one too.
    """
    folder = cluster.folder
    kept = {path.name for path in folder.iterdir()} - {"lock", "lock.json"} if folder.is_dir() else set()
    return [f"folder {folder} with the cluster's keys, certificates and secrets"] if kept else []


class Cancel(Step[tuple[str, ...], None]):
    """Remove machines, disks, network, keys and the cluster's folder.

    Raises:
        ConfirmationMissing: The parameter ``confirm`` is not ``CANCEL``.
        PlanMismatch: There is more than what was approved.
    """

    name = "cancel"
    asks_nodes = False

    def hosts(self, book: Book) -> int:
        return len(book.cluster.nodes)

    def observe(self, book: Book) -> tuple[str, ...]:
        return _things(book)

    def want(self, book: Book, seen: tuple[str, ...]) -> None:
        return None

    def plan(self, wanted: None, seen: tuple[str, ...]) -> list[Change]:
        return [Change("cluster", Action.REMOVE, (thing,), Word.CANCEL) for thing in seen]

    def apply(self, book: Book, wanted: None, seen: tuple[str, ...], changes: list[Change]) -> None:
        with Todo(changes) as todo:
            approved = {thing for change in todo.take(Action.REMOVE) for thing in change.things}
        # A provider removes all that is the cluster's at once: what has come since is not among it.
        if more := [thing for thing in _things(book) if thing not in approved]:
            raise PlanMismatch(
                "there is more to remove than was approved; nothing was removed",
                where=book.cluster.name,
                seen="\n".join(more),
                next="swarmbook cancel PARAMS, which names all of it",
            )
        provider_for(book).destroy()
        book.close()
        book.cluster.remove()

    def verify(self, wanted: None, seen: tuple[str, ...]) -> list[Check]:
        return [equal("cluster", "what is left of the cluster", "nothing", ", ".join(seen) or "nothing")]


cancel = Cancel()
