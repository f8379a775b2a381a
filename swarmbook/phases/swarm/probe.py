"""What nodes and managers say about the swarm: two probes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.docker_types import SwarmNode
from swarmbook.access.probe import Facts, Probe, line, network, node_id
from swarmbook.model.health import SwarmState

__all__ = ["LISTING", "LOCAL", "Local"]


@dataclass(frozen=True)
class Local:
    """What a node says about itself.

    Args:
        state: Its part in a swarm.
        id: Its id in the swarm; empty while it is in none.
        manager: Whether it manages the swarm.
        swarm: The swarm's id, where it knows it.
        autolock: Whether managers are locked when their engine starts, as far as it knows.
        heartbeat_s: Seconds in which each node reports to the swarm, as far as it knows; 0 where it does not.
        error: What its engine says is wrong with its part.
        routes: Networks that it has routes to.
        answers: Whether an engine answered at all.
    """

    state: SwarmState = SwarmState.INACTIVE
    id: str = ""
    manager: bool = False
    swarm: str = ""
    autolock: bool = False
    heartbeat_s: float = 0
    error: str = ""
    routes: tuple[str, ...] = ()
    answers: bool = True


def _local(facts: Facts) -> Local:
    text = "".join(facts["swarm"])
    if not text.startswith("{"):
        return Local(SwarmState.NONE, error=line(text), answers=False)
    swarm: dict[str, Any] = json.loads(text)
    node, known = str(swarm.get("NodeID") or ""), swarm.get("Cluster") or {}
    cluster = str(known.get("ID") or "")
    spec = known.get("Spec") or {}
    return Local(
        SwarmState.read(str(swarm["LocalNodeState"] or "inactive")),
        node_id(node) if node else "",
        swarm.get("ControlAvailable") is True,
        node_id(cluster) if cluster else "",
        (spec.get("EncryptionConfig") or {}).get("AutoLockManagers") is True,
        int((spec.get("Dispatcher") or {}).get("HeartbeatPeriod") or 0) / 1e9,
        line(str(swarm.get("Error") or "")),
        tuple(network(route) for route in facts["routes"] if "/" in route),
    )


#: What a node says about its own part in a swarm.
LOCAL: Probe[Local] = Probe(
    sh(
        "docker info --format '{{json .Swarm}}' 2>&1 | as swarm; "
        "ip -4 -o route show scope link | cut -d' ' -f1 | as routes"
    ),
    _local,
)


def _listing(facts: Facts) -> tuple[SwarmNode, ...] | str:
    text = "".join(facts["nodes"])
    if not text.startswith("["):
        return line(text)
    return tuple(SwarmNode.from_json(entry) for entry in json.loads(text))


#: Every node of the swarm, asked on a manager; what the engine says where it cannot list them.
LISTING: Probe[tuple[SwarmNode, ...] | str] = Probe(
    sh("docker node inspect $(docker node ls -q) 2>&1 | as nodes"), _listing
)
