"""What `make bench-operate` reads and says; what it measures is seen on a lab."""

from __future__ import annotations

import pytest

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
