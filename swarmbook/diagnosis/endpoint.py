"""The endpoint in words: how a person reaches the writer and the readers, and what a member is there."""

from __future__ import annotations

from collections.abc import Mapping

from swarmbook.access.cluster import Cluster
from swarmbook.base.words import typed
from swarmbook.params import Params
from swarmbook.phases.endpoint.agents import Says
from swarmbook.phases.endpoint.ways import Way
from swarmbook.phases.support.members import endpoint_stack

__all__ = ["deployed", "endpoint_lines", "role_of"]


def deployed(cluster: Cluster, params: Params) -> bool:
    """Tell whether 20 was ever run for a cluster, from the cluster's folder alone.

    Args:
        cluster: The cluster.
        params: The parameters.
    """
    return (cluster.folder / "stacks" / f"{endpoint_stack(params)}.yaml").exists()


def role_of(says: Says | None) -> str:
    """Return what a member is in the election, in a word.

    Without an election a Synced member is ``fenced`` until its agent has opened it, a moment later; and nothing else.
    """
    if says is None:
        return ""
    if not says.term:
        return "fenced" if says.reader and says.read_only else ""
    if says.follows:
        return "replica" if says.replica is not None else "standby"
    return "writer" if says.writer else "fenced" if says.read_only else "open"


def endpoint_lines(writer: str, found: Mapping[str, Way]) -> list[str]:
    """Say for a person how to reach the endpoint.

    Args:
        writer: The member that is the writer now.
        found: The way to each role.
    """
    lines = []
    for role, way in found.items():
        now = f", {writer or 'none'} now" if role == "writer" else ""
        where = f"on the overlay {way.network}" if way.network else "from here"
        more = f"; also {' '.join(way.others)}" if way.others else ""
        lines.append(f"  {role:<9} {way.host}:{way.port} {where}{more}{now}")
    way = next(iter(found.values()))
    user = f" --user={way.user} -p {way.database}" if way.user else ""
    protocol = "--protocol=tcp " if way.host == "localhost" else ""
    lines.append(
        f"            mariadb {protocol}--host={way.host} --port={way.port} --ssl-ca={typed(way.ca)} --ssl-verify-server-cert{user}"
    )
    if way.password_file:
        lines.append(f"            its password: cat {typed(way.password_file)}")
    return lines
