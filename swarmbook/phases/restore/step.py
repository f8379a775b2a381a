"""Phase 27: fetched and prepared beside the data first; then the members are stopped, and it takes the data's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import sh
from swarmbook.base.codes import Code
from swarmbook.base.errors import OutOfOrder, UsageError, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step, look
from swarmbook.model.archive import Piece
from swarmbook.model.change import Action, Change, Todo, Word
from swarmbook.model.checks import Check, Table, equal
from swarmbook.model.moments import Refusal, Way, read_moment, way_to
from swarmbook.model.snapshots import Snapshot, chosen
from swarmbook.params import Params
from swarmbook.phases.restore.place import Place, place_on
from swarmbook.phases.restore.placing import NEW, mark_of, put_in_place
from swarmbook.phases.restore.reach import out_of_reach
from swarmbook.phases.restore.replay import Reached, replay
from swarmbook.phases.support import stack
from swarmbook.phases.support.images import ensure_images, image_of, nodes_without_image
from swarmbook.phases.support.member_data import data_folder, folder_made
from swarmbook.phases.support.members import running_of, service_name
from swarmbook.phases.support.preconditions import require_swarm
from swarmbook.phases.support.repository import (
    in_words,
    owner_of,
    place_of_backups,
    repository_of,
    snapshots_table,
)
from swarmbook.phases.support.unpacking import fetch, require_room, require_series

__all__ = ["restore", "snapshots"]

_CONTAINER = "swarmbook-restore"
#: Seconds in which members may stop: the grace that their service gives them, and some more.
_STOP_S = 240


@dataclass(frozen=True)
class Seen:
    """What is restored, and what it replaces.

    Args:
        places: By node, in the order of the parameters.
        snapshot: The one that is meant; None where there is no such one.
        snapshots: How many there are, of anyone.
        services: Of members: full names.
        lacking: Nodes without the members' image.
        repository: Where it comes from.
        way: How the moment is reached, where one is meant; or why it cannot be.
    """

    places: Mapping[str, Place]
    snapshot: Snapshot | None = None
    snapshots: int = 0
    services: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    repository: str = ""
    way: Way | Refusal | None = None

    @property
    def first(self) -> str:
        """The node on which it is restored: where the cluster was founded, else the first."""
        return next((name for name, place in self.places.items() if place.founded), next(iter(self.places)))


@dataclass(frozen=True)
class Wanted:
    """What may be restored.

    Args:
        params: The parameters.
        owner: Whose snapshots may be.
        folder: The data folder of a member.
        image: The members' image.
    """

    params: Params
    owner: str
    folder: str
    image: str = field(compare=False, default="")


def _owner(book: Book) -> str:
    other = book.params.restore_cluster
    return f"{other}/{book.params.mariadb_cluster_name}" if other else owner_of(book)


def _found(book: Book) -> tuple[list[Snapshot], list[Piece]]:
    """List the snapshots, and the pieces of the archive where a moment is meant; there has to be a repository."""
    with book.cluster.untouched():
        restic = repository_of(book)
        if not restic.exists():
            raise WorldError(
                "the repository is not there",
                where=place_of_backups(book),
                wanted="a repository of restic's with backups",
                seen="none",
                next="correct backup_repository, or mount what holds it; where there is no backup yet: swarmbook backup PARAMS",
                code=Code.REPOSITORY_NOT_THERE,
            )
        return restic.snapshots(), restic.pieces() if book.params.restore_to else []


@look(hosts=0)
def snapshots(book: Book) -> Table:
    """List what can be restored."""
    return snapshots_table([one for one in _found(book)[0] if one.complete])


class Restore(Step[Seen, Wanted]):
    """Put a backup in the place of the database; 07 founds the cluster from it.

    Raises:
        OutOfOrder: There is no overlay network: the cluster was not built so far.
        UsageError: There is no such snapshot, it is another cluster's, or of another series of MariaDB.
        WorldError: The repository does not open, the snapshot is damaged, or a disk is too small; the database was not touched.
        ConfirmationMissing: Data would be replaced, and ``confirm`` is not ``RESTORE``.
    """

    name = "restore"

    def hosts(self, book: Book) -> int:
        return len(book.params.members())

    def observe(self, book: Book) -> Seen:
        params, manager = book.params, require_swarm(book)
        found, pieces = _found(book)
        owner = _owner(book)
        way = way_to(read_moment(params.restore_to), found, pieces, owner) if params.restore_to else None
        if isinstance(way, Way):
            snapshot: Snapshot | None = way.base
        else:
            snapshot = chosen(found, params.restore_snapshot, owner)
        members = book.ready(params.members())
        if not members:
            raise OutOfOrder("no node of galera_nodes answers", where="galera_nodes", next="swarmbook status PARAMS")
        places = book.fleet.each(lambda host: host.ask(place_on(params, host.name)), members)
        specs = stack.specs(book.engine(manager), params.mariadb_cluster_name)
        lacking = nodes_without_image(book.engines(members), image_of(book, "galera"))
        return Seen(
            places,
            snapshot,
            len(found),
            tuple(service_name(params, node) for node in specs),
            tuple(lacking),
            place_of_backups(book),
            way,
        )

    def want(self, book: Book, seen: Seen) -> Wanted:
        return Wanted(book.params, _owner(book), data_folder(book.params), image_of(book, "galera"))

    def plan(self, wanted: Wanted, seen: Seen) -> list[Change]:
        snapshot = _meant(wanted, seen)
        if _is_in_place(seen, mark_of(snapshot, wanted.params.restore_to)):
            return []
        places = seen.places.items()
        replaced = {name: place.replaced for name, place in places}
        # The server that replays logs writes as much again.
        logs = 2 * seen.way.size if isinstance(seen.way, Way) else 0
        require_room({name: place.free - logs for name, place in places}, snapshot, replaced)
        first = seen.first
        changes = [Change(first, Action.IMAGES, ("MariaDB's image",))] if first in seen.lacking else []
        changes += [
            Change(name, Action.MAKE_FOLDER, (wanted.folder,))
            for name, place in seen.places.items()
            if not place.folder and name == first
        ]
        changes.append(Change(first, Action.FETCH, (snapshot.short, snapshot.owner, snapshot.position)))
        if isinstance(seen.way, Way):
            changes.append(
                Change(first, Action.REPLAY, (str(read_moment(wanted.params.restore_to)), str(len(seen.way.parts))))
            )
        changes += [Change("cluster", Action.REMOVE_MEMBER, (service,)) for service in seen.services]
        number = max(place.replaced for place in seen.places.values()) + 1
        changes += [
            Change(name, Action.REPLACE_DATA, (wanted.folder, f"replaced-{number}", *place.databases), Word.RESTORE)
            for name, place in seen.places.items()
            if place.data
        ]
        return [*changes, Change(first, Action.PUT_IN_PLACE, (snapshot.short,))]

    def apply(self, book: Book, wanted: Wanted, seen: Seen, changes: list[Change]) -> None:
        snapshot = _meant(wanted, seen)
        with Todo(changes) as todo:
            ensure_images(book, {change.host: ["galera"] for change in todo.take(Action.IMAGES)})
            label = f"{stack.CLUSTER_LABEL}={book.cluster.name}"
            for change in todo.take(Action.MAKE_FOLDER):
                book.fleet[change.host].run(folder_made(wanted.params, label))
            for change in todo.take(Action.FETCH):
                image, new = image_of(book, "galera"), f"{wanted.folder}/{NEW}"
                fetch(book, repository_of(book), change.host, snapshot, image, _CONTAINER, new)
            reached: Reached | None = None
            for change in todo.take(Action.REPLAY):
                assert isinstance(seen.way, Way)
                new = f"{wanted.folder}/{NEW}"
                reached = replay(
                    book, repository_of(book), change.host, seen.way, image_of(book, "galera"), _CONTAINER, new
                )
            services = [change.things[0] for change in todo.take(Action.REMOVE_MEMBER)]
            _stop(book, services, list(seen.places))
            aside = {change.host: change.things[1] for change in todo.take(Action.REPLACE_DATA)}
            book.fleet.each(lambda host: _set_aside(book, host.name, aside[host.name]), aside)
            for change in todo.take(Action.PUT_IN_PLACE):
                mark = mark_of(snapshot, wanted.params.restore_to)
                gtid = reached.gtid if reached else snapshot.gtid
                put_in_place(book, change.host, mark, str(reached) if reached else "", gtid)

    def verify(self, wanted: Wanted, seen: Seen) -> list[Check]:
        snapshot = seen.snapshot
        rows = [Check("here", "the snapshot", "complete", in_words(snapshot) if snapshot else "none", snapshot is not None)]  # fmt: skip
        for name, place in seen.places.items():
            if name == seen.first:
                there = (
                    "of the snapshot"
                    if snapshot and place.mark == mark_of(snapshot, wanted.params.restore_to)
                    else "other data"
                    if place.data
                    else "none"
                )
                rows.append(equal(name, "data in place", "of the snapshot", there))
                if wanted.params.restore_to:
                    rows.append(Check(name, "replayed up to", str(read_moment(wanted.params.restore_to)), place.reached or "nothing", bool(place.reached)))  # fmt: skip
            else:
                rows.append(
                    equal(name, "data in place", "none: it joins", "none: it joins" if not place.data else "there")
                )
            if place.replaced:
                kept = f"{wanted.folder}/replaced-{place.replaced}"
                rows.append(Check(name, "what was replaced", "kept until you remove it", kept, True))
        running = [name for name, place in seen.places.items() if place.running]
        return [*rows, equal("cluster", "members that run", "none, until 07", ", ".join(running) or "none, until 07")]

    def forecast(self, ahead: Forecast, seen: Seen, changes: list[Change]) -> None:
        if seen.snapshot is not None:
            ahead.restored = (seen.first, mark_of(seen.snapshot, ""))


restore = Restore()


def _meant(wanted: Wanted, seen: Seen) -> Snapshot:
    """Return the snapshot that is meant.

    Raises:
        UsageError: There is none, it is another cluster's, or of another series of MariaDB.
    """
    asked, snapshot = wanted.params.restore_snapshot, seen.snapshot
    if isinstance(seen.way, Refusal):
        raise out_of_reach(seen.way, read_moment(wanted.params.restore_to), wanted.owner, seen.repository)
    if snapshot is None:
        raise UsageError(
            f"there is no snapshot {asked} of {wanted.owner}"
            if asked == "latest"
            else f"there is no one snapshot {asked}",
            where=seen.repository,
            wanted="the id of a complete snapshot, or latest",
            seen=f"{seen.snapshots} snapshots of ours in the repository, of all clusters",
            next="swarmbook restore PARAMS --snapshot ID; the first step of 27 lists what there is",
            code=Code.SNAPSHOT_UNKNOWN,
        )
    if snapshot.owner != wanted.owner:
        raise UsageError(
            f"the snapshot {snapshot.short} is of another cluster",
            where=seen.repository,
            wanted=wanted.owner,
            seen=in_words(snapshot),
            next="swarmbook restore PARAMS --snapshot ID --of CLUSTER, where that cluster is meant",
            code=Code.SNAPSHOT_OF_ANOTHER,
        )
    require_series(wanted.params.mariadb_version, snapshot, seen.repository)
    return snapshot


def _is_in_place(seen: Seen, mark: str) -> bool:
    """Tell whether there is nothing left to do but what 07 does."""
    others = any(place.data for name, place in seen.places.items() if name != seen.first)
    return seen.places[seen.first].mark == mark and not seen.services and not others


def _stop(book: Book, services: list[str], nodes: list[str]) -> None:
    """Remove the members' services, and wait until no member runs."""
    if services:
        manager = book.fleet[require_swarm(book)]
        manager.run(sh("docker service rm @{services} >/dev/null", services=services), timeout_s=_STOP_S)

    def stopped() -> tuple[bool, str]:
        left = book.fleet.each(lambda host: host.ask(running_of(service_name(book.params, host.name)), quiet=True), nodes)  # fmt: skip
        names = [name for name, ids in left.items() if ids]
        return not names, ", ".join(names)

    wait_for(
        "the members have stopped",
        stopped,
        timeout_s=max(_STOP_S, book.params.wait_timeout),
        where=", ".join(nodes),
        next=f"swarmbook ssh {nodes[0]} docker ps; then: swarmbook restore PARAMS",
        first_s=0.3,
    )


def _set_aside(book: Book, name: str, aside: str) -> None:
    """Move what is replaced aside; after a kill it may be there already."""
    book.fleet[name].run(
        sh(
            "cd @{folder} && { [ ! -d data ] || { [ ! -e @{aside} ] && mv -T data @{aside}; }; } && rm -f restored && sync -f .",
            folder=data_folder(book.params),
            aside=aside,
        )
    )
