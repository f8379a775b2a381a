"""Phase 01: an SSH key, the price, the machines. Phase 91: their end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from swarmbook.access.cluster import Node
from swarmbook.access.hosts import generate_key
from swarmbook.access.ssh_keys import fingerprint, public_part, same_key, take_key
from swarmbook.base.errors import ForeignData
from swarmbook.book.book import Book, Change, Prospect, StepResult, converge, look
from swarmbook.machines.providers import costs_money, provider_for
from swarmbook.machines.providers.base import Found
from swarmbook.model.checks import Check, CheckTable, Table, equal
from swarmbook.params import ParamView

__all__ = ["cancel", "doomed", "key", "machines", "price", "reach"]


def key(book: Book) -> StepResult:
    """Have the cluster's SSH key: the one that ``ssh_key_file`` names, or one of its own.

    Raises:
        UsageError: The key that is named cannot be used.
        ForeignData: The cluster has another one already.
    """
    # From the book's folder, wherever the kernel runs.
    source = book.cluster.root / Path(book.params.ssh_key_file).expanduser() if book.params.ssh_key_file else None
    comment = f"swarmbook-{book.cluster.name}"

    def observe(book: Book) -> bool:
        there = book.cluster.key_file.exists()
        if source is not None:
            wanted = public_part(source)
            if there and not same_key(wanted, public_part(book.cluster.key_file)):
                raise ForeignData(
                    "the cluster has another SSH key already",
                    where=str(book.cluster.key_file),
                    wanted=f"the key of {source}, {fingerprint(wanted)}",
                    seen=fingerprint(public_part(book.cluster.key_file)),
                    next="leave ssh_key_file empty: the nodes know the key that is there",
                )
        return there

    def plan(params: ParamView, there: bool) -> list[Change]:
        return (
            []
            if there
            else [
                Change(
                    "here", "generate", f"SSH key taken from {source}" if source is not None else "SSH key generated"
                )
            ]
        )

    def apply(book: Book, seen: bool, changes: list[Change]) -> None:
        if source is not None:
            take_key(source, book.cluster.key_file, comment)
        else:
            generate_key(book.cluster.key_file, comment)

    return converge(
        book,
        observe=observe,
        plan=plan,
        apply=apply,
        verify=lambda params, there: [
            equal("here", "private key, readable by its owner only", True, there and _private(book))
        ],
        what="SSH key",
        hosts=0,
    )


def _private(book: Book) -> bool:
    return book.cluster.key_file.stat().st_mode & 0o077 == 0


def price(book: Book) -> StepResult:
    """What the machines are and cost, before anything is ordered."""

    def table(book: Book) -> Table:
        offers = provider_for(book).offers(book.params.nodes)
        monthly = any(o.monthly_cost for o in offers)
        costs = [o.monthly_cost if monthly else o.hourly_cost for o in offers]
        digits = 2 if monthly else 3
        rows = [[o.name, o.what, f"{cost:.{digits}f}"] for o, cost in zip(offers, costs)]
        return Table(
            ["node", "what", "per month" if monthly else "per hour"],
            [*rows, ["all", f"{len(offers)} machines", f"{sum(costs):.{digits}f}"]],
        )

    return look(book, table, hosts=0)


@dataclass(frozen=True)
class _Seen:
    """``nodes`` is what the inventory should say; empty while a machine is missing or does not run."""

    found: tuple[Found, ...]
    inventory: tuple[Node, ...]
    nodes: tuple[Node, ...] = ()
    pinned: str = ""


def machines(book: Book) -> StepResult:
    """Have every machine of the parameters running, and write the inventory.

    Raises:
        ConfirmationMissing: Machines cost money, and the parameter ``confirm`` is not ``ORDER``.
    """
    provider = provider_for(book)

    def observe(book: Book) -> _Seen:
        found = tuple(provider.machines())
        inventory = tuple(book.cluster.nodes)
        nodes = () if provider.plan(book.params.nodes, found) else tuple(provider.wait(book.params.nodes))
        return _Seen(found, inventory, nodes, book.cluster.pinned())

    def plan(params: ParamView, seen: _Seen) -> list[Change]:
        book.cluster.refuse_removal(params.nodes)
        changes = provider.plan(params.nodes, seen.found)
        if costs_money(params) and any(change.action == "create" for change in changes):
            prices = {offer.name: offer.price for offer in provider.offers(params.nodes)}
            changes = [
                replace(change, word="ORDER", detail=f"{change.detail}, {prices[change.host]}")
                if change.action == "create"
                else change
                for change in changes
            ]
        known = {node.name: node for node in seen.inventory}
        for node in seen.nodes:
            # A machine that somebody else has restarted is published on other ports; a key file may have been edited.
            if known.get(node.name) != node:
                changes.append(Change(node.name, "inventory", "written to the inventory"))
            elif book.cluster.pin(node) not in seen.pinned:
                changes.append(Change(node.name, "inventory", "host key pinned"))
        return changes

    def apply(book: Book, seen: _Seen, changes: list[Change]) -> None:
        provider.provision([change for change in changes if change.action != "inventory"])
        book.cluster.save_nodes(provider.wait(book.params.nodes), provider.name)

    def verify(params: ParamView, seen: _Seen) -> list[Check]:
        states = {machine.name: machine for machine in seen.found}
        return [
            equal(
                name,
                f"machine {states[name].id} at {states[name].private_address}" if name in states else "machine",
                "running",
                states[name].state if name in states else "absent",
            )
            for name in params.nodes
        ]

    def ahead(prospect: Prospect, seen: _Seen, changes: list[Change]) -> None:
        prospect.absent |= {change.host for change in changes if change.action == "create"}
        late = [change.host for change in changes if change.action != "create"]
        if late:
            prospect.unknown = f"{', '.join(late)} cannot be asked before 01 has run (swarmbook run PARAMS --only 01)"

    return converge(book, observe=observe, plan=plan, apply=apply, verify=verify, what="machines", ahead=ahead)


def reach(book: Book) -> StepResult:
    """Log in to every node over SSH, with the host key that was pinned."""

    def checks(book: Book) -> CheckTable:
        seen = book.fleet.each(lambda host: host.run("id -un; uname -sr").stdout.split("\n"))
        return CheckTable(
            [
                Check(name, "logs in", "with the pinned host key, as root", f"{user}, {kernel}", user == "root")
                for name, (user, kernel, *_) in seen.items()
            ]
        )

    return look(book, checks)


def doomed(book: Book) -> StepResult:
    """Name all that 91 would remove; nothing is touched."""
    things = provider_for(book).doomed()
    things += _folder(book)
    return look(book, lambda book: Table(["will be removed"], [[thing] for thing in things]), hosts=0)


def _folder(book: Book) -> list[str]:
    """The cluster's folder, if it holds more than the lock of whoever asks; a run that got no further than the key has left one too."""
    folder = book.cluster.folder
    kept = {path.name for path in folder.iterdir()} - {"lock", "lock.json"} if folder.is_dir() else set()
    return [f"folder {folder} with the cluster's keys, certificates and secrets"] if kept else []


def cancel(book: Book) -> StepResult:
    """Remove machines, disks, network, keys and the cluster's folder.

    Raises:
        ConfirmationMissing: The parameter ``confirm`` is not ``CANCEL``.
    """
    provider = provider_for(book)

    def observe(book: Book) -> list[str]:
        return provider.doomed() + _folder(book)

    def apply(book: Book, seen: list[str], changes: list[Change]) -> None:
        provider.destroy()
        book.close()
        book.cluster.remove()

    return converge(
        book,
        observe=observe,
        plan=lambda params, seen: [Change("cluster", "remove", f"{thing} removed", word="CANCEL") for thing in seen],
        apply=apply,
        verify=lambda params, seen: [
            equal("cluster", "what is left of the cluster", "nothing", ", ".join(seen) or "nothing")
        ],
        what="cancel",
        hosts=len(book.cluster.nodes),
    )
