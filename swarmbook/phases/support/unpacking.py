"""A snapshot, fetched from the repository onto a node, and prepared there: to take the data's place, or for a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swarmbook.access.channel import Flow
from swarmbook.access.commands import Script, sh
from swarmbook.access.mbstream import Broken, Reader
from swarmbook.access.restic import Restic
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, SwarmbookError, UsageError, WorldError
from swarmbook.base.secrets import mask
from swarmbook.book.book import Book
from swarmbook.model.snapshots import Snapshot
from swarmbook.phases.support.repository import FILE

__all__ = ["AT", "MYSQL", "container", "damaged", "fetch", "needed", "removed", "require_room", "require_series"]

#: The server's user in the image.
MYSQL = "999"
#: Where a container has the folder.
AT = "/restore"
#: Bytes that a server needs beside its data: its log, and temporary files.
_BESIDE = 256 << 20
_LAST_WORDS = 2000


def needed(snapshot: Snapshot) -> int:
    """Return the bytes that a node needs for a restored database; what it replaces stays beside it."""
    return snapshot.size + snapshot.size // 10 + _BESIDE


def require_room(free: dict[str, int], snapshot: Snapshot, replaced: dict[str, int]) -> None:
    """Refuse where a disk is too small, before anything is touched.

    Args:
        free: Bytes by node.
        snapshot: What is to be unpacked.
        replaced: How many earlier restores have left what they replaced, by node.

    Raises:
        WorldError: One is.
    """
    need = needed(snapshot)
    small = {name: size for name, size in free.items() if size < need}
    if small:
        raise WorldError(
            "a disk has too little room for the restored database; nothing was touched",
            where=", ".join(small),
            wanted=f"{need / 1e6:,.0f} MB free beside the data that is there, which stays",
            seen="; ".join(
                f"{name}: {size / 1e6:,.0f} MB"
                + (f", and replaced-1 to -{replaced[name]} of earlier restores" if replaced.get(name) else "")
                for name, size in small.items()
            ),
            next="remove what earlier restores have replaced, or make room: swarmbook ssh NODE",
            code=Code.RESTORE_NO_ROOM,
        )


def require_series(series: str, snapshot: Snapshot, repository: str) -> None:
    """Refuse a snapshot of another series of MariaDB: mariadb-backup prepares the data of its own alone.

    Args:
        series: The parameter ``mariadb_version``.
        snapshot: What is to be unpacked.
        repository: Where it is.

    Raises:
        UsageError: It is of another one.
    """
    if snapshot.series and snapshot.series != series:
        raise UsageError(
            f"the snapshot {snapshot.short} is of MariaDB {snapshot.series}, and a server of {series} does not read it; nothing was touched",
            where=repository,
            wanted=f"a snapshot of MariaDB {series}, or mariadb_version: '{snapshot.series}'",
            seen=f"mariadb_version: '{series}'",
            next=f"set mariadb_version: '{snapshot.series}', and the same command again; the next run with '{series}' upgrades it",
            code=Code.SNAPSHOT_OF_ANOTHER_SERIES,
        )


def container(
    name: str, folder: str, image: str, program: str, options: Sequence[str], *, stays: bool = False
) -> Script:
    """Build the command that runs a program of the members' image on a folder, and on nothing else.

    Args:
        name: The container's.
        folder: Of the node.
        image: The members' image.
        program: What runs.
        options: Its options.
        stays: It goes on in the background.
    """
    return sh(
        "docker run --rm @{how} --name @{name} --network none --user mysql --cap-drop ALL --read-only --tmpfs /tmp "
        "--volume @{folder}:@{at} --entrypoint @{program} @{image} @{options}",
        how="--detach" if stays else "--interactive",
        name=name,
        folder=folder,
        at=AT,
        program=program,
        image=image,
        options=options,
    )


def removed(name: str, folder: str) -> Script:
    """Build the command that removes a container, and the folder on which it worked.

    Args:
        name: The container's.
        folder: Of the node.
    """
    return sh("docker rm -f @{name} >/dev/null 2>&1; rm -rf @{folder}", name=name, folder=folder)


def fetch(book: Book, restic: Restic, node: str, snapshot: Snapshot, image: str, name: str, folder: str) -> None:
    """Unpack a snapshot into a folder of a node, and prepare it.

    Args:
        book: The open book.
        restic: The repository.
        node: The node.
        snapshot: What is fetched.
        image: The members' image, which the node has.
        name: Of the container that does so.
        folder: Where to; what is there is removed.

    Raises:
        WorldError: It is damaged, or cannot be prepared; nothing of it stays on the node.
    """
    host, limit_s = book.fleet[node], book.params.backup_timeout
    cleared = removed(name, folder)
    made = sh("install -d -o @{user} -g @{user} -m 0750 @{folder}", user=MYSQL, folder=folder)
    host.run(sh("@!{cleared}; @!{made}", cleared=cleared, made=made))
    try:
        unpack = container(name, folder, image, "mbstream", ["-x", "-C", AT])
        done = host.run(unpack, check=False, timeout_s=limit_s, flow=Flow(sent=_checked(restic, snapshot)))
        if not done.ok:
            raise _unprepared(node, snapshot, done.stderr)
        prepare = container(name, folder, image, "mariadb-backup", ["--prepare", f"--target-dir={AT}"])
        done = host.run(prepare, check=False, timeout_s=limit_s)
        if not done.ok or "completed OK!" not in done.stderr:
            raise _unprepared(node, snapshot, done.stderr)
    except CommandFailed as error:
        host.run(cleared, check=False)
        raise _unprepared(node, snapshot, error.seen or error.what) from None
    except SwarmbookError:
        host.run(cleared, check=False)
        raise


def _checked(restic: Restic, snapshot: Snapshot) -> Iterator[bytes]:
    """Give the stream of a snapshot; it has to be whole."""
    reader = Reader()
    try:
        for piece in restic.stream(snapshot.id, FILE):
            reader.feed(piece)
            yield piece
        reader.end()
    except Broken as error:
        raise damaged(snapshot, str(error)) from None


def damaged(snapshot: Snapshot, seen: str) -> WorldError:
    """Build the error for a snapshot that is not whole."""
    return WorldError(
        f"the snapshot {snapshot.short} is damaged; the database was not touched",
        where=f"snapshot {snapshot.short}",
        wanted="a whole stream of mariadb-backup",
        seen=seen,
        next="take another snapshot: swarmbook restore PARAMS --snapshot ID; restic check says what else is damaged",
        code=Code.SNAPSHOT_DAMAGED,
    )


def _unprepared(node: str, snapshot: Snapshot, said: str) -> WorldError:
    return damaged(snapshot, f"on {node}: {mask(said.strip()[-_LAST_WORDS:]) or 'nothing was said'}")
