"""Values that must not show, and a search for them in every clothes they may come in; shared by all tests that search."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["clothes", "files_below", "search"]


def clothes(value: str) -> list[str]:
    """A value as it is, and in hex, base64 (at each of three places), URL-, HTML- and JSON-escaped once and twice."""
    data = value.encode()
    found = [
        value,
        data.hex(),
        data.hex().upper(),
        urllib.parse.quote(value, safe=""),
        html.escape(value),
        json.dumps(value)[1:-1],
    ]
    found.append(json.dumps(found[-1])[1:-1])
    for shift in range(3):
        found.append(base64.b64encode(b"?" * shift + data).decode()[4 if shift else 0 :].rstrip("=")[:-2])
    return list(dict.fromkeys(found))


def search(canaries: Iterable[str], places: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which canaries stand in which places, by their bytes."""
    forms = [(canary, form.encode()) for canary in canaries for form in clothes(canary)]
    return {(canary, place) for place, content in places.items() for canary, form in forms if form in content}


def files_below(folder: Path) -> dict[str, bytes]:
    """Every byte of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
