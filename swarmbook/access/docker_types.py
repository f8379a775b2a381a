"""What engines answer, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Info", "JoinTokens", "NodeRole", "Service", "SwarmNode"]


class NodeRole(str, Enum):
    """What a node is to its swarm."""

    MANAGER = "manager"
    WORKER = "worker"


@dataclass(frozen=True)
class Info:
    """An engine about itself.

    Args:
        version: Of the engine.
        cgroup_version: ``1`` or ``2``; empty where it is too old to say.
        storage_driver: ``overlay2``, ``btrfs`` and so on.
        swarm: State of its part in a swarm: ``inactive``, ``pending``, ``active``, ``error``, ``locked``.
        node_id: Its id in the swarm, or empty.
        manager: Whether it manages the swarm.
    """

    version: str
    cgroup_version: str
    storage_driver: str
    swarm: str
    node_id: str
    manager: bool


@dataclass(frozen=True)
class SwarmNode:
    """A node as its swarm lists it.

    Args:
        id: Its id in the swarm.
        hostname: What it calls itself.
        role: Whether it manages the swarm.
        state: ``ready``, ``down``, ``unknown``, ``disconnected``.
        availability: ``active``, ``pause``, ``drain``.
        labels: Those put on it with ``docker node update --label-add``.
    """

    id: str
    hostname: str
    role: NodeRole
    state: str
    availability: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """A service of a swarm.

    Args:
        id: Its id.
        name: With its stack's.
        labels: The service's own, not its containers'.
        update: State of its last update: ``completed``, ``updating``, ``paused`` and so on; empty where it was never updated.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    update: str


@dataclass(frozen=True)
class JoinTokens:
    """Who holds one may join; they are secrets, and are not shown."""

    manager: str = field(repr=False)
    worker: str = field(repr=False)

    def of(self, role: NodeRole) -> str:
        """The token that makes a node a manager or a worker."""
        return self.manager if role is NodeRole.MANAGER else self.worker
