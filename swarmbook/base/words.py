"""Small words: one thing or several, a text that fits, a word as it is typed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

__all__ = ["cut", "many", "subject", "typed"]


def subject(names: Iterable[str], one: str, several: str) -> str:
    """Join names with the verb that fits their number.

    Example:
        >>> subject(["sw2"], "carries", "carry")
        'sw2 carries'
        >>> subject(["sw2", "sw3"], "carries", "carry")
        'sw2, sw3 carry'

    Args:
        names: What the sentence is about.
        one: The verb for one.
        several: The verb for more than one, or none.
    """
    listed = list(names)
    return f"{', '.join(listed)} {one if len(listed) == 1 else several}"


def many(number: int, noun: str, several: str = "") -> str:
    """Name a number of things.

    Example:
        >>> many(1, "host"), many(1200, "check"), many(2, "entry", "entries")
        ('1 host', '1,200 checks', '2 entries')

    Args:
        number: How many.
        noun: What, of one.
        several: The noun for more than one, or none, where it does not just end in ``s``.
    """
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def cut(text: str, width: int, dots: str = "…") -> str:
    """Return a text that is no longer than a width.

    Args:
        text: The text.
        width: How many characters there is room for.
        dots: What stands for the rest, within that width.
    """
    return text if len(text) <= width else text[: width - len(dots)].rstrip() + dots


def typed(word: object) -> str:
    """Return a word as a person types it at a shell: quoted where it has to be.

    Example:
        >>> typed("/srv/my book/clusters")
        "'/srv/my book/clusters'"

    Args:
        word: A path above all: folders have blanks, dollars and umlauts.
    """
    return shlex.quote(str(word))
