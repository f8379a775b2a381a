"""Codes: each is raised somewhere, and nothing decides by the words of our own errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmbook.base import errors
from swarmbook.base.codes import Code
from swarmbook.base.errors import CheckFailed, SwarmbookError
from swarmbook.base.known import find
from swarmbook.model.checks import Check, CheckTable

#: How an error is called where it is caught.
CAUGHT = {"error", "failure", "caught", "trouble"}


def modules(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((root / "swarmbook").rglob("*.py")):
        if "testing" in path.parts:  # a test may look whether a node is named
            continue
        yield path, ast.parse(path.read_text())


@pytest.mark.parametrize("code", Code)
def test_every_code_is_given_to_an_error(root: Path, code: Code) -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, SwarmbookError)
    ]
    product = (path.read_text() for path in (root / "swarmbook").rglob("*.py") if path.name != "codes.py")
    assert code in {cls.code for cls in classes} or any(f"Code.{code.name}" in text for text in product)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code) and code.name == code.value.upper().replace("-", "_")


def _words_of_an_error(node: ast.AST) -> bool:
    """``error.what`` and ``str(error)`` are words; what a host reported (``seen``) is not ours."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and part.attr == "what" and getattr(part.value, "id", "") in CAUGHT:
            return True
        if isinstance(part, ast.Constant) and part.value == "evalue":
            return True
    return False


def test_nothing_decides_by_the_words_of_our_errors(root: Path) -> None:
    found = []
    for path, tree in modules(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and _words_of_an_error(node):
                found.append(f"{path.relative_to(root)}:{node.lineno}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                searching = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
                asking = node.func.attr in ("startswith", "endswith", "find", "index", "match", "search", "fullmatch")
                if (searching or asking) and _words_of_an_error(node):
                    found.append(f"{path.relative_to(root)}:{node.lineno}")
    assert found == []


def test_a_failed_row_gives_its_code_to_the_error() -> None:
    plain = Check("n1", "kernel", "overlay", "none", False)
    clock = Check("n1", "clock", "within 2 s", "9 s behind", False, Code.CLOCKS_DIFFER)
    for rows, code in (([plain], Code.CHECK_FAILED), ([plain, clock], Code.CLOCKS_DIFFER)):
        with pytest.raises(CheckFailed) as caught:
            CheckTable(rows).raise_for_failures("swarmbook run")
        assert caught.value.code is code
    found = find(Code.CLOCKS_DIFFER)
    assert found is not None and found.name == "clocks-differ"
    assert "code" not in plain.to_json() and clock.to_json()["code"] == "clocks-differ"
