"""From which member a backup is taken: one that is Synced and not the writer, where there is another; pure."""

from __future__ import annotations

from collections.abc import Mapping

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.phases.endpoint.agents import Says

__all__ = ["source_among"]


def source_among(says: Mapping[str, Says], members: int, writer: str) -> str:
    """Choose the node from whose member the backup is taken.

    A backup keeps a member busy, and stops its commits for a moment: so it is not the writer's affair. Where no writer is
    elected, the first members are those that people connect to, so the last one is taken.

    Args:
        says: What the members' agents say, by node, in the order of the parameters.
        members: How many members the database has.
        writer: The node of the writer; nothing where none is elected.

    Raises:
        WorldError: No member may be taken.
    """
    able = [node for node, one in says.items() if one.reader and (node != writer or members == 1)]
    if not able:
        raise WorldError(
            "no member is Synced from which a backup may be taken",
            where=", ".join(says),
            wanted="a member that is Synced" + ("" if members == 1 else " and not the writer"),
            seen="; ".join(
                f"{node}: {one.state or 'no state'}{', the writer' if node == writer else ''}"
                for node, one in says.items()
            ),
            next="swarmbook status PARAMS; then: swarmbook backup PARAMS",
            code=Code.MEMBERS_NOT_SYNCED,
        )
    return able[-1]
