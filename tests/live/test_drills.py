"""Every fault that there is, done to a lab by the command that a person types."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import get_args

import pytest

from swarmbook.params import Params

from .conftest import Lab

#: What CI sees of it is the notebook in the browser.
pytestmark = pytest.mark.long
FAULTS = get_args(Params.model_fields["drill_fault"].annotation)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab(["d1", "d2", "d3"], with_endpoint=True, endpoint_writer_port=3307, endpoint_reader_port=3308)


def test_without_an_endpoint_it_says_what_to_do_first(lab: Lab) -> None:
    lab.need(lambda: lab.book("run", "--to", "08"))
    lab.book("drill").refused(2, "no endpoint", "swarmbook run PARAMS --only 20")
    lab.book("run", "--only", "20").expect(0)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_that_was_acknowledged_is_lost_and_the_cluster_heals(lab: Lab, fault: str) -> None:
    lab.book("drill", "--fault", fault, "--seed", "7").expect(0, "each once", "all members serve again, by themselves")
    found = json.loads((lab.runs[-1] / "drill.json").read_text())
    assert found["kept"] and found["whole_s"] is not None and found["acknowledged"] > 50 and not found["wrong"]
    assert (lab.runs[-1] / "drill.svg").read_text().startswith("<svg")
    lab.swarmbook("audit", str(lab.runs[-1])).expect(0)
    lab.book("verify").expect(0)
