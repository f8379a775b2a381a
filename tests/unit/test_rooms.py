"""The folders are the layers: what the import contracts in pyproject.toml hold, held here as well, and what they cannot see."""

from __future__ import annotations

import sys
from pathlib import Path

from importlinter import cli as importlinter

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What a person may import from the top; everything else lives in a layer.
PUBLIC = {"__init__.py", "notebook.py", "__main__.py"}


def _contracts(root: Path) -> dict[str, dict[str, object]]:
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {contract["id"]: contract for contract in settings["contracts"]}


def test_imports_keep_to_the_contracts(root: Path, monkeypatch: object) -> None:
    assert importlinter.lint_imports(config_filename=str(root / "pyproject.toml"), no_cache=True) == 0


def test_every_folder_is_a_layer_and_nothing_else_lies_at_the_top(root: Path) -> None:
    package = root / "swarmbook"
    folders = {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    layers = _contracts(root)["layers"]["layers"]
    assert folders - {"testing"} == set(layers) - {"notebook"}  # type: ignore[call-overload]
    assert {path.name for path in package.glob("*.py")} == PUBLIC


def test_every_layer_is_kept_from_testing(root: Path) -> None:
    contracts = _contracts(root)
    wanted = {f"swarmbook.{layer}" for layer in contracts["layers"]["layers"]}  # type: ignore[attr-defined]
    assert set(contracts["testing"]["source_modules"]) == wanted  # type: ignore[call-overload]


def test_no_file_is_longer_than_a_person_reads_at_once(root: Path) -> None:
    long = {
        str(path.relative_to(root)): count
        for path in (root / "swarmbook").rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert not long
