"""Binary logs of the archive, replayed on a backup that was fetched and prepared, up to a moment; before anything is touched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from swarmbook.access.binlog import Held, Reader, Unwhole
from swarmbook.access.channel import Flow
from swarmbook.access.commands import Script, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe
from swarmbook.access.restic import Restic
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, SwarmbookError, WorldError
from swarmbook.base.secrets import mask
from swarmbook.book.book import Book
from swarmbook.model.archive import number_of
from swarmbook.model.moments import Part, Way, shown
from swarmbook.phases.support.repository import LOGS
from swarmbook.phases.support.throwaway import LOGIN, started
from swarmbook.phases.support.unpacking import AT, MYSQL, container, removed

__all__ = ["LOGS_FOLDER", "Reached", "replay"]

#: In the restored data, until they are replayed: a name that a server takes for no schema.
LOGS_FOLDER = ".replay"
_POSITION = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:-?[0-9]{1,19}(?:,[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,19})?"
)
_LAST_WORDS = 2000
#: Seconds in which the server may write what it has in memory.
_STOP_S = 600


@dataclass(frozen=True)
class Reached:
    """How far a replay has come.

    Args:
        gtid: Of the last transaction that is in.
        at: Its time; nothing where the backup itself is the moment.
        beyond: The GTID and the time of the first one that was left out, where it is known.
    """

    gtid: str
    at: datetime | None = None
    beyond: str = ""

    def __str__(self) -> str:
        at = f", of {shown(self.at)}" if self.at is not None else ", the last one of the backup"
        return f"GTID {self.gtid}{at}" + (f"; left out from GTID {self.beyond} on" if self.beyond else "")


def replay(book: Book, restic: Restic, node: str, way: Way, image: str, name: str, folder: str) -> Reached:
    """Replay what the way to a moment wants on the data in a folder of a node.

    Args:
        book: The open book.
        restic: The repository.
        node: The node.
        way: To the moment.
        image: The members' image, which the node has.
        name: Of the container that does so.
        folder: The data: fetched and prepared.

    Raises:
        WorldError: A piece is damaged, or cannot be replayed; nothing of the data stays on the node.
    """
    host, cleared = book.fleet[node], removed(name, folder)
    try:
        _require_base(host, way, image, name, folder)
        fetched, reached = _fetch(book, restic, host, way, image, name, folder)
        if fetched:
            _apply(book, host, way, fetched, image, name, folder)
        host.run(sh("rm -rf @{logs}", logs=f"{folder}/{LOGS_FOLDER}"))
    except CommandFailed as error:
        host.run(cleared, check=False)
        raise _unreplayed(node, error.seen or error.what) from None
    except SwarmbookError:
        host.run(cleared, check=False)
        raise
    book.keep_files({"restored-to.json": json.dumps({"snapshot": way.base.id, "gtid": reached.gtid, "said": str(reached)}, indent=2) + "\n"})  # fmt: skip
    return reached


def recovered(name: str, folder: str, image: str) -> Probe[str]:
    """Ask the storage engine of restored data for the last transaction in it: ``UUID:SEQNO,GTID``; nothing where it does not say.

    Args:
        name: Of the container that asks.
        folder: The data, on the node.
        image: The members' image.
    """
    options = [
        f"--defaults-file={AT}/backup-my.cnf", f"--datadir={AT}", "--tmpdir=/tmp", "--pid-file=/tmp/recover.pid", "--socket=/tmp/recover.sock", "--skip-networking",
        "--plugin-load-add=auth_ed25519", "--binlog-format=ROW", "--wsrep-on=ON", "--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-cluster-address=gcomm://", "--wsrep-gtid-mode=ON", "--wsrep-recover",
    ]  # fmt: skip
    script = sh(
        "@!{run} 2>&1 </dev/null | sed -n 's/.*WSREP: Recovered position: *//p' | tail -n 1 | as position",
        run=container(name, folder, image, "mariadbd", options),
    )

    def read(facts: Facts) -> str:
        said = "".join(facts["position"]).strip()
        if said and not _POSITION.fullmatch(said):
            raise ValueError(f"no position: {said[:80]!r}")
        return said

    return Probe(script, read)


def _require_base(host: Host, way: Way, image: str, name: str, folder: str) -> None:
    """Refuse where the data does not end with the transaction that the backup's tags name: one would be left out, or done twice."""
    wanted = f"{way.base.position},{way.source}-{number_of(way.base, way.source)}"
    seen = host.ask(recovered(name, folder, image), timeout_s=_STOP_S)
    if seen != wanted:
        raise _unreplayed(
            host.name, f"the backup ends with {seen or 'an unknown transaction'}, and its tags say {wanted}"
        )


@dataclass(frozen=True)
class _Fetched:
    """Logs of one piece on the node: numbers after which and through which they are replayed."""

    folder: str
    names: tuple[str, ...]
    after: int
    through: int


