"""Answers as data: what a host printed, and what a probe makes of it; or that it refuses it.

Each file in ``answers/PHASE/`` is one answer: ``probe`` (dotted path to a :class:`Probe`, or to what gives one for
``arguments``), ``answer`` (the text), and ``gives`` (the fields that must come out) or ``refused: true``.
"""

from __future__ import annotations

import dataclasses
import importlib
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarmbook.access.probe import Probe, Refused
from swarmbook.params import Params

ANSWERS = Path(__file__).parent / "answers"


def plain(value: Any) -> Any:
    """A value as YAML would write it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def probe_of(case: dict[str, Any]) -> Probe[Any]:
    """The probe that a case names; an argument ``params: {...}`` stands for parameters."""
    module, _, name = case["probe"].partition(":")
    found = getattr(importlib.import_module(module), name)
    if isinstance(found, Probe):
        return found
    arguments = [
        Params(**a["params"]) if isinstance(a, dict) and "params" in a else a for a in case.get("arguments", [])
    ]
    probe = found(*arguments)
    assert isinstance(probe, Probe)
    return probe


@pytest.mark.parametrize(
    "file", [pytest.param(f, id=f"{f.parent.name}-{f.stem}") for f in sorted(ANSWERS.rglob("*.yaml"))]
)
def test_answer(file: Path) -> None:
    case = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(case) <= {"case", "probe", "arguments", "answer", "gives", "refused"}, "a key that no test reads"
    probe = probe_of(case)
    if case.get("refused"):
        with pytest.raises(Refused):
            probe.answer(case["answer"], "sw1")
        return
    given, wanted = plain(probe.answer(case["answer"], "sw1")), case["gives"]
    if isinstance(wanted, dict) and isinstance(given, dict):
        given = {key: value for key, value in given.items() if key in wanted}
    assert given == wanted
