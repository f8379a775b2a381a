"""What engines answer, typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.probe import line, name, node_id, word
from swarmbook.base.plain import plain
from swarmbook.model.health import Role, SwarmState

__all__ = ["Info", "JoinTokens", "Service", "SwarmNode", "labels", "object_names"]

_TOKEN = re.compile(r"SWMTKN-1-[0-9a-z]{40,60}-[0-9a-z]{20,30}")
#: Labels of one thing, and characters of one: ours are far below, an image may carry what it likes.
_MOST_LABELS, _LONGEST_LABEL = 1000, 16 << 10


def labels(found: Mapping[str, Any] | None) -> dict[str, str]:
    """Read labels: an image, or who may change a node, chooses what they say.

    Raises:
        ValueError: They are more, or longer, than labels are.
    """
    read = {plain(str(key)): plain(str(value)) for key, value in (found or {}).items()}
    if len(read) > _MOST_LABELS or any(len(text) > _LONGEST_LABEL for pair in read.items() for text in pair):
        raise ValueError(f"{len(read)} labels, or one of more than {_LONGEST_LABEL} characters")
    return read


def object_names(found: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Read the names of a swarm's secrets or configs."""
    return frozenset(name(str(entry["Spec"]["Name"])) for entry in found)


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
        id: Of the engine itself; stays the same as long as its data does.
        labels: ``KEY=VALUE``, of the engine itself.
    """

    version: str
    cgroup_version: str
    storage_driver: str
    swarm: SwarmState
    node_id: str
    manager: bool
    id: str = ""
    labels: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Info:
        """Read what ``docker info`` says.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is not what it should be.
        """
        swarm = found.get("Swarm") or {}
        id = str(swarm.get("NodeID") or "")
        return cls(
            version=word(str(found.get("ServerVersion") or "")),
            cgroup_version=word(str(found.get("CgroupVersion") or "")),
            storage_driver=word(str(found.get("Driver") or "")),
            swarm=SwarmState.read(str(swarm.get("LocalNodeState") or "inactive")),
            node_id=node_id(id) if id else "",
            manager=swarm.get("ControlAvailable") is True,
            id=word(str(found.get("ID") or "")),
            labels=tuple(line(str(label)) for label in found.get("Labels") or ()),
        )


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
            word(str((entry.get("Status") or {}).get("State") or "unknown")),
            word(str(spec.get("Availability") or "")),
            "leader" if status.get("Leader") else word(str(status.get("Reachability") or "")),
            word(str((described.get("Engine") or {}).get("EngineVersion") or "")),
            labels(spec.get("Labels")),
        )

    @property
    def name(self) -> str:
        """What the parameters call it: the label that 03 gives it, or else its host's name."""
        return self.labels.get("name") or self.hostname


@dataclass(frozen=True)
class Service:
    """A service of a swarm.

    Args:
        id: Its id.
        name: With its stack's.
        labels: The service's own, not its containers'.
        update: State of its last update: ``completed``, ``updating``, ``paused`` and so on; empty where it was never updated, and
            where the last one has not begun.
        rolls: Whether its last update replaces containers; one of labels, say, does not, and never has a state.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    update: str
    rolls: bool = False

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Service:
        """Read what the engine's API says of a service.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is not what it should be.
        """
        spec, before = entry["Spec"], entry.get("PreviousSpec") or {}
        return cls(
            id=node_id(str(entry["ID"])),
            name=name(str(spec["Name"])),
            labels=labels(spec.get("Labels")),
            update=word(str((entry.get("UpdateStatus") or {}).get("State") or "")),
            rolls=bool(before) and before.get("TaskTemplate") != spec.get("TaskTemplate"),
        )


@dataclass(frozen=True)
class JoinTokens:
    """Who holds one may join; they are secrets, and are not shown."""

    manager: str = field(repr=False)
    worker: str = field(repr=False)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> JoinTokens:
        """Read what the engine's API says of its swarm.

        Raises:
            ValueError, KeyError, TypeError: It is not what it should be; the message repeats none of it.
        """
        manager, worker = str(found["JoinTokens"]["Manager"]), str(found["JoinTokens"]["Worker"])
        if not (_TOKEN.fullmatch(manager) and _TOKEN.fullmatch(worker)):
            raise ValueError("no join tokens")
        return cls(manager, worker)

    def of(self, role: Role) -> str:
        """Return the token that makes a node a manager or a worker."""
        return self.manager if role is Role.MANAGER else self.worker
