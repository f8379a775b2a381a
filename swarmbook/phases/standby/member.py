"""What a member says of its GTIDs, and of the cluster that it follows: one probe, the same for both clusters."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from swarmbook.access.commands import Script, sh
from swarmbook.access.probe import Facts, Probe, line
from swarmbook.machines.images.galera.follower import highest
from swarmbook.params import Params
from swarmbook.phases.support.member_data import ORIGIN, data_folder
from swarmbook.phases.support.members import of_service, service_name

__all__ = ["Member", "Row", "member_on", "others"]

_GTID = re.compile(r"[0-9]{1,10}-[0-9]{1,10}-[0-9]{1,19}")
_PLACES = re.compile(r"[0-9A-Fa-f.:\[\] ]{0,1000}")
_NAME = re.compile(r"[A-Za-z0-9._/-]{0,200}")


@dataclass(frozen=True)
class Row:
    """The row that says which cluster is followed.

    Args:
        source: The cluster.
        hosts: Where its members are; none where this one only waits, fenced.
        login: Who reads there.
        start: GTIDs behind which a member begins that has nothing of the source's yet.
        wanted: Off after a takeover.
    """

    source: str
    hosts: str = ""
    login: str = ""
    start: str = ""
    wanted: bool = True

    @property
    def follows(self) -> bool:
        """Whether another cluster is followed now."""
        return self.wanted and bool(self.hosts)


@dataclass(frozen=True)
class Member:
    """A member that serves.

    Args:
        written: GTIDs of the last transactions in its binary log, one of each domain.
        applied: Those up to which a replica has applied.
        row: The row; None where there is none.
        origin: GTIDs of the last transactions in what was restored on its node; empty where nothing was.
    """

    written: str
    applied: str = ""
    row: Row | None = None
    origin: str = ""


_QUERY = (
    "SET SESSION wsrep_sync_wait = 1; SELECT 'written', @@gtid_binlog_pos; SELECT 'applied', @@gtid_slave_pos; "
    "SELECT 'kept', IFNULL(GROUP_CONCAT(CONCAT_WS('-', domain_id, server_id, seq_no)), '') FROM mysql.gtid_slave_pos; SELECT 'whole', ''"
)
_ROW = "SELECT 'row', source, hosts, login, start, wanted FROM swarmbook.following WHERE id = 1"
_SCRIPT = """c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
docker exec "$c" mariadb --batch --skip-column-names -e @{query} 2>/dev/null | as said
docker exec "$c" mariadb --batch --skip-column-names -e @{row} 2>/dev/null | as row
head -c 1000 @{origin} 2>/dev/null | as origin"""


def member_on(params: Params, node: str) -> Probe[Member | None]:
    """Ask the member on a node; None where none serves.

    Args:
        params: The cluster's parameters.
        node: The node's name.
    """
    script: Script = sh(
        _SCRIPT,
        running=of_service(service_name(params, node)),
        query=_QUERY,
        row=_ROW,
        origin=f"{data_folder(params)}/{ORIGIN}",
    )
    return Probe(script, read_member)


def read_member(facts: Facts) -> Member | None:
    """Read the facts of :func:`member_on`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    said = {key: value for key, _, value in (each.partition("\t") for each in facts.get("said", ()) if each)}
    if "whole" not in said:
        return None
    kept = highest(said["applied"], said["kept"])
    origin = "".join(facts.get("origin", ())).strip()
    rows = [each.split("\t") for each in facts.get("row", ()) if each]
    return Member(_gtids(said["written"]), kept, _row(rows[0]) if rows else None, _gtids(origin))


def _row(cells: list[str]) -> Row:
    _, source, hosts, login, start, wanted = cells
    for cell in (source, login):
        if not _NAME.fullmatch(cell):
            raise ValueError(f"no name: {line(cell)[:80]!r}")
    if not _PLACES.fullmatch(hosts):  # written back into a statement by a takeover
        raise ValueError(f"no addresses: {line(hosts)[:80]!r}")
    return Row(source, hosts, login, _gtids(start), wanted == "1")


def _gtids(text: str) -> str:
    if text and not all(_GTID.fullmatch(each) for each in text.split(",")):
        raise ValueError(f"no GTIDs: {line(text)[:80]!r}")
    return text


def others(gtids: Iterable[str], *domains: int) -> str:
    """Return the highest GTIDs in several lists, without those of some domains.

    Example:
        >>> others(["7-7-12,9-9-1", "9-9-3,8-8-1"], 7)
        '8-8-1,9-9-3'
    """
    kept = (gtid for gtid in highest(*gtids).split(",") if gtid)
    return ",".join(gtid for gtid in kept if int(gtid.partition("-")[0]) not in domains)
