"""tools/audit.py: what pip-audit reports is read, and silence is not taken for good news."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

#: As pip-audit 2.10 prints them: from an index that is not PyPI, and (shortened) with PyPI's data.
UNKNOWN = {"name": "arrow", "skip_reason": "Dependency not found on PyPI and could not be audited: arrow (1.4.0)"}
CLEAN = {"name": "click", "version": "8.3.1", "vulns": []}
HURT = {
    "name": "paramiko",
    "version": "3.3.0",
    "vulns": [
        {"id": "PYSEC-2023-1", "fix_versions": ["3.4.0"], "aliases": ["CVE-2023-48795"], "description": "Terrapin"}
    ],
}


@pytest.fixture
def tool(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_tool", root / "tools" / "audit.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "audit_tool", module)
    spec.loader.exec_module(module)
    return module


def answers(monkeypatch: pytest.MonkeyPatch, tool: ModuleType, *reports: list[dict[str, Any]] | str) -> list[list[str]]:
    """Have pip-audit answer so, one call after the other; return what it is called with."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        report = reports[len(calls)]
        calls.append(command)
        if isinstance(report, str):
            return SimpleNamespace(stdout="", stderr=report, returncode=1)
        return SimpleNamespace(stdout=json.dumps({"dependencies": report, "fixes": []}), stderr="", returncode=0)

    monkeypatch.setattr(tool.subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    ("reports", "code", "words"),
    [
        ([[CLEAN], [CLEAN], [CLEAN]], 0, "book.txt: 1 packages, 0 vulnerabilities, 0 unknown"),
        ([[CLEAN], [CLEAN, HURT], [CLEAN]], 1, "paramiko 3.3.0: PYSEC-2023-1 CVE-2023-48795; fixed in: 3.4.0"),
        ([[CLEAN], [HURT], [UNKNOWN]], 1, "arrow: Dependency not found"),
        ([[CLEAN], [UNKNOWN], [CLEAN]], 3, "arrow: Dependency not found"),
        ([[UNKNOWN]], 3, "not audited: the index does not give PyPI's data"),
        (["ConnectionError: Failed to resolve 'pypi.org'"], 3, "Failed to resolve"),
        ([[CLEAN], "ConnectionError: reset"], 3, "dev.txt: not audited: ConnectionError: reset"),
    ],
)
def test_the_exit_code_says_what_is_known(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reports: Any,
    code: int,
    words: str,
) -> None:
    calls = answers(monkeypatch, tool, *reports)
    assert tool.main([]) == code
    assert len(calls) == len(reports)
    assert words in capsys.readouterr().out


def test_a_vulnerability_is_accepted_by_any_of_its_names(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "ACCEPTED", {"CVE-2023-48795": "no one speaks that cipher here"})
    assert tool.read_report({"dependencies": [HURT]}).vulnerable == ()


def test_ci_goes_on_without_the_data_and_says_so(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, tool, [UNKNOWN])
    assert tool.main(["--if-reachable"]) == 0
    assert "not audited" in capsys.readouterr().out
    answers(monkeypatch, tool, [CLEAN], [HURT], [CLEAN])
    assert tool.main(["--if-reachable"]) == 1
