"""Autolock: with it, what a manager keeps on its disk opens only with a key that is not on it.

The key is in the cluster's folder. The swarm asks for it whenever a manager's engine starts.
"""

from __future__ import annotations

from swarmbook.access.docker_swarm import replace_unlock_key, set_autolock, unlock, unlock_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.model.health import SwarmState

__all__ = ["KEY", "keep_new_key", "key_is_kept", "lock", "unlock_manager"]

#: What the key is called among the cluster's secrets.
KEY = "swarm-unlock-key"


def key_is_kept(book: Book, manager: str) -> bool:
    """Tell whether the cluster's folder has the swarm's unlock key: a rotation may have been killed, or a person have made another.

    Args:
        book: The open book.
        manager: A manager that is not locked, of a swarm with autolock.
    """
    return _is_there(book) and book.cluster.secret(KEY) == unlock_key(book.engine(manager))


def _is_there(book: Book) -> bool:
    return (book.cluster.secrets_folder / KEY).exists()


def lock(book: Book, manager: str, on: bool) -> None:
    """Switch autolock, and keep the key.

    Args:
        book: The open book.
        manager: A manager that takes commands.
        on: Whether managers are locked when their engine starts.
    """
    engine = book.engine(manager)
    set_autolock(engine, on)
    if on:
        key = unlock_key(engine)
        book.cluster.replace_secret(KEY, key.reveal)
    else:
        (book.cluster.secrets_folder / KEY).unlink(missing_ok=True)
        book.cluster.forget_earlier(KEY)


def keep_new_key(book: Book, manager: str) -> None:
    """Have the swarm make another key, and keep the earlier one for a manager that has not taken the new one over.

    Args:
        book: The open book.
        manager: A manager that takes commands.
    """
    engine = book.engine(manager)
    replace_unlock_key(engine)
    key = unlock_key(engine)
    book.cluster.replace_secret(KEY, key.reveal, keep=True)


def unlock_manager(book: Book, name: str) -> None:
    """Unlock a manager whose engine asks for the key; nothing where it does not.

    Args:
        book: The open book.
        name: The node.

    Raises:
        WorldError: The cluster's folder has no key, or not the one that opens it.
    """
    engine = book.engine(name)
    if engine.about().swarm is not SwarmState.LOCKED:
        return
    kept = [book.cluster.secret(KEY), *book.cluster.earlier(KEY)] if _is_there(book) else []
    for key in kept:
        try:
            unlock(engine, key)
        except WorldError as error:
            seen = error.seen
        else:
            return
    file = book.cluster.folder / "secrets" / KEY
    raise WorldError(
        f"{name} is locked, and no key here opens it",
        where=name,
        wanted=f"the swarm's unlock key in {file}",
        seen=seen if kept else "no such file",
        next=f"write the key into {typed(file)} (a manager that is not locked says it: docker swarm unlock-key), then: swarmbook run PARAMS --from 03",
        code=Code.SWARM_LOCKED,
    )
