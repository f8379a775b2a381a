"""One look at the nodes for all boards of a cluster: whoever's turn it is looks, and the others show what it saw.

Each notebook that is open has a board, in a process of its own, for as long as its kernel lives; a reader who has gone through the book
has a dozen of them. If each asked all nodes by itself, they would ask all the time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from swarmbook.base.files import runtime_folder, write_atomic

__all__ = ["Page", "SharedLook"]


@dataclass(frozen=True)
class Page:
    """What a look has shown.

    Args:
        html: As HTML.
        text: As text.
        words: What of it counts as a change; without the time, say.
        was: Node and part that were well once.
        at: When that was, in seconds since the epoch.
        rest_s: For how many seconds it is good.
    """

    html: str
    text: str
    words: str
    was: Sequence[Sequence[str]]
    at: float
    rest_s: float

    def due_s(self) -> float:
        """Return in how many seconds the next look is due; 0 where it is."""
        gone = time.time() - self.at
        # A clock that was set back must not keep a page for ever.
        return max(0.0, self.rest_s - gone) if gone >= 0 else 0.0


class SharedLook:
    """What the boards of one cluster have seen last.

    Args:
        key: Of the cluster, and of what is asked: boards of another key see nothing of it.
        folder: Where it is kept; by default a folder of this user's that goes with the session, or with a reboot.
    """

    def __init__(self, key: str, folder: Path | None = None) -> None:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._file = (folder or runtime_folder()) / f"swarmbook-board-{digest}.json"

    def take(self, look: Callable[[Page | None], Page]) -> Page | None:
        """Return the page that is good now, made by the board whose turn it is.

        Args:
            look: Looks, knowing what the look before has shown.

        Returns:
            None where another board is looking just now, and there is no page yet.
        """
        page = self._read()
        if page is not None and page.due_s():
            return page
        with self._turn() as ours:
            if not ours:
                return page
            page = self._read()
            if page is not None and page.due_s():  # made while we waited for our turn
                return page
            made = look(page)
            with contextlib.suppress(OSError):
                write_atomic(self._file, json.dumps(asdict(made)), 0o600)
            return made

    def _read(self) -> Page | None:
        try:
            with self._file.open(encoding="utf-8") as file:
                # Whose file it is decides: the folder may be one where others write, too.
                if os.fstat(file.fileno()).st_uid != os.getuid():
                    return None
                return Page(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[bool]:
        """Take the turn, if it is no one else's; where no file can be made, each board looks by itself."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            yield True
            return
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)
