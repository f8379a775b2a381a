"""What ``swarmbook status`` knows, as Prometheus reads it: for a cluster that nothing else watches, or a textfile collector here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmbook.access.cluster import Cluster
from swarmbook.access.pki import Purpose, end_of
from swarmbook.book.book import Book
from swarmbook.diagnosis.status import Row, status
from swarmbook.model.health import Component, ContainerState, EngineState, GaleraState, Role
from swarmbook.params import Params

__all__ = ["Metric", "exposition", "metrics_of", "row_metrics"]


@dataclass(frozen=True)
class Metric:
    """One number.

    Args:
        name: Its name.
        help: What it is, in words.
        value: The number.
        labels: What it is about.
    """

    name: str
    help: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as data for programs."""
        return {"name": self.name, "labels": self.labels, "value": self.value}


#: What each node says; the same names as the members' agents use, where it is the same.
_HELP = {
    "swarmbook_node_up": "Whether the node answers over SSH.",
    "swarmbook_engine_up": "Whether the node's Docker Engine runs.",
    "swarmbook_swarm_manager": "Whether the node is a manager of the swarm, and active.",
    "swarmbook_consul_up": "Whether the node's Consul agent runs.",
    "swarmbook_member_up": "Whether the node's Galera member answers.",
    "swarmbook_member_synced": "Whether the member is Synced.",
    "swarmbook_member_primary": "Whether the member is in a primary component.",
    "swarmbook_member_writer": "Whether the member is the writer; of an election alone.",
    "swarmbook_member_open": "Whether the member takes writes; of an election alone.",
}


def row_metrics(params: Params, rows: Iterable[Row]) -> list[Metric]:
    """Turn rows of ``status`` into numbers; of a node that does not answer, just that.

    Args:
        params: The parameters.
        rows: The rows.
    """
    found: list[Metric] = []
    for row in rows:
        values = {"swarmbook_node_up": row.reachable}
        if row.reachable:
            values["swarmbook_engine_up"] = row.engine is EngineState.ACTIVE
            values["swarmbook_swarm_manager"] = row.role is Role.MANAGER
            values["swarmbook_consul_up"] = row.consul is ContainerState.RUNNING
        if row.reachable and row.galera is not GaleraState.NOT_WANTED:
            values["swarmbook_member_up"] = row.component is not None
            values["swarmbook_member_synced"] = row.galera is GaleraState.SYNCED
            values["swarmbook_member_primary"] = row.component is Component.PRIMARY
        if row.reachable and row.part:
            values["swarmbook_member_writer"] = row.part == "writer"
            values["swarmbook_member_open"] = row.part != "fenced"
        found += [Metric(name, _HELP[name], int(value), {"node": row.node}) for name, value in values.items()]
    counts = {
        "swarmbook_nodes_wanted": ("Nodes that the parameters name.", len(params.nodes)),
        "swarmbook_managers_wanted": ("Managers that the parameters want.", len(params.managers())),
        "swarmbook_members_wanted": ("Galera members that the parameters want.", len(params.members())),
    }
    return [*(Metric(name, words, count) for name, (words, count) in counts.items()), *found]


def _certificates(cluster: Cluster) -> list[Metric]:
    found = []
    for purpose in Purpose:
        folder = cluster.pki_folder / purpose.value
        for file in sorted(folder.glob("*.pem")) if folder.is_dir() else ():
            if not file.stem.startswith("ca-"):
                found.append(_ends(purpose, file))
    return found


def _ends(purpose: Purpose, file: Path) -> Metric:
    return Metric(
        "swarmbook_certificate_end_seconds",
        "When a certificate ends, in seconds since 1970, by what lies in the cluster's folder.",
        end_of(file.read_bytes()).timestamp(),
        {"purpose": purpose.value, "name": file.stem},
    )


def metrics_of(book: Book) -> list[Metric]:
    """Ask every node, and read the cluster's folder.

    Args:
        book: The open book.
    """
    return [*row_metrics(book.params, status(book)), *_certificates(book.cluster)]


def exposition(found: Sequence[Metric], cluster: str) -> str:
    """Write numbers as Prometheus reads them (https://prometheus.io/docs/instrumenting/exposition_formats/).

    Args:
        found: The numbers.
        cluster: A label of each.
    """
    lines = []
    for name in dict.fromkeys(metric.name for metric in found):
        same = [metric for metric in found if metric.name == name]
        lines += [f"# HELP {name} {same[0].help}", f"# TYPE {name} gauge"]
        for metric in same:
            labels = {"cluster": cluster, **metric.labels}
            # JSON quotes what has to be quoted here: the backslash, the quotation mark, the newline.
            words = ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items())
            lines.append(
                f"{name}{{{words}}} {metric.value:g}" if metric.value < 1e6 else f"{name}{{{words}}} {metric.value:.0f}"
            )
    return "\n".join([*lines, ""])
