"""Every value that the schema offers, with every value of every other parameter: each row is planned, from nothing to 08."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from swarmbook.model.plan import Plan
from swarmbook.params import params_from_namespace
from swarmbook.params.schema import Params, phase_params

from ..matrix import rows, values

ROWS = list(rows())


def test_every_two_values_stand_together_in_a_row() -> None:
    assert 20 < len(ROWS) < 200
    every = values()
    assert len(every) > 30
    plain = {name: choices for name, choices in every.items() if name in Params.model_fields}
    seen = {
        (one, repr(row[one]), other, repr(row[other]))
        for row in ROWS
        for one, other in itertools.combinations(plain, 2)
    }
    wanted = {
        (one, repr(first), other, repr(second))
        for one, other in itertools.combinations(plain, 2)
        for first in plain[one]
        for second in plain[other]
    }
    assert wanted <= seen


@pytest.mark.parametrize("row", ROWS, ids=map(str, range(len(ROWS))))
def test_a_row_is_planned(row: dict[str, Any], from_nothing: Callable[..., Plan]) -> None:
    plan = from_nothing(**row)
    assert not [step.unknown for step in plan.steps if step.unknown]
    acted = {(step.phase, step.step) for step in plan.steps if step.changes}
    assert {("01", "machines"), ("03", "swarm"), ("04", "Consul"), ("06", "overlay network"), ("07", "Galera")} <= acted
    made = Params(**row)
    joined = [change for step in plan.steps for change in step.changes if change.action == "join-swarm"]
    assert sum(change.things == ("manager",) for change in joined) + 1 == made.swarm_managers
    # Each notebook takes what it is given.
    for number in ("00", "01", "02", "03", "04", "05", "06", "07", "08"):
        params_from_namespace(number, {name: getattr(made, name) for name in phase_params(number)})
