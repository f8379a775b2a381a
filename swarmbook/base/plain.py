"""Text of others, made plain: no character in it moves a cursor, sets a title, fills a clipboard or turns words around.

Hosts, images, engines, databases and services choose what they say. Where it comes in (:mod:`swarmbook.access`,
:mod:`swarmbook.machines`) and, once more, where it goes out (errors, tables, markup, the terminal, files of logs), it passes
through here.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["plain", "plain_data"]

#: A colour, as programs print it for people: nothing is lost with it.
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# C0 but for the newline and the tab, DEL, C1; marks that change the direction of what follows; line ends that only some
# programs know; characters without a shape (but for those that join letters); halves of characters, which cannot be written.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def plain(text: str) -> str:
    r"""Return a text in which every character is what it looks like.

    Example:
        >>> plain("\x1b[31mred\x1b[0m, and \x1b]0;a title\x07\r\n")
        'red, and \\x1b]0;a title\\x07\n'

    Args:
        text: Of any origin. Colours are left out, a carriage return before a newline too; any other
            control character is written as Python would, so that it can be seen.
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(_written, _COLOUR.sub("", text).replace("\r\n", "\n"))


def _written(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def plain_data(data: Any) -> Any:
    """Make every text in what was read from JSON plain, keys too.

    Args:
        data: Of texts, numbers, lists and mappings.
    """
    if isinstance(data, str):
        return plain(data)
    if isinstance(data, dict):
        return {plain(key) if isinstance(key, str) else key: plain_data(value) for key, value in data.items()}
    if isinstance(data, list):
        return [plain_data(value) for value in data]
    return data