def _fetch(
    book: Book, restic: Restic, host: Host, way: Way, image: str, name: str, folder: str
) -> tuple[list[_Fetched], Reached]:
    """Bring the logs onto the node, as far as the moment."""
    base = way.parts[0].after if way.parts else 0
    reached = Reached(f"{way.source}-{base}" if way.parts else way.base.gtid)
    found: list[_Fetched] = []
    for index, part in enumerate(way.parts):
        inner = f"{LOGS_FOLDER}/{index}"
        made = sh(
            "install -d -o @{user} -g @{user} -m 0750 @{folders}",
            user=MYSQL,
            folders=[f"{folder}/{LOGS_FOLDER}", f"{folder}/{LOGS_FOLDER}/scratch", f"{folder}/{inner}"],
        )
        host.run(made)
        reader = Reader(int(way.source.partition("-")[0]), after=part.after, through=part.through, before=way.before)
        unpack = container(name, folder, image, "tar", ["--extract", "--file=-", f"--directory={AT}/{inner}"])
        flow = Flow(sent=_checked(restic, part, reader))
        done = host.run(unpack, check=False, timeout_s=book.params.backup_timeout, flow=flow)
        if not done.ok:
            raise _unreplayed(host.name, done.stderr)
        held = _whole(part, reader)
        if held.reached:
            found.append(_Fetched(f"{AT}/{inner}", held.files, part.after, held.reached[0]))
            reached = Reached(f"{way.source}-{held.reached[0]}", held.reached[1])
        last = part is way.parts[-1]
        if left := held.beyond or (held.follows if last else None):
            return found, replace(reached, beyond=f"{way.source}-{left[0]}, of {shown(left[1])}")
    return found, reached


def _checked(restic: Restic, part: Part, reader: Reader) -> Iterator[bytes]:
    """Give the stream of a piece as it was checked."""
    try:
        for data in restic.stream(part.piece.id, LOGS):
            reader.feed(data)
            yield data
    except Unwhole as error:
        raise _damaged(part, str(error)) from None


def _whole(part: Part, reader: Reader) -> Held:
    try:
        held = reader.end()
    except Unwhole as error:
        raise _damaged(part, str(error)) from None
    if not any(first <= part.after + 1 and part.through <= last for first, last in held.spans):
        raise _damaged(part, f"it holds {held.spans}, and not {part.after + 1} to {part.through}")
    return held


def _apply(book: Book, host: Host, way: Way, logs: list[_Fetched], image: str, name: str, folder: str) -> None:
    """Start a server on the data, have it execute the logs, see how far it has come, and stop it."""
    work = f"{AT}/{LOGS_FOLDER}"
    # It writes a log itself: in that its own numbers can be read. What is lost in a crash is done again from the beginning.
    options = [
        f"--tmpdir={work}/scratch", f"--log-error={work}/said.err", f"--log-bin={work}/done", "--log-slave-updates=ON", "--sync-binlog=0", "--max-allowed-packet=1G",
        "--innodb-flush-log-at-trx-commit=0", "--skip-slave-start", "--character-set-server=utf8mb4",
    ]  # fmt: skip
    again = "swarmbook restore PARAMS --to MOMENT; the database was not touched"
    started(book, host, name, image, folder, options, again)
    for part in logs:
        done = host.run(command(name, way.source, part.folder, part.names, part.after, part.through), check=False, timeout_s=book.params.backup_timeout)  # fmt: skip
        if not done.ok:
            raise _unreplayed(host.name, done.stderr or done.stdout)
    wanted = f"{way.source}-{logs[-1].through}"
    done = host.run(sh("docker exec @{name} mariadb @{login} --batch --skip-column-names -e 'SELECT @@gtid_binlog_pos'", name=name, login=LOGIN))  # fmt: skip
    if wanted not in done.stdout.strip().split(","):
        raise _unreplayed(host.name, f"it came to {done.stdout.strip() or 'no GTID'}, and not to {wanted}")
    stopped = sh(
        "docker stop --time @{limit} @{name} >/dev/null && grep -q 'Shutdown complete' @{said}",
        limit=_STOP_S,
        name=name,
        said=f"{folder}/{LOGS_FOLDER}/said.err",
    )
    if not host.run(stopped, check=False, timeout_s=_STOP_S + 60).ok:
        raise _unreplayed(host.name, "the server did not stop as it should")


def command(name: str, source: str, folder: str, names: tuple[str, ...], after: int, through: int) -> Script:
    """Build the command that has the server execute some logs.

    Args:
        name: The server's container.
        source: Domain and server of the transactions.
        folder: Where the logs are, in the container.
        names: Of the logs, in order.
        after: The number after which it begins.
        through: The last number that is executed.
    """
    inner = sh(
        "set -o pipefail; cd @{folder} && mariadb-binlog --verify-binlog-checksum --do-domain-ids=@{domain} --start-position=@{start} --stop-position=@{stop} @{names} "
        "| mariadb @{login} --binary-mode --max-allowed-packet=1G",
        folder=folder,
        domain=source.partition("-")[0],
        start=f"{source}-{after}",
        stop=f"{source}-{through}",
        names=names,
        login=LOGIN,
    )
    return sh("docker exec @{name} bash -c @{inner}", name=name, inner=inner)


def _damaged(part: Part, seen: str) -> WorldError:
    return WorldError(
        f"the piece {part.piece.short} of the archive is damaged; the database was not touched",
        where=f"snapshot {part.piece.short}",
        wanted="whole binary logs",
        seen=seen,
        next="restore an earlier moment, or a later one: swarmbook restore PARAMS --to MOMENT; restic check says what else is damaged",
        code=Code.SNAPSHOT_DAMAGED,
    )


def _unreplayed(node: str, said: str) -> WorldError:
    return WorldError(
        "the binary logs could not be replayed; the database was not touched",
        where=node,
        wanted="each transaction up to the moment, once",
        seen=mask(said.strip()[-_LAST_WORDS:]) or "nothing was said",
        next="restore the backup alone: swarmbook restore PARAMS; or another moment",
        code=Code.SNAPSHOT_DAMAGED,
    )
