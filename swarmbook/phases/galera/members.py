"""How the members of a Galera cluster are: one probe on each node."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, container_id, line, number, word
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.model.health import Component, GaleraState
from swarmbook.params import Params
from swarmbook.phases.galera.scripts import Progress
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import of_service, service_name
from swarmbook.phases.support.ports import holder

__all__ = ["Galera", "Member", "Position", "Wsrep", "found_on", "nobody_serves"]

#: Lines at the head of a member's log that tell how it got its data, and when.
_MILESTONES = "galera: (founding|joining)|mariabackup [SI]ST completed on joiner|Synchronized with group"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: More containers of one service than this are no answer.
_MOST_CONTAINERS = 200


@dataclass(frozen=True)
class Position:
    """Where a member's data stands, from grastate.dat; a seqno of -1 was not written: the server did not stop cleanly."""

    uuid: str
    seqno: int

    def __str__(self) -> str:
        return f"{self.uuid}:{self.seqno}"


@dataclass(frozen=True)
class Wsrep:
    """What a member says of itself and of its cluster (wsrep_local_state_comment, wsrep_cluster_status, and so on).

    Args:
        state: Its state.
        component: The state of the component that it is in.
        ready: Whether it takes statements.
        size: How many members the component has.
        uuid: Of the cluster's state.
        series: MariaDB's series, such as ``11.8``.
        writer: Whether applications write to it.
    """

    state: str
    component: str
    ready: bool = False
    size: int = 0
    uuid: str = ""
    series: str = ""
    writer: bool = False


@dataclass(frozen=True)
class Member:
    """One member as it is.

    Args:
        image: Whether its node has the image.
        folder: Whether its data folder is there.
        data: Whether a datadir is there.
        mark: The bootstrap mark, put there by us: the next start bootstraps.
        used: The mark was used up by a start.
        bootstrapped: The bootstrap was completed.
        restored: The snapshot from which a restore has put its data in place, until a member has started on it.
        alone: It may go on by itself after a stop: there is no other member.
        position: From grastate.dat; None where there is none.
        spec: Hash on its service, or nothing when there is no service.
        running: Whether its container runs.
        healthy: Whether its healthcheck says so; names resolve only to healthy members.
        ended: Ids of its containers that have ended; the swarm keeps some, also of long ago.
        port_taken: Who listens on its published port, when it is not itself.
        wsrep: What wsrep says; None while it does not answer.
        script: How far the initial script has got that it runs.
        transfer: How it last got its data: ``SST``, ``IST`` or nothing; and seconds.
    """

    image: bool = False
    folder: bool = False
    data: bool = False
    mark: bool = False
    used: bool = False
    bootstrapped: bool = False
    restored: str = ""
    alone: bool = False
    position: Position | None = None
    spec: str = ""
    running: bool = False
    healthy: bool = False
    ended: frozenset[str] = frozenset()
    port_taken: str = ""
    wsrep: Wsrep | None = None
    script: Progress | None = None
    transfer: str = ""

    @property
    def state(self) -> str:
        """wsrep's word for how it is, or what can be seen from outside while it says nothing."""
        if self.script is not None:
            return str(self.script)
        return (self.wsrep.state if self.wsrep else "") or ("starting" if self.running else "not running")

    @property
    def synced(self) -> bool:
        """Whether it serves, and may donate."""
        wsrep = self.wsrep
        if not self.healthy or wsrep is None:
            return False
        state, component = GaleraState.read(wsrep.state), Component.read(wsrep.component)
        return (state, component, wsrep.ready) == (GaleraState.SYNCED, Component.PRIMARY, True)


@dataclass(frozen=True)
class Galera:
    """The cluster as it is.

    Args:
        members: By node.
        secrets: Names of the swarm's secrets.
        configs: Names of the swarm's configs.
        token: Whether Consul has the members' token; None where Consul could not be asked.
        strays: Nodes with a member that the parameters do not name.
        left_out: Nodes with a member that the run goes on without.
    """

    members: Mapping[str, Member]
    secrets: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()
    token: bool | None = None
    strays: tuple[str, ...] = field(default=())
    left_out: tuple[str, ...] = field(default=())

    @property
    def founder(self) -> str:
        """The node of the member that founded the cluster, or began to; else of the first, which would.

        Nothing where it may be one that is left out; nor where members serve and none of them founded: it has left since.
        """
        began = (name for name, member in self.members.items() if member.bootstrapped or member.used or member.restored)
        past = self.left_out or any(member.synced for member in self.members.values())
        return next(began, "" if past else next(iter(self.members)))


def nobody_serves(members: Mapping[str, Member]) -> WorldError:
    """Build the error for data without a member in service: it carries the positions that a person needs to decide."""
    positions = "\n".join(
        f"{name}: {member.position or 'no position'}, {'running' if member.running else 'stopped'}"
        for name, member in members.items()
    )
    return WorldError(
        "no member is in service, and there is data: the cluster is not bootstrapped over it",
        where=", ".join(members),
        wanted="a member that is Synced and Primary, or no data on any",
        seen=positions,
        next="swarmbook recover PARAMS, which asks all members how far they got, and lets the right one go on",
        code=Code.NOBODY_SERVES,
    )


