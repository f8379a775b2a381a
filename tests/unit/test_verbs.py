"""The verbs of a step may do what their names say: held by what they are given, and by what hosts let them do."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.book.book import Book
from swarmbook.book.step import Look, Step
from swarmbook.model.phases import PHASES
from swarmbook.params import Params
from swarmbook.phases.planner import steps_of

from .steps import made_step

ALL = [
    pytest.param(step, id=f"{number}-{name.replace(':', '.')}")
    for number, phase in PHASES.items()
    for name, step in zip(phase.steps, steps_of(number))
]
STEPS = [param for param in ALL if isinstance(param.values[0], Step)]


@pytest.mark.parametrize("step", ALL)
def test_what_a_cell_calls_is_a_step_or_only_looks(step: object) -> None:
    assert isinstance(step, (Step, Look))
    assert type(step).__doc__ if isinstance(step, Step) else step.__doc__


def test_names_are_told_apart_within_a_phase() -> None:
    for number in PHASES:
        names = [step.name for step in steps_of(number) if isinstance(step, Step)]
        assert len(set(names)) == len(names), number


@pytest.mark.parametrize("step", STEPS)
def test_plan_and_verify_are_given_nothing_that_could_act(step: Step[Any, Any]) -> None:
    for verb in ("plan", "verify"):
        assert list(inspect.signature(getattr(step, verb)).parameters) == ["wanted", "seen"], verb
    # Nor do they reach for it: the module's book-takers are not called from there.
    for verb in ("plan", "verify"):
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(step))))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name == verb:
                names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                assert not names & {"book", "api", "open", "os", "time", "subprocess", "socket"}, verb


def test_a_step_that_observes_changes_nothing(cluster: Cluster) -> None:
    def runs(book: Book) -> None:
        book.fleet["sw1"].run(sh("true"))

    def puts(book: Book) -> None:
        book.fleet["sw1"].put("/etc/x", "x")

    for acts in (runs, puts):
        book = Book("02", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
        with pytest.raises(AssertionError, match="only asked"):
            made_step("acting", observe=acts, plan=lambda wanted, seen: [])(book)
        book.close()
