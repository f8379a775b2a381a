"""Failures that are known: an error finds the section that says what it usually means and what mends it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Known", "find", "known"]

_FILE = Path(__file__).with_name("failures.yaml")


@dataclass(frozen=True)
class Known:
    """One known failure.

    Args:
        name: By which ``swarmbook explain`` prints it; also its heading's anchor in ``docs/troubleshooting.md``.
        title: One line.
        says: Matches what an error says and has seen.
        means: What it usually means.
        mend: What mends it, in markdown.
        test: The test that makes it happen for real.
    """

    name: str
    title: str
    says: str
    means: str
    mend: str
    test: str


@functools.cache
def known() -> tuple[Known, ...]:
    """All of them, in the order in which a run would meet them; read when the first is asked for."""
    import yaml

    data = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return tuple(
        Known(name, **{key: str(value).strip() for key, value in entry.items()}) for name, entry in data.items()
    )


def find(text: str) -> Known | None:
    """The known failure that an error's words belong to, if any.

    Args:
        text: What it says, and below it what it has seen.
    """
    return next((failure for failure in known() if re.search(failure.says, text)), None)
