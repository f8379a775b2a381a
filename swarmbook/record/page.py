"""What every page of a record is made of: its frame, its tables, and the words for times and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

from swarmbook.base.markup import Markup, escape, joined, tag
from swarmbook.model import states

__all__ = ["code", "folded", "framed", "mark", "muted", "note", "span", "table", "utc", "value_table", "verdict"]

_VERDICTS: Mapping[str, tuple[str, str, str]] = {
    states.COMPLETED: ("good", "✔", "Completed"),
    states.FAILED: ("bad", "✘", "Failed"),
    states.KERNEL_DIED: ("bad", "✘", "Failed: the kernel died"),
    states.TIMEOUT: ("bad", "✘", "Failed: a time limit"),
    states.INTERRUPTED: ("warn", "■", "Interrupted"),
    states.RUNNING: ("warn", "?", "No end recorded: still running, or killed"),
    states.NOT_RUN: ("muted", "·", "not run"),
    states.PENDING: ("muted", "·", "not run"),
}


def verdict(status: str) -> tuple[str, str, str]:
    """Return class, sign and words of a status."""
    return _VERDICTS.get(status, ("warn", "?", status))


def mark(status: str) -> Markup:
    """Return a status as a coloured word."""
    kind, sign, words = verdict(status)
    return tag("span", f"{sign} {words if kind != 'good' else 'ok'}", class_=f"mark {kind}")


def note(good: bool, words: str) -> Markup:
    """Return words after a tick or a cross."""
    return tag("span", f"{'✔' if good else '✘'} {words}", class_=f"mark {'good' if good else 'bad'}")


def muted(words: object) -> Markup:
    """Return a paragraph that stands back."""
    return tag("p", words, class_="muted")


def code(text: object) -> Markup:
    """Return a value as it was."""
    return tag("code", text)


def utc(moment: float) -> str:
    """Return a moment in words."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "unknown"


def span(seconds: float) -> str:
    """Return a length of time in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def folded(head: object, tail: object, body: object, *, opened: bool = False, printed: bool = False) -> Markup:
    """Return a part that opens on a click.

    Args:
        head: What stands left in its line.
        tail: What stands right.
        body: What is in it.
        opened: Whether it is open at first.
        printed: Whether it is open on paper.
    """
    line = tag("summary", tag("span", head, class_="what"), tag("span", tail, class_="tail"))
    return tag("details", line, body, class_="open" if printed else None, open=opened)


def table(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[object]]], numbers: Sequence[int] = ()) -> Markup:
    """Return a table.

    Args:
        columns: Their names.
        rows: Each a class, which may be empty, and its cells.
        numbers: Which columns hold numbers.
    """
    kinds = ["num" if at in numbers else None for at in range(len(columns))]
    head = tag("tr", *(tag("th", column, class_=kind) for column, kind in zip(columns, kinds)))
    lines = (
        tag("tr", *(tag("td", c, class_=k, data_c=n) for c, k, n in zip(cells, kinds, columns)), class_=kind or None)
        for kind, cells in rows
    )
    return tag("table", tag("thead", head), tag("tbody", joined(lines)), class_="stack")


def value_table(values: Mapping[str, Any]) -> Markup:
    """Return a table of names and values."""
    return table(("name", "value"), (("", (key, code(_text(value)))) for key, value in values.items()))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, sort_keys=True, default=str)


def framed(title: str, body: Markup) -> str:
    """Return a whole page, which has no scripts and loads nothing.

    Args:
        title: Of the page.
        body: What is on it.
    """
    style = files("swarmbook.record").joinpath("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )
