"""Phase 90: take away everything the book put on the machines, and keep the machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Probe, names
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.model.change import Action, Change, by_host, refuse_unknown
from swarmbook.model.checks import Check, Table, equal
from swarmbook.phases.destroy.commands import COMMANDS
from swarmbook.phases.destroy.plan import engine_stays, plan_destroy, refuse_blind, refuse_mounted, refuse_taken
from swarmbook.phases.destroy.remains import Remains, remains_on
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import second_disk
from swarmbook.phases.support import stack
from swarmbook.phases.support.added import added_on, held_back, what_stays
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import watch_stack
from swarmbook.phases.support.passing import run_with_packages
from swarmbook.phases.support.systems import ENGINE_OF_OURS
from swarmbook.show.changes import sentence

__all__ = ["destroy", "doomed"]


def _observe(book: Book) -> dict[str, Remains]:
    if not book.cluster.exists():
        return {}
    params = book.params
    data = data_folder(params) if params.mariadb_data_path else ""
    probe = remains_on(book.cluster.name, data, (stack.CONSUL, params.mariadb_cluster_name, watch_stack(params)))

    def one(host: Host) -> Remains:
        remains = host.ask(probe)
        refuse_blind(host.name, remains)
        refuse_mounted(host.name, remains)
        return _packages(book, host, _disk(book, host, remains))

    return book.fleet.each(one)


def _disk(book: Book, host: Host, remains: Remains) -> Remains:
    """Look for a layout of ours, if it is to be undone."""
    if book.params.undo_storage:
        named = host.node.disk if book.params.docker_disk == "auto" else book.params.docker_disk
        disk = host.ask(second_disk(named))
        if layouts.matching(disk.content):
            refuse_taken(host.name, disk)
            return replace(remains, disk=disk.device, layers=tuple(disk.content))
    return remains


def _packages(book: Book, host: Host, remains: Remains) -> Remains:
    """Look for packages of ours that may go, if they are to."""
    if not book.params.packages_go():
        return remains
    patience = book.params.wait_timeout
    added = host.ask(added_on(remains.disk), timeout_s=patience)
    if not added.family:
        return remains
    why = engine_stays(remains)
    stays = held_back(added, ENGINE_OF_OURS, why)
    rest = [package for package in added.packages if package not in stays]
    goes: tuple[str, ...] = ()
    if rest:
        goes, needed = host.ask(what_stays(added.family, rest), timeout_s=patience)
        stays |= {package: f"needed by {other}" for package, other in needed.items()}
    return replace(
        remains,
        packages=goes,
        kept=tuple(package for package, how in added.packages.items() if how == "remove"),
        needed=tuple(sorted(stays.items())),
        lists=() if why else added.files,
        family=added.family,
    )


def _tasks(*flags: str) -> Probe[tuple[str, ...]]:
    # An engine that gives no answer has not stopped them, nor removed them.
    script = sh(
        """tasks=$(docker ps @{flags} --filter label=com.docker.swarm.service.name --format '{{.Names}}') || exit 1
echo "$tasks" | as tasks""",
        flags=flags,
    )
    return Probe(script, lambda facts: names(facts["tasks"]))


#: Containers of the swarm's services on a node: those that run, and those that are there.
_RUNNING, _THERE = _tasks(), _tasks("--all")
#: Seconds. More than the 180 that a member is given to stop; after its own grace, the engine kills a task.
_STOPPED_WITHIN = 200


def _none(host: Host, tasks: Probe[tuple[str, ...]], what: str, next: str) -> None:
    def look() -> tuple[bool, str]:
        left = host.ask(tasks, quiet=True)
        return not left, ", ".join(left)

    wait_for(
        f"the services' containers on {host.name} {what}", look, timeout_s=_STOPPED_WITHIN, where=host.name, next=next
    )


class Destroy(Step[Mapping[str, Remains], None]):
    """Take swarm, services, data, images, certificates and the engines' state away; the machines stay.

    Raises:
        ConfirmationMissing: The parameter ``confirm`` is not ``DESTROY``.
    """

    name = "destroy"
    asks_nodes = False

    def observe(self, book: Book) -> Mapping[str, Remains]:
        return _observe(book)

    def want(self, book: Book, seen: Mapping[str, Remains]) -> None:
        return None

    def plan(self, wanted: None, seen: Mapping[str, Remains]) -> list[Change]:
        return plan_destroy(seen)

    def apply(self, book: Book, wanted: None, seen: Mapping[str, Remains], changes: list[Change]) -> None:
        hosts = by_host(changes)
        services = [service for change in hosts.pop("cluster", []) for service in change.things]
        refuse_unknown([change for mine in hosts.values() for change in mine], COMMANDS)
        if services:
            manager = next(host for host, remains in seen.items() if remains.services)
            # Asked to stop cleanly first: a member flushes its buffer pool. Leaving the swarm would kill what has not ended.
            book.fleet[manager].run(sh("docker service rm @{names} >/dev/null", names=services), check=False)
            book.fleet.each(
                lambda host: _none(host, _RUNNING, "have stopped", "run 90 again: it kills those that are left"),
                [host for host, remains in seen.items() if remains.up],
            )

        def one(host: Host) -> None:
            for change in hosts[host.name]:
                for command in COMMANDS[change.action](change, seen[host.name]):
                    if change.action is Action.REMOVE_PACKAGES:
                        run_with_packages(host, command, max(120, book.params.wait_timeout))
                    else:
                        host.run(command, timeout_s=max(120, book.params.wait_timeout))
                if change.action is Action.LEAVE_SWARM:
                    _none(host, _THERE, "are gone", f"swarmbook ssh {host.name} docker ps -a; then run 90 again")

        book.fleet.each(one, list(hosts))

    def verify(self, wanted: None, seen: Mapping[str, Remains]) -> list[Check]:
        return [
            equal(
                host,
                "what is left of the book",
                "nothing",
                "; ".join(sentence(change) for change in plan_destroy({host: remains})) or "nothing",
            )
            for host, remains in seen.items()
        ]

    def forecast(self, ahead: Forecast, seen: Mapping[str, Remains], changes: list[Change]) -> None:
        ahead.absent |= set(seen)  # the engines' state goes: what comes after this finds them as 02 left them


destroy = Destroy()


@look()
def doomed(book: Book) -> Table:
    """Name all that 90 would remove; nothing is touched."""
    changes = plan_destroy(_observe(book))
    return Table(["where", "will be removed"], [[change.host, sentence(change)] for change in changes])
