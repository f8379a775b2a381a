"""How far each member had got when it was last seen to serve: kept in the cluster's folder, for the day on which none does."""

from __future__ import annotations

import json
from collections.abc import Mapping

from swarmbook.access.cluster import Cluster
from swarmbook.base.files import write_atomic

__all__ = ["forget_positions", "keep_positions", "kept_positions"]

_FILE = "positions.json"


def kept_positions(cluster: Cluster, database: str) -> dict[str, tuple[str, int]]:
    """Return uuid and seqno of each member, by node; none where none were kept.

    Args:
        cluster: The cluster.
        database: The parameter ``mariadb_cluster_name``.
    """
    try:
        data = json.loads((cluster.folder / _FILE).read_text(encoding="utf-8"))
        return {str(name): (str(uuid), int(seqno)) for name, (uuid, seqno) in data.get(database, {}).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_positions(cluster: Cluster, database: str, positions: Mapping[str, tuple[str, int]]) -> None:
    """Write how far the members have got.

    Args:
        cluster: The cluster.
        database: The parameter ``mariadb_cluster_name``.
        positions: Of all that serve: uuid and seqno, by node.
    """
    try:
        data = dict(json.loads((cluster.folder / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        data = {}
    write_atomic(cluster.folder / _FILE, json.dumps({**data, database: positions}) + "\n")


def forget_positions(cluster: Cluster, database: str) -> None:
    """Remove what was kept of a database: another one is founded, with a history of its own.

    Args:
        cluster: The cluster.
        database: The parameter ``mariadb_cluster_name``.
    """
    if kept_positions(cluster, database):
        keep_positions(cluster, database, {})
