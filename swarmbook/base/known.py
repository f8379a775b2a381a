"""Known failures: an error finds, by its code, the section that says what it usually means and how to fix it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code

__all__ = ["Known", "find", "known", "recognise"]

_FILE = Path(__file__).with_name("failures.yaml")


@dataclass(frozen=True)
class Known:
    """One known failure.

    Args:
        name: What ``swarmbook explain`` calls it; also its heading's anchor in ``docs/troubleshooting.md``.
        title: One line.
        codes: The codes of the errors it explains; foreign words are given the first of them.
        foreign: Regular expressions for the words of engines and servers, never for ours.
        means: What it usually means.
        fix: How to fix it, in markdown.
        test: The test that makes it happen for real.
    """

    name: str
    title: str
    codes: tuple[Code, ...]
    foreign: tuple[str, ...]
    means: str
    fix: str
    test: str


@functools.cache
def known() -> tuple[Known, ...]:
    """List every known failure, in the order in which a run would meet them; the file is read at the first call."""
    import yaml

    return tuple(_entries(yaml.safe_load(_FILE.read_text(encoding="utf-8"))))


def _entries(data: dict[str, dict[str, Any]]) -> Iterator[Known]:
    for name, entry in data.items():
        codes = tuple(map(Code, entry.pop("codes")))
        foreign = tuple(entry.pop("foreign", ()))
        yield Known(name, codes=codes, foreign=foreign, **{key: str(value).strip() for key, value in entry.items()})


def find(code: Code, seen: str | None = None) -> Known | None:
    """Find the known failure that explains an error.

    Args:
        code: The error's.
        seen: What a host or a server reported: it decides where no known failure has that code.
    """
    for wanted in (code, recognise(seen or "")):
        for failure in known():
            if wanted in failure.codes:
                return failure
    return None


def recognise(foreign: str) -> Code | None:
    """Turn the words of an engine or a server into a code.

    Example:
        >>> recognise("write /layer.tar: no space left on device")
        <Code.DISK_FULL: 'disk-full'>

    Args:
        foreign: What it reported; never a sentence of ours.
    """
    if not foreign:
        return None
    return next(
        (
            failure.codes[0]
            for failure in known()
            if any(re.search(pattern, foreign, re.IGNORECASE) for pattern in failure.foreign)
        ),
        None,
    )
