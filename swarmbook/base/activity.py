"""What this process is at right now, for who watches: kept by those who do something, read by the line that tells of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["doing", "now"]

#: Where, and what; in the order in which they began. One per token, so that the same thing may be done twice at once.
_open: dict[object, tuple[str, str]] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def doing(where: str, what: str) -> Iterator[Callable[[str], None]]:
    """Tell what is being done, as long as it is.

    Args:
        where: Node, or ``here``; empty where it is no single place.
        what: A command, or what is waited for. It is masked and cut by who shows it.

    Yields:
        To be called with other words for ``what``, when there is more to tell.
    """
    token = object()

    def say(words: str) -> None:
        with _guard:
            _open[token] = (where, words)

    say(what)
    try:
        yield say
    finally:
        with _guard:
            del _open[token]


def now() -> list[tuple[str, str]]:
    """List what is being done, and where; work that several do at once is listed once, with all their names."""
    with _guard:
        all_of_it = list(_open.values())
    where: dict[str, list[str]] = {}
    for place, what in all_of_it:
        names = where.setdefault(what, [])
        if place and place not in names:
            names.append(place)
    return [(", ".join(sorted(names)), what) for what, names in where.items()]
