"""What `make bench-operate` reads and says; what it measures is seen on a lab."""

from __future__ import annotations

import pytest

from tools.bench import Failed
from tools.operate import Change, per_second, summary

SAID = """SQL statistics:
    queries performed:
        total:                           24680
    transactions:                        1234   (61.66 per sec.)
    queries:                             24680  (1233.20 per sec.)
"""


def test_sysbench_is_read() -> None:
    assert per_second(SAID) == 61.66
    with pytest.raises(ValueError, match="how many transactions"):
        per_second("FATAL: unable to connect")


def test_median_and_worst_and_what_the_endpoint_costs() -> None:
    tries = [Change("each of 3 restarted", seconds, 0.4, 100, 2, 0, ()) for seconds in (30.0, 50.0, 31.0)]
    said = summary(tries, {"member": [100.0, 90.0, 110.0], "endpoint": [95.0, 97.0, 60.0]})
    assert "31.0" in said and "50.0" in said and " 300 " in said
    assert "100.0 at the member, 95.0 by the endpoint: it costs 5.0%" in said


def test_a_failure_shows_its_error_and_the_end() -> None:
    """Behind the error, all nodes are asked why: with fifteen of them it was not among the last lines any more."""
    said = ["07 begins", "WaitTimeout: every member is Synced: not within 300 s", "  where:  sw9", "  seen:   sw9: starting", "  next:   swarmbook ssh sw9"]  # fmt: skip
    lines = str(Failed("swarmbook run", 3, "\n".join([*said, *(f"sw1  line {number}" for number in range(60))])))
    assert "every member is Synced" in lines and "sw9: starting" in lines and "line 59" in lines
    assert "line 20" not in lines and "07 begins" not in lines
    assert str(Failed("swarmbook run", 3, "\n".join(said))).count("where:") == 1
