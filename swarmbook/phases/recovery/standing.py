"""Where the members stand: one probe on each node, asked until each has an answer that says something."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, number
from swarmbook.base.errors import HostUnreachable, WaitTimeout
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.recovery.verdict import Position, Standing
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import of_service, service_name
from swarmbook.phases.support.positions import kept_positions

__all__ = ["known_positions", "look_around", "read_standing", "standing_on"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOTHING = "00000000-0000-0000-0000-000000000000"
#: A primary component of more members than this is no answer.
_MOST_MEMBERS = 100
#: Seconds in which members that hold data may find each other by themselves.
_BY_THEMSELVES_S = 60

_SCRIPT = """
d=@{folder}
{ [ -d "$d/data/mysql" ] || [ -e "$d/data/ibdata1" ] && echo data
[ -d "$d/data/.sst" ] || [ -e "$d/data/sst_in_progress" ] && echo transfer; } | as there
sed -n 's/^\\(uuid\\|seqno\\|safe_to_bootstrap\\): */\\1 /p' "$d/data/grastate.dat" 2>/dev/null | as state
grep -c '^member:' "$d/data/gvwstate.dat" 2>/dev/null | as view
c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
echo "$c" | as running
docker exec "$c" cat /run/galera/position 2>/dev/null | as position
docker exec "$c" galera-status 2>/dev/null | as wsrep
"""


def standing_on(params: Params, node: str) -> Probe[Standing]:
    """Ask where the member on a node stands.

    Args:
        params: The parameters.
        node: The node's name.
    """
    script = sh(_SCRIPT, folder=data_folder(params), running=of_service(service_name(params, node)))
    return Probe(script, read_standing)


def read_standing(facts: Facts) -> Standing:
    """Read where a member stands from the facts of :func:`standing_on`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    there = set(facts["there"])
    state = dict(each.split(" ", 1) for each in facts["state"] if each)
    view = min(number(next((each for each in facts["view"] if each), "0")), _MOST_MEMBERS)
    data = "data" in there
    wsrep = _wsrep("".join(facts.get("wsrep", ())))
    serves = wsrep.get("cluster_status") == "Primary" and wsrep.get("ready") is True
    if wsrep and not serves and wsrep.get("connected") is True:
        return Standing(data=data, position=_live(wsrep), survives=True, view=view)
    if serves:
        return Standing(data=data, position=_live(wsrep), serves=True, view=view)
    uuid, seqno = state.get("uuid", _NOTHING), state.get("seqno", "-1")
    if not _UUID.fullmatch(uuid):
        raise ValueError(f"no uuid: {uuid[:80]!r}")
    clean = uuid != _NOTHING and seqno != "-1"
    # Galera writes an empty uuid before the first byte of a transfer arrives.
    broken_off = "transfer" in there or (data and uuid == _NOTHING)
    position = Position(uuid, number(seqno)) if clean else _recovered(facts.get("position", ()), uuid)
    return Standing(
        data=data,
        position=None if broken_off else position,
        clean=clean,
        safe=state.get("safe_to_bootstrap") == "1" and clean,
        broken_off=broken_off,
        view=view,
    )


def _wsrep(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        return {}
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError("no object")
    return {} if "error" in said else said


def _live(wsrep: Mapping[str, Any]) -> Position | None:
    uuid, seqno = str(wsrep.get("cluster_state_uuid", "")), wsrep.get("last_committed")
    return Position(uuid, seqno) if _UUID.fullmatch(uuid) and isinstance(seqno, int) and seqno >= 0 else None


def _recovered(lines: Sequence[str], uuid: str) -> Position | None:
    """Read what the member has found in InnoDB: ``UUID:SEQNO how``; it has to be of the history that grastate.dat names."""
    found = re.fullmatch(rf"({_UUID.pattern}):([0-9]{{1,19}}) [a-z]+", " ".join(lines).strip())
    return Position(found[1], int(found[3])) if found and found[1] == uuid else None


def known_positions(book: Book) -> dict[str, Position]:
    """Return the last position of each member that was recorded while it served, by node."""
    kept = kept_positions(book.cluster, book.params.mariadb_cluster_name)
    return {name: Position(uuid, seqno) for name, (uuid, seqno) in kept.items()}


def look_around(book: Book, by_themselves_s: float = _BY_THEMSELVES_S) -> dict[str, Standing]:
    """Ask all members where they stand, also those whose node does not answer.

    Members of which a server starts, or asks InnoDB, are asked again until they have something to say; and those that can
    go on by themselves, because all of the last primary component are there, are given some time for it.

    Args:
        book: The open book.
        by_themselves_s: That time, seconds; for the rest there is ``wait_timeout``.
    """
    params = book.params
    began = time.monotonic()
    everyone = list(dict.fromkeys([*params.members(), *params.without]))
    seen: dict[str, Standing] = {}

    def one(host: Host) -> Standing:
        try:
            return host.ask(standing_on(params, host.name), quiet=True)
        except HostUnreachable as error:  # also one that refuses our login
            return Standing(reached=False, silence=error.what)

    def ask() -> tuple[bool, str]:
        for name in everyone:
            if name not in book.fleet.hosts:
                seen.setdefault(name, Standing(reached=False, silence="it did not answer before, or is left out"))
        seen.update(book.fleet.each(one, [name for name in params.members() if name in book.fleet.hosts]))
        # They are asked no more in this run, and no one waits for them to hold the cluster's lease.
        book.fleet.leave_out([name for name, each in seen.items() if not each.reached])
        late = [name for name, each in seen.items() if each.data and not each.broken_off and each.position is None]
        if late:
            return False, f"not known yet: {', '.join(late)}"
        if any(each.serves for each in seen.values()):
            return True, ""
        holding = sum(each.data and not each.broken_off for each in seen.values())
        alone = max((each.view for each in seen.values()), default=0)
        given = time.monotonic() - began >= by_themselves_s
        return given or not 0 < alone <= holding, "all of the last view are there, and find each other"

    with contextlib.suppress(WaitTimeout):  # what is not known by then is a reason to refuse, and says so
        wait_for("where the members stand", ask, timeout_s=params.wait_timeout, first_s=0.3)
    return {name: seen[name] for name in everyone}
