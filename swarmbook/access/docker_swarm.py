"""A swarm's unlock key: what a manager needs after its engine has started, where autolock is on.

Over the API, since on a command line every user of the node could read the key.
"""

from __future__ import annotations

import re
from typing import Any

from swarmbook.access.docker_api import Engine
from swarmbook.access.probe import understood
from swarmbook.base.secrets import Secret

__all__ = ["replace_unlock_key", "set_autolock", "unlock", "unlock_key"]

_KEY = re.compile(r"SWMKEY-1-[A-Za-z0-9+/=]{20,100}")


def unlock_key(engine: Engine) -> Secret:
    """Return the key that unlocks a manager.

    Args:
        engine: Of a manager that is not locked, of a swarm with autolock.

    Raises:
        Refused: The engine's answer is no such key.
    """
    with engine.asked("docker swarm unlock-key"):
        found = engine.client.api.get_unlock_key()
    with understood(engine.name):
        key = str(found["UnlockKey"])
        if not _KEY.fullmatch(key):
            raise ValueError("no unlock key")
        return Secret("unlock key", key)


def set_autolock(engine: Engine, on: bool) -> None:
    """Have managers ask for the unlock key whenever their engine starts, or no more.

    Args:
        engine: Of a manager.
        on: Whether they do.
    """
    _update(engine, "docker swarm update --autolock", autolock=on)


def replace_unlock_key(engine: Engine) -> None:
    """Have the swarm make another unlock key; the managers take it over within minutes.

    Args:
        engine: Of a manager.
    """
    _update(engine, "docker swarm unlock-key --rotate", rotate_manager_unlock_key=True)


def unlock(engine: Engine, key: Secret) -> None:
    """Unlock a manager.

    Args:
        engine: Of the manager that is locked.
        key: The key.

    Raises:
        WorldError: The key is not the swarm's.
    """
    with engine.asked("docker swarm unlock"):
        engine.client.api.unlock_swarm(key.reveal())


def _update(engine: Engine, what: str, autolock: bool | None = None, **rotate: bool) -> None:
    """Change one thing of the swarm's settings; the SDK's own ``update`` would set all others back."""
    with engine.asked(what):
        found: dict[str, Any] = engine.client.api.inspect_swarm()
        spec = found["Spec"]
        if autolock is not None:
            spec = {**spec, "EncryptionConfig": {"AutoLockManagers": autolock}}
        engine.client.api.update_swarm(version=found["Version"]["Index"], swarm_spec=spec, **rotate)
