"""The table of rooms holds: every file stands in it once, and imports point downwards."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

#: What stands beside the rows, and who may look there.
BESIDE = {"testing": {"rehearsal", "lab", "cli"}}


@pytest.fixture(scope="module")
def rows(root: Path) -> dict[str, int]:
    """Row by room; a folder is a room, and of runbook each file is one."""
    spec = importlib.util.spec_from_file_location("docs_tool", root / "tools" / "docs.py")
    assert spec is not None and spec.loader is not None
    tool: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = tool
    spec.loader.exec_module(tool)
    found: dict[str, int] = {}
    for at, (names, _) in enumerate(tool.rooms(), 1):
        for name in names:
            room = name.replace("/(", "/").rstrip("/")
            assert room not in found, f"{room} stands in two rows"
            found[room] = at
    return found


def room_of(path: Path, package: Path, rows: dict[str, int]) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return "/".join(parts) if parts[0] == "runbook" and parts[1:] != ("__init__",) else parts[0]


def imported(path: Path, package: Path) -> list[Path]:
    """Files of the package that a file imports at any place."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = path.parents[node.level - 1] / "/".join((node.module or "").split("."))
        elif (node.module or "").split(".")[0] == "swarmbook":
            base = package / "/".join(node.module.split(".")[1:])  # type: ignore[union-attr]
        else:
            continue
        targets = [base / alias.name for alias in node.names] + [base]
        found += [t.with_suffix(".py") for t in targets if t.with_suffix(".py").exists()] or ([base / "__init__.py"] if (base / "__init__.py").exists() else [])
    return found


def test_every_room_stands_in_the_table_and_every_name_is_one(root: Path, rows: dict[str, int]) -> None:
    package = root / "swarmbook"
    files = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    have = {room_of(path, package, rows) for path in files} - set(BESIDE) | {"cli", "images"}
    assert have <= set(rows), f"not in docs/how-it-is-built.md: {sorted(have - set(rows))}"
    known = have | {"runbook"} | {f"{room}({path.name}" for room in have for path in package.glob("*") if path.suffix != ".py"}
    assert set(rows) <= known, f"no such room: {sorted(set(rows) - known)}"


def test_imports_point_downwards(root: Path, rows: dict[str, int]) -> None:
    package = root / "swarmbook"
    wrong = []
    for path in package.rglob("*.py"):
        room = room_of(path, package, rows)
        for target in imported(path, package):
            other = room_of(target, package, rows)
            if room in BESIDE or other == "__init__" or room == other:
                continue
            if other in BESIDE:
                if room not in BESIDE[other]:
                    wrong.append(f"{room} looks into {other}")
            # A provider is given the open book: the one room that looks up.
            elif rows[other] < rows[room] and (room, other) != ("providers", "book"):
                wrong.append(f"{path.relative_to(package)} (row {rows[room]}) imports {other} (row {rows[other]})")
    assert not wrong, "\n".join(wrong)
