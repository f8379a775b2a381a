"""How the members of a Galera cluster are: asked by one script on each node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from swarmbook.base.errors import WorldError
from swarmbook.params import ParamView
from swarmbook.phases.galera.stack import data_folder

__all__ = ["Galera", "Member", "nobody_serves", "probe_member", "read_member"]

#: Lines at the head of a member's log that tell how it got its data, and when.
_MILESTONES = "galera: (founding|joining)|mariabackup [SI]ST completed on joiner|Synchronized with group"


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
        position: ``uuid:seqno`` from grastate.dat, or nothing.
        spec: Hash on its service, or nothing when there is no service.
        running: Whether its container runs.
        healthy: Whether its healthcheck says so; names resolve only to healthy members.
        ended: Ids of its containers that have ended; the swarm keeps some, also of long ago.
        port_taken: Who listens on its published port, when it is not itself.
        status: What wsrep says, when it answers.
        transfer: How it last got its data: ``SST``, ``IST`` or nothing; and seconds.
    """

    image: bool = False
    folder: bool = False
    data: bool = False
    mark: bool = False
    used: bool = False
    bootstrapped: bool = False
    position: str = ""
    spec: str = ""
    running: bool = False
    healthy: bool = False
    ended: frozenset[str] = frozenset()
    port_taken: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    transfer: str = ""

    @property
    def state(self) -> str:
        """wsrep's word for how it is, or what can be seen from outside while it says nothing."""
        return str(self.status.get("state_comment") or ("starting" if self.running else "not running"))

    @property
    def synced(self) -> bool:
        """Whether it serves, and may donate."""
        return (
            self.healthy
            and self.status.get("state_comment") == "Synced"
            and self.status.get("cluster_status") == "Primary"
            and bool(self.status.get("ready"))
        )


@dataclass(frozen=True)
class Galera:
    """The cluster as it is, by node; ``strays`` are nodes with a member that the parameters do not name."""

    members: Mapping[str, Member]
    secrets: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()
    token: bool = False
    strays: tuple[str, ...] = ()


def nobody_serves(members: Mapping[str, Member]) -> WorldError:
    """What is said when members hold data and none is in service: their positions, for whoever has to decide."""
    positions = "\n".join(
        f"{name}: {member.position or 'no position'}, {'running' if member.running else 'stopped'}"
        for name, member in members.items()
    )
    return WorldError(
        "no member is in service, and there is data: the cluster is not bootstrapped over it",
        where=", ".join(members),
        wanted="a member that is Synced and Primary, or no data on any",
        seen=positions,
        next="let them find each other (swarmbook status PARAMS); after a full outage compare uuid and seqno of all members above before anyone bootstraps, "
        "or take the cluster away with its data: swarmbook destroy PARAMS",
    )


def probe_member(params: ParamView, node: str) -> str:
    """Script that tells how the member on a node is: one line a fact, then what wsrep says."""
    service = f"{params.mariadb_cluster_name}_{node}"
    select = f"--filter label=com.docker.swarm.service.name={service}"
    port = f"ss -Hltnp 'sport = :{params.mariadb_port}' | head -n 1" if getattr(params, "mariadb_port", 0) else "true"
    return f"""
d={shlex.quote(data_folder(params))}
[ -d "$d" ] && echo folder
[ -d "$d/data/mysql" ] || [ -e "$d/data/ibdata1" ] && echo data
for f in bootstrap bootstrap.used bootstrapped; do [ -e "$d/$f" ] && echo "file $f"; done
[ -e "$d/data/grastate.dat" ] && echo "position $(sed -n 's/^uuid: *//p' "$d/data/grastate.dat"):$(sed -n 's/^seqno: *//p' "$d/data/grastate.dat")"
echo "ended $(docker ps -aq {select} --filter status=exited | tr '\\n' ' ')"
echo "port $({port})"
c=$(docker ps -q {select} | head -n 1)
[ -n "$c" ] || exit 0
echo "running $(docker inspect --format '{{{{.State.Health.Status}}}}' $c)"
docker logs --timestamps $c 2>&1 | head -n 800 | grep -E '{_MILESTONES}' | cut -c1-180 | sed 's/^/log /'
echo "status $(docker exec $c galera-status 2>/dev/null)"
"""


def read_member(output: str, *, image: bool, spec: str) -> Member:
    """A member from the lines of :func:`probe_member`."""
    facts: dict[str, str] = {}
    files, log = set(), []
    for line in output.splitlines():
        head, _, rest = line.partition(" ")
        if head == "file":
            files.add(rest)
        elif head == "log":
            log.append(rest)
        else:
            facts[head] = rest
    status: Any = {}
    if facts.get("status", "").startswith("{"):
        status = json.loads(facts["status"])
    return Member(
        image=image,
        folder="folder" in facts,
        data="data" in facts,
        mark="bootstrap" in files,
        used="bootstrap.used" in files,
        bootstrapped="bootstrapped" in files,
        position=facts.get("position", ""),
        spec=spec,
        running="running" in facts,
        healthy=facts.get("running") == "healthy",
        ended=frozenset(facts.get("ended", "").split()),
        port_taken=facts.get("port", "") if "running" not in facts else "",
        status={} if "error" in status else status,
        transfer=_transfer(log),
    )


def _transfer(log: list[str]) -> str:
    """How a member got its data, and how long that took, from the milestones in its log."""
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
