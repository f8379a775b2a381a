"""How machines, engines, swarm, Consul and members are: one word each, from a list; ``show`` and tables make sentences of them."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

__all__ = [
    "Agent",
    "Component",
    "ContainerState",
    "EngineBefore",
    "EngineState",
    "GaleraState",
    "MachineState",
    "Role",
    "SwarmState",
]

Self = TypeVar("Self", bound="_Word")


class _Named(str, Enum):
    """A word from a list, which stands for itself in a sentence."""

    def __str__(self) -> str:
        return str(self.value)


class _Word(_Named):
    """A word that a host reports; one that is not in the list is ``UNKNOWN``."""

    @classmethod
    def read(cls: type[Self], text: str) -> Self:
        """Take a host's word.

        Example:
            >>> EngineState.read("active")
            <EngineState.ACTIVE: 'active'>
        """
        try:
            return cls(text.strip())
        except ValueError:
            return cls("unknown")


class MachineState(_Word):
    """How its provider says that a machine is."""

    RUNNING = "running"
    KEYLESS = "running without our key"
    UNTAGGED = "running without its tags"
    COMING_UP = "coming up"
    HALTED = "halted"
    SILENT = "no answer"
    ABSENT = "absent"
    # A lab machine's container:
    CREATED = "created"
    RESTARTING = "restarting"
    REMOVING = "removing"
    PAUSED = "paused"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"


class EngineState(_Word):
    """What systemd says of ``docker.service``."""

    ACTIVE = "active"
    ACTIVATING = "activating"
    RELOADING = "reloading"
    DEACTIVATING = "deactivating"
    INACTIVE = "inactive"
    FAILED = "failed"
    UNKNOWN = "unknown"


class EngineBefore(_Named):
    """What a node's engine was before the book came; the record on the node says it in these words."""

    ABSENT = "absent"
    STOPPED = "stopped"  # and nothing in it
    HELD = "held"  # stopped, with containers, volumes or images in it
    RUNNING = "running"

    @property
    def ours(self) -> bool:
        """Whether all that is in the engine is the book's."""
        return self in (EngineBefore.ABSENT, EngineBefore.STOPPED)


class SwarmState(_Word):
    """What an engine says of its part in a swarm; ``NONE`` where no engine answers."""

    ACTIVE = "active"
    PENDING = "pending"
    INACTIVE = "inactive"
    ERROR = "error"
    LOCKED = "locked"
    NONE = "none"
    UNKNOWN = "unknown"


class Role(_Named):
    """What a node is to its swarm."""

    MANAGER = "manager"
    WORKER = "worker"


class ContainerState(_Word):
    """What an engine says of a container; ``NONE`` where there is none."""

    RUNNING = "running"
    CREATED = "created"
    RESTARTING = "restarting"
    REMOVING = "removing"
    PAUSED = "paused"
    EXITED = "exited"
    DEAD = "dead"
    NONE = "none"
    UNKNOWN = "unknown"


class Agent(_Named):
    """What a node's Consul agent is."""

    SERVER = "server"
    CLIENT = "client"


class GaleraState(_Word):
    """What a member says of itself (``wsrep_local_state_comment``), or what can be seen while it says nothing."""

    SYNCED = "Synced"
    DONOR = "Donor"
    JOINED = "Joined"
    JOINING = "Joining"
    INITIALIZED = "Initialized"
    INCONSISTENT = "Inconsistent"
    STARTING = "starting"
    ABSENT = "no member"
    NOT_WANTED = "no member wanted"
    UNKNOWN = "unknown"

    @classmethod
    def read(cls, text: str) -> GaleraState:
        """Take a member's word: Galera says more (``Joining: receiving State Transfer``), or less of the same (``Joiner``)."""
        word = text.strip().lower()
        heads = {"synced": cls.SYNCED, "donor": cls.DONOR, "joined": cls.JOINED, "join": cls.JOINING}
        heads |= {"initialized": cls.INITIALIZED, "inconsistent": cls.INCONSISTENT}
        return next((state for head, state in heads.items() if word.startswith(head)), cls.UNKNOWN)


class Component(_Word):
    """Whether a member is in the part of the cluster that serves (``wsrep_cluster_status``)."""

    PRIMARY = "Primary"
    NON_PRIMARY = "non-Primary"
    DISCONNECTED = "Disconnected"
    UNKNOWN = "unknown"
