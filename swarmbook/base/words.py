"""Sentences about one thing or several."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["count", "subject"]


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


def count(number: int, one: str, several: str = "") -> str:
    """Name a number of things.

    Example:
        >>> count(1, "change"), count(3, "change"), count(2, "entry", "entries")
        ('1 change', '3 changes', '2 entries')
    """
    return f"{number} {one if number == 1 else several or one + 's'}"
