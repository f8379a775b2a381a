"""What engines answer, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.probe import name, node_id
from swarmbook.model.health import Role, SwarmState

__all__ = ["Info", "JoinTokens", "Service", "SwarmNode"]


@dataclass(frozen=True)
class Info:
    """An engine about itself.

    Args:
        version: Of the engine.
        cgroup_version: ``1`` or ``2``; empty where it is too old to say.
        storage_driver: ``overlay2``, ``btrfs`` and so on.
        swarm: Its part in a swarm.
        node_id: Its id in the swarm, or empty.
        manager: Whether it manages the swarm.
    """

    version: str
    cgroup_version: str
    storage_driver: str
    swarm: SwarmState
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
        manager: ``leader``, ``reachable``, ``unreachable``; empty for a worker.
        engine: Version of its engine.
        labels: Those put on it with ``docker node update --label-add``.
    """

    id: str
    hostname: str
    role: Role
    state: str
    availability: str
    manager: str
    engine: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> SwarmNode:
        """Read what ``docker node inspect`` and the engine's API say of a node.

        Raises:
            ValueError, KeyError, TypeError: It is not what it should be.
        """
        status, spec = entry.get("ManagerStatus") or {}, entry["Spec"]
        described = entry.get("Description") or {}  # a node that is just joining has not described itself yet
        hostname = str(described.get("Hostname") or "")
        return cls(
            node_id(entry["ID"]),
            name(hostname) if hostname else "",
            Role(spec["Role"]),
            str((entry.get("Status") or {}).get("State") or "unknown"),
            str(spec.get("Availability") or ""),
            "leader" if status.get("Leader") else str(status.get("Reachability") or ""),
            str((described.get("Engine") or {}).get("EngineVersion") or ""),
            {str(key): str(value) for key, value in (spec.get("Labels") or {}).items()},
        )


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

    def of(self, role: Role) -> str:
        """Return the token that makes a node a manager or a worker."""
        return self.manager if role is Role.MANAGER else self.worker
