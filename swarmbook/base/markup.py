"""HTML and SVG that escape by default: text becomes markup in one place, and what is markup already says so by its type."""

from __future__ import annotations

import html
from collections.abc import Iterable

from swarmbook.base.plain import plain

__all__ = ["Markup", "escape", "joined", "tag"]

#: Elements that are closed where they are opened, if nothing is in them.
_EMPTY = frozenset(("br", "circle", "hr", "img", "line", "meta", "path", "rect"))


class Markup(str):
    """Text that is HTML or SVG already; any other text is escaped when it is put into a page."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Return a value as markup: markup as it is, everything else as plain text.

    Example:
        >>> escape("<b>")
        '&lt;b&gt;'
        >>> escape(tag("b", "<b>"))
        '<b>&lt;b&gt;</b>'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(plain(str(value))))


def joined(parts: Iterable[object], between: object = "") -> Markup:
    """Return parts one after the other, each escaped unless it is markup.

    Args:
        parts: What is joined.
        between: What stands between two of them.
    """
    return Markup(escape(between).join(escape(part) for part in parts))


def tag(name: str, *parts: object, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: Of the element.
        parts: What is in it, each escaped unless it is markup.
        attributes: ``_`` stands for ``-``, and one at the end is dropped (``class_``). None and False leave an attribute
            out, True names it alone.

    Example:
        >>> tag("td", "a < b", class_="num", data_c="seconds")
        '<td class="num" data-c="seconds">a &lt; b</td>'
    """
    inside = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _EMPTY and not parts:
        return Markup(f"<{name}{inside}/>")
    return Markup(f"<{name}{inside}>{joined(parts)}</{name}>")


def _name(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")
