"""The examples in docstrings are run, and what a person would call has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import swarmbook

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(swarmbook.__path__, "swarmbook.") if "__main__" not in module.name
)
#: What a script of a reader's own would call.
CALLED = [
    "swarmbook.notebook.open_book",
    "swarmbook.params.reading.load_params",
    "swarmbook.access.commands.sh",
    "swarmbook.access.probe.Probe",
    "swarmbook.access.fleet.Fleet.each",
    "swarmbook.access.fleet.fan_out",
    "swarmbook.base.wait.wait_for",
    "swarmbook.record.reader.read_record",
    "swarmbook.record.audit.audit",
    "swarmbook.record.diff.compare_folders",
    "swarmbook.model.ledger.read_chain",
]


def examples() -> dict[str, doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    return {
        test.name: test
        for name in MODULES
        for test in finder.find(importlib.import_module(name), name)
        if test.examples
    }


EXAMPLES = examples()


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_shows_what_happens(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    # What an example names beside its own module's.
    from swarmbook.access.commands import sh
    from swarmbook.base.codes import Code
    from swarmbook.params import load_params

    test = EXAMPLES[name]
    test.globs.update(sh=sh, Code=Code, load_params=load_params)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("name", CALLED)
def test_what_a_person_would_call_has_an_example(name: str) -> None:
    assert name in EXAMPLES
