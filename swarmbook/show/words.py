"""Small words: a count with its noun, a text that fits."""

from __future__ import annotations

__all__ = ["cut", "many"]


def many(count: int, noun: str) -> str:
    """Return a count with its noun.

    Example:
        >>> many(1, "host"), many(1200, "check")
        ('1 host', '1,200 checks')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def cut(text: str, width: int, dots: str = "…") -> str:
    """Return a text that is no longer than a width.

    Args:
        text: The text.
        width: How many characters there is room for.
        dots: What stands for the rest, within that width.
    """
    return text if len(text) <= width else text[: width - len(dots)].rstrip() + dots
