"""Commands for a host's shell, built in one place: whatever comes in from outside is quoted, so that it stays one word.

::

    sh("docker node promote @{id}", id=node_id)
    sh("docker rm -f @{names}", names=["a", "b"])
    sh("docker exec @{name} sh -c @{inner}", name=name, inner=sh("ping @{address}", address=address))

A template is a literal: what it does can be read. Only :class:`Script` may be run, and only :func:`sh` makes one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

__all__ = ["Script", "lines", "sh"]

_PLACE = re.compile(r"@(!?)\{(\w+)\}")


class Script(str):
    """Shell code in which nothing is unquoted that came from outside."""

    __slots__ = ()


def sh(template: str, /, **values: object) -> Script:
    """Build a command from a template; ``@{name}`` stands for a value, quoted.

    Example:
        >>> sh("docker rm -f @{names}", names=["one", "two; reboot"])
        "docker rm -f one 'two; reboot'"

    Args:
        template: Shell code; a literal. Docker's ``{{.Name}}`` and the shell's ``${name}`` stand as they are.
        values: A text or number becomes one word, a list of them as many words; a :class:`Script` is one word too
            (``sh -c @{inner}``), and stands as code of its own where the place is ``@!{name}``.

    Raises:
        KeyError: The template names a value that is not given, or a value is not named in it.
        TypeError: Code is to be pasted that is no :class:`Script`.
    """
    unused = values.keys() - {place[1] for place in _PLACE.findall(template)}
    if unused:
        raise KeyError(f"not in the template: {', '.join(sorted(unused))}")
    return Script(_PLACE.sub(lambda match: _code(values[match[2]]) if match[1] else _words(values[match[2]]), template))


def _code(value: object) -> str:
    if not isinstance(value, Script):
        raise TypeError(f"only a Script stands as code: {type(value).__name__}")
    return value


def _words(value: object) -> str:
    if isinstance(value, str):
        return shlex.quote(value)
    if isinstance(value, Iterable):
        return " ".join(shlex.quote(str(word)) for word in value)
    return shlex.quote(str(value))


def lines(*scripts: Script) -> Script:
    """Join scripts, one below the other."""
    return Script("\n".join(scripts))