_SCRIPT = """
d=@{folder}
{ [ -d "$d" ] && echo folder; [ -d "$d/data/mysql" ] || [ -e "$d/data/ibdata1" ] && echo data
for f in bootstrap bootstrap.used bootstrapped alone; do [ -e "$d/$f" ] && echo "$f"; done; } | as there
[ ! -e "$d/restored" ] || cut -d ' ' -f 1 "$d/restored" | as restored
[ ! -e "$d/data/grastate.dat" ] || sed -n 's/^\\(uuid\\|seqno\\): */\\1 /p' "$d/data/grastate.dat" | as position
@!{ended} -aq | as ended
{ @!{holder}; } | as port
c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
docker inspect --format '{{.State.Health.Status}}' "$c" | as running
docker logs --timestamps "$c" 2>&1 | head -n 800 | grep -E @{milestones} | cut -c1-180 | as log
docker exec "$c" galera-status 2>/dev/null | as wsrep
[ ! -e "$d/bootstrap.used" ] || [ -e "$d/bootstrapped" ] || docker exec "$c" galera-script 2>/dev/null | as script
"""


def found_on(params: Params, node: str, *, image: bool = True, spec: str = "", port: bool = True) -> Probe[Member]:
    """Ask how the member on a node is.

    Args:
        params: The parameters.
        node: The node's name.
        image: Whether its engine has the image: that is known from its API.
        spec: Hash on its service, likewise.
        port: Look who listens on the published port, too.
    """
    service = service_name(params, node)
    script = sh(
        _SCRIPT,
        folder=data_folder(params),
        ended=of_service(service, "status=exited"),
        running=of_service(service),
        # Only 07 declares the port, which is 0 where none is wanted.
        holder=holder(params.mariadb_port, service) if port and params.mariadb_port else sh("true"),
        milestones=_MILESTONES,
    )
    return Probe(script, lambda facts: read_member(facts, image=image, spec=spec))


def read_member(facts: Facts, *, image: bool, spec: str) -> Member:
    """Read a member from the facts of :func:`found_on`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    there = set(facts["there"])
    ended = frozenset(container_id(line) for line in facts["ended"] if line)
    if len(ended) > _MOST_CONTAINERS:
        raise ValueError(f"{len(ended)} containers")
    running = "running" in facts
    return Member(
        image=image,
        folder="folder" in there,
        data="data" in there,
        mark="bootstrap" in there,
        used="bootstrap.used" in there,
        bootstrapped="bootstrapped" in there,
        restored=word("".join(facts.get("restored", ()))),
        alone="alone" in there,
        position=_position(facts.get("position", ())),
        spec=spec,
        running=running,
        healthy=running and list(facts["running"]) == ["healthy"],
        ended=ended,
        port_taken="" if running else line("".join(facts.get("port", ()))),
        wsrep=_wsrep("".join(facts.get("wsrep", ()))),
        script=_script(facts.get("script", ())),
        transfer=_transfer(facts.get("log", ())),
    )


def _position(lines: Sequence[str]) -> Position | None:
    if not lines:
        return None
    values = dict(line.split(" ", 1) for line in lines)
    if not _UUID.fullmatch(values["uuid"]):
        raise ValueError(f"no uuid: {values['uuid'][:80]!r}")
    seqno = values["seqno"]
    return Position(values["uuid"], -1 if seqno == "-1" else number(seqno))


def _wsrep(text: str) -> Wsrep | None:
    if not text.startswith("{"):
        return None
    data: dict[str, Any] = json.loads(text)
    if "error" in data:
        return None
    return Wsrep(
        line(str(data["state_comment"])),
        line(str(data["cluster_status"])),
        data["ready"] is True,
        number(data["cluster_size"] or 0),
        line(str(data["cluster_state_uuid"])),
        ".".join(line(str(data.get("version", ""))).split(".")[:2]),
        data.get("writer") is True,
    )


def _script(lines: Sequence[str]) -> Progress | None:
    if len(lines) < 4:
        return None
    name, read, size, seconds, *statement = lines
    return Progress(line(name), number(read), number(size), number(seconds), line("".join(statement)))


def _transfer(log: Sequence[str]) -> str:
    """Say how a member got its data, and how long that took, by the milestones in its log."""
    start = next((line for line in log if "galera: founding" in line or "galera: joining" in line), None)
    end = next((line for line in log if "Synchronized with group" in line), None)
    if start is None or end is None:
        return ""
    begun, done = (datetime.fromisoformat(line[:26] + "+00:00") for line in (start, end))
    # The server itself says "SST received" in both cases: the script that was asked to transfer knows what it did.
    method = "its own data"
    for words, name in (
        ("SST completed", "SST by mariadb-backup"),
        ("IST completed", "IST"),
        ("founding", "bootstrap"),
    ):
        if any(words in line for line in log):
            method = name
    return f"{method}, {(done - begun).total_seconds():.1f} s"
