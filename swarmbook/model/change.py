"""A change: what a step is about to do, as data. Its sentence is made by :mod:`swarmbook.show.changes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["NEW_NODE", "WAITS", "Action", "Change", "Todo", "Word", "by_host", "refuse_unknown", "typed"]


class Word(str, Enum):
    """What a person types before something is done that costs or destroys."""

    ORDER = "ORDER"
    DESTROY = "DESTROY"
    CANCEL = "CANCEL"
    RESTORE = "RESTORE"
    PROMOTE = "PROMOTE"
    LOSE = "LOSE"  # and how much: see :func:`typed`


class Action(str, Enum):
    """Everything that a step can do; the comment says what ``Change.things`` holds.

    The value is what a plan's file and the ledger say. It is part of their format: a new word is fine, another word for the
    same action is a new ``FORMAT`` of the plan.
    """

    # 01: the key, the machines, the inventory
    TAKE_KEY = "take-key"  # the key's file
    GENERATE_KEY = "generate-key"
    START_ENGINE_HERE = "start-engine-here"
    CREATE = "create"  # price, where it has one
    ADOPT = "adopt"
    ORDER = "order"  # what, price
    AWAIT_MACHINE = "await-machine"
    START_MACHINE = "start-machine"
    PUT_KEY = "put-key"
    TAG = "tag"  # tags
    INVENTORY = "inventory"
    PIN = "pin"
    REMOVE = "remove"  # one thing of the provider's, or the cluster's folder
    # 02: packages and the second disk
    UPDATE = "update"
    INSTALL = "install"  # packages
    WIPE_DISK = "wipe-disk"  # device, then what is on it
    LAY_OUT = "lay-out"  # device, layout, then the layers to make; the device alone while its kernel is not known
    MOUNT = "mount"  # device, mount point
    REMOUNT = "remount"  # device, options
    FSTAB = "fstab"  # device, options
    GUARD = "guard"  # device
    # 03: the wall, engines, the swarm, images
    WALL = "wall"  # "PORT/PROTOCOL for WHOM" for each of the cluster's ports
    REMOVE_WALL = "remove-wall"  # the table, paths
    ISSUE = "issue"  # name of a certificate that stays here; only in records of earlier versions
    INSTALL_ENGINE = "install-engine"  # where it comes from: system or docker
    CERTIFICATE = "certificate"  # names that it carries
    REPLACE_AUTHORITY = "replace-authority"  # what its certificates are for
    SETTINGS = "settings"  # the file
    LISTEN = "listen"  # which address, port
    ENABLE = "enable"
    START = "start"
    RESTART = "restart"
    INIT_SWARM = "init-swarm"
    JOIN_SWARM = "join-swarm"  # role
    PROMOTE = "promote"
    AUTOLOCK = "autolock"  # on or off
    HEARTBEAT = "heartbeat"  # the period, in seconds
    UNLOCK = "unlock"
    LABEL = "label"  # KEY=VALUE
    AWAIT_NODE = "await-node"
    LEAVE_OUT = "leave-out"  # swarm node id
    TAKE_BACK = "take-back"  # swarm node id
    FORGET = "forget"  # swarm node id, role
    IMAGES = "images"  # tags, or what the image is of
    # 04: Consul
    SECRET = "secret"  # name without the hash of its content  # noqa: S105
    REMOVE_SECRETS = "remove-secrets"  # full names
    PUT_FILES = "put-files"  # paths
    RESTART_AGENT = "restart-agent"  # service
    AWAIT_AGENT = "await-agent"  # service
    DEPLOY = "deploy"  # service
    TOKEN = "token"  # its name  # noqa: S105
    REMOVE_TOKEN = "remove-token"  # its name  # noqa: S105
    GOSSIP_KEY = "gossip-key"
    # 06: the overlay network
    CREATE_NETWORK = "create-network"  # name, subnet, MTU, and "encrypted" where it is
    # 07: Galera
    CONFIG = "config"  # name
    MAKE_FOLDER = "make-folder"  # path or volume
    SET_ASIDE = "set-aside"  # path
    WITHDRAW_MARK = "withdraw-mark"  # path of the data folder
    ALONE = "alone"  # path of the data folder, "yes" or "no"
    BOOTSTRAP = "bootstrap"
    AWAIT_FIRST = "await-first"
    REUNITE = "reunite"  # seconds
    JOIN_CLUSTER = "join-cluster"
    AWAIT_MEMBER = "await-member"
    UPDATE_MEMBER = "update-member"
    LOGIN = "login"  # user, what lets it in
    REMOVE_LOGIN = "remove-login"  # user
    # 20: the endpoint
    ELECT = "elect"  # the first writer
    AWAIT_ENDPOINT = "await-endpoint"  # service
    # 21: scale
    DEMOTE = "demote"
    REMOVE_MEMBER = "remove-member"  # service
    LEAVE_CONSUL = "leave-consul"  # its part: server or client
    UNLIST = "unlist"
    # 22: rolling change
    RESTART_MEMBER = "restart-member"
    RENEW_SYSTEM = "renew-system"
    # 24: watch
    AWAIT_WATCH = "await-watch"
    # 25: recovery
    RECOVER = "recover"  # position, "living" or "stopped", and what is lost: a number of transactions, or UNKNOWN
    REJOIN = "rejoin"  # how many transactions it lacks, or "all"
    # 26: backup
    MAKE_REPOSITORY = "make-repository"  # the repository
    BACKUP = "backup"  # the repository
    FORGET_BACKUPS = "forget-backups"  # what is kept
    REMOVE_BROKEN = "remove-broken"  # snapshots that are not complete
    # 27: restore
    FETCH = "fetch"  # id of the snapshot, whose it is, position
    REPLAY = "replay"  # the moment, how many pieces of the archive
    REPLACE_DATA = "replace-data"  # the data folder, the name under which what is in it stays
    PUT_IN_PLACE = "put-in-place"  # id of the snapshot
    FOUND_RESTORED = "found-restored"  # id of the snapshot
    # 28: standby
    SOURCE_LOGIN = "source-login"  # the cluster that is followed, who may read there, by what
    FOLLOW = "follow"  # the cluster that is followed, where its members are
    FENCE_SOURCE = "fence-source"  # the cluster that is followed
    TAKE_OVER = "take-over"  # the cluster that was followed, "switch" or "lost"
    # 29: rotation
    ROTATE = "rotate"  # what
    END_OVERLAP = "end-overlap"  # of what
    # 90: take away
    REMOVE_SERVICES = "remove-services"  # services
    LEAVE_SWARM = "leave-swarm"
    REMOVE_CONTAINERS = "remove-containers"  # names, without the ids of tasks
    REMOVE_VOLUMES = "remove-volumes"  # names
    REMOVE_DATA = "remove-data"  # path
    REMOVE_IMAGES = "remove-images"  # tags
    SET_BACK_ENGINE = "set-back-engine"  # an EngineBefore, then the folders that are emptied
    REMOVE_FILES = "remove-files"  # paths
    REMOVE_PACKAGES = "remove-packages"
    UNDO_LAYOUT = "undo-layout"  # device, then what is on it, last what else is in the engine

    def __str__(self) -> str:
        return self.value


#: A node is there afterwards that was not there before.
NEW_NODE = frozenset({Action.CREATE, Action.ADOPT, Action.ORDER})
#: Nothing is touched: what is on its way already is waited for.
WAITS = frozenset(
    {
        Action.AWAIT_MACHINE,
        Action.AWAIT_NODE,
        Action.AWAIT_AGENT,
        Action.AWAIT_FIRST,
        Action.REUNITE,
        Action.AWAIT_MEMBER,
        Action.AWAIT_ENDPOINT,
        Action.AWAIT_WATCH,
    }
)


@dataclass(frozen=True)
class Change:
    """One thing a plan wants done.

    What is approved is what is done: a step applies a change from its things and from what it wants, and from nothing else.

    Args:
        host: Where; ``cluster`` for what belongs to no single host, ``here`` for this computer.
        action: What is done.
        things: What it is done to, or with; what each action has there says :class:`Action`. Holds no secret.
        word: The word that has to be typed first; None for what neither costs nor destroys.
        because: Why, for a person; no part of the change's identity.
    """

    host: str
    action: Action
    things: tuple[str, ...] = ()
    word: Word | None = None
    because: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.action, Action):
            raise TypeError(f"no action: {self.action!r}")
        if isinstance(self.things, str) or not all(isinstance(thing, str) for thing in self.things):
            raise TypeError(f"things are a tuple of texts: {self.things!r}")
        object.__setattr__(self, "things", tuple(self.things))

    def is_part_of(self, other: Change) -> bool:
        """Tell whether this does no more than another one: the same action on the same host, on some of its things."""
        same = (self.host, self.action, self.word) == (other.host, other.action, other.word)
        return same and set(self.things) <= set(other.things)


def typed(word: Word, changes: Iterable[Change]) -> str:
    """Return what a person types for changes that want a word: for what is lost, how much that is as well.

    Example:
        >>> typed(Word.LOSE, [Change("sw2", Action.RECOVER, ("a:7", "stopped", "17"), Word.LOSE)])
        'LOSE 17'

    Args:
        word: The word.
        changes: Those that want it.
    """
    return " ".join([word.value, *(change.things[-1] for change in changes if word is Word.LOSE)])


def by_host(changes: Iterable[Change]) -> dict[str, list[Change]]:
    """Group changes by host, in their order."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.host, []).append(change)
    return found


class Todo:
    """Changes to be applied, taken action by action; a change that is left over is an error.

    ::

        with Todo(changes) as todo:
            for change in todo.take(Action.LABEL): ...
    """

    def __init__(self, changes: Iterable[Change]) -> None:
        self._left: dict[Action, list[Change]] = {}
        for change in changes:
            self._left.setdefault(change.action, []).append(change)

    def take(self, action: Action) -> list[Change]:
        """Take the changes of an action, in their order; each is given once."""
        return self._left.pop(action, [])

    def __contains__(self, action: Action) -> bool:
        return action in self._left

    def __enter__(self) -> Todo:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None and self._left:
            raise AssertionError(f"planned and not applied: {', '.join(sorted(self._left))}")

    def __iter__(self) -> Iterator[Action]:
        return iter(self._left)


def refuse_unknown(changes: Iterable[Change], handled: Mapping[Action, object]) -> None:
    """Fail before anything is touched when a change has an action that its step does not know how to apply."""
    unknown = {change.action for change in changes} - set(handled)
    if unknown:
        raise AssertionError(f"planned and cannot be applied: {', '.join(sorted(unknown))}")
