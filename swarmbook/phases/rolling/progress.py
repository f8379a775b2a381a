"""How far a rolling change has got: kept in the cluster's folder, so that another run goes on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass

from swarmbook.access.cluster import Cluster
from swarmbook.base.files import write_atomic

__all__ = ["Progress", "forget", "keep", "kept"]

_FILE = "rolling.json"


@dataclass(frozen=True)
class Progress:
    """A rolling change that is under way.

    Args:
        what: ``members``, ``engines`` or ``system``.
        done: Nodes that have had their turn.
        drained: The node that was drained for its turn, and may still be; empty for none.
        database: Of members: whose, of those that are on the swarm.
    """

    what: str
    done: tuple[str, ...] = ()
    drained: str = ""
    database: str = ""


def kept(cluster: Cluster) -> Progress | None:
    """Return the one that was begun and not ended; None where there is none, or its file cannot be read.

    Args:
        cluster: The cluster.
    """
    try:
        data = json.loads((cluster.folder / _FILE).read_text(encoding="utf-8"))
        return Progress(
            str(data["what"]),
            tuple(map(str, data["done"])),
            str(data.get("drained", "")),
            str(data.get("database", "")),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


def keep(cluster: Cluster, progress: Progress) -> None:
    """Write how far it has got.

    Args:
        cluster: The cluster.
        progress: Under way.
    """
    data = {
        "what": progress.what,
        "done": list(progress.done),
        "drained": progress.drained,
        "database": progress.database,
    }
    write_atomic(cluster.folder / _FILE, json.dumps(data) + "\n")


def forget(cluster: Cluster) -> None:
    """Remove what was kept: the change has ended.

    Args:
        cluster: The cluster.
    """
    (cluster.folder / _FILE).unlink(missing_ok=True)
