"""A snapshot: one backup in a repository, as its tags describe it; and how long snapshots are kept. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from swarmbook.base.plain import plain

__all__ = ["MARK", "Snapshot", "chosen", "keep_options", "read_snapshots", "tagged", "tags_of"]

#: The tag that all of ours have.
MARK = "swarmbook"
_ID = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_KEPT = re.compile(r"([1-9][0-9]{0,3}) (last|hourly|daily|weekly|monthly|yearly)")
#: A repository that lists more than this is no answer.
_MOST = 1_000_000
_TAG = 1000


@dataclass(frozen=True)
class Snapshot:
    """One backup.

    Args:
        id: restic's.
        time: When it began.
        cluster: The book's cluster.
        database: The parameter ``mariadb_cluster_name``.
        member: It was taken from.
        position: ``UUID:SEQNO``; empty while it is not complete.
        gtid: Where the server counts GTIDs.
        server: Its version.
        size: Bytes of the stream.
        seconds: How long it took.
        complete: mariadb-backup said that it was, and the stream was whole.
    """

    id: str
    time: datetime
    cluster: str = ""
    database: str = ""
    member: str = ""
    position: str = ""
    gtid: str = ""
    server: str = ""
    size: int = 0
    seconds: float = 0.0
    complete: bool = False

    @property
    def short(self) -> str:
        """As restic shows it."""
        return self.id[:8]

    @property
    def owner(self) -> str:
        """Whose it is: the cluster, and its database."""
        return f"{self.cluster}/{self.database}"

    @property
    def series(self) -> str:
        """MariaDB's series of the server, such as ``11.8``; empty where its version is not known."""
        return ".".join(self.server.split(".")[:2])

    @property
    def history(self) -> str:
        """The ``uuid`` of the cluster's history."""
        return self.position.partition(":")[0]

    @property
    def ended(self) -> datetime:
        """When it was complete; what is in it was committed before."""
        return self.time + timedelta(seconds=self.seconds)


def tags_of(snapshot: Snapshot) -> list[str]:
    """Return the tags that describe a snapshot.

    Example:
        >>> tags_of(Snapshot("", datetime(2030, 1, 1), "lab", "galera", "galera-sw2"))
        ['swarmbook', 'cluster=lab', 'database=galera', 'member=galera-sw2', 'state=incomplete']
    """
    said = {
        "cluster": snapshot.cluster,
        "database": snapshot.database,
        "member": snapshot.member,
        "position": snapshot.position,
        # A comma would begin another tag.
        "gtid": snapshot.gtid.replace(",", ";"),
        "server": snapshot.server,
        "bytes": snapshot.size or "",
        "seconds": f"{snapshot.seconds:.1f}" if snapshot.complete else "",
        "state": "complete" if snapshot.complete else "incomplete",
    }
    return [MARK, *(f"{key}={value}" for key, value in said.items() if value != "")]


def read_snapshots(rows: Any) -> list[Snapshot]:
    """Read what restic lists; what is not ours is left out.

    Args:
        rows: Of ``restic snapshots --json``.

    Raises:
        ValueError: It is no list of snapshots.
    """
    found = [_snapshot(*row) for row in tagged(rows, MARK)]
    return sorted(found, key=lambda one: (one.time, one.id))


def tagged(rows: Any, mark: str) -> Iterator[tuple[str, datetime, Mapping[str, str]]]:
    """Read what restic lists, as far as it has a tag: id, time, and what the other tags say.

    Args:
        rows: Of ``restic snapshots --json``.
        mark: The tag.

    Raises:
        ValueError: It is no list of snapshots.
    """
    if not isinstance(rows, list) or len(rows) > _MOST:
        raise ValueError("no list of snapshots")
    for row in rows:
        if mark not in (row.get("tags") or ()):
            continue
        name = str(row["id"])
        if not _ID.fullmatch(name):
            raise ValueError(f"no id of a snapshot: {name[:80]!r}")
        tags = dict(str(tag)[:_TAG].split("=", 1) for tag in row["tags"] if "=" in str(tag))
        yield name, _time(str(row["time"])), {key: plain(value) for key, value in tags.items()}


def _snapshot(name: str, time: datetime, said: Mapping[str, str]) -> Snapshot:
    return Snapshot(
        name,
        time,
        said.get("cluster", ""),
        said.get("database", ""),
        said.get("member", ""),
        said.get("position", ""),
        said.get("gtid", "").replace(";", ","),
        said.get("server", ""),
        max(int(said.get("bytes", 0)), 0),
        float(said.get("seconds", 0.0)),
        said.get("state") == "complete",
    )


def _time(text: str) -> datetime:
    """Read a time as restic writes it, with nanoseconds and the offset of the one who made it."""
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(f"no time: {text[:80]!r}")
    *parts, fraction, sign, hours, minutes = found.groups()
    away = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    year, month, day, hour, minute, second = map(int, parts)
    here = datetime(year, month, day, hour, minute, second, int((fraction or "0").ljust(6, "0")), timezone(away))
    return here.astimezone(timezone.utc)


def chosen(snapshots: Sequence[Snapshot], wanted: str, owner: str) -> Snapshot | None:
    """Return the snapshot that is meant: by its id, whosever it is; the latest is the latest of an owner.

    Args:
        snapshots: Of the repository.
        wanted: ``latest``, or the beginning of an id.
        owner: See :attr:`Snapshot.owner`.
    """
    whole = [one for one in snapshots if one.complete]
    if wanted == "latest":
        return next((one for one in reversed(whole) if one.owner == owner), None)
    meant = [one for one in whole if one.id.startswith(wanted)]
    return meant[0] if len(meant) == 1 else None


def keep_options(policy: str) -> list[str]:
    """Return what restic is given for a policy such as ``7 daily, 4 weekly``; nothing for an empty one: all are kept.

    Example:
        >>> keep_options("7 daily, 4 weekly")
        ['--keep-daily', '7', '--keep-weekly', '4']
    """
    return [word for count, each in _kept(policy) for word in (f"--keep-{each}", count)]


def _kept(policy: str) -> Iterable[tuple[str, str]]:
    return _KEPT.findall(policy)
