"""Joiners in waves: everyone once, in order, and never more than can be given data, or agreed on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmbook.phases.galera.plan import waves


@given(st.lists(st.text("abc", min_size=1), max_size=40), st.integers(0, 20))
def test_never_more_at_once_than_donors_and_never_many(names: list[str], donors: int) -> None:
    found = waves(names, donors)
    assert [name for wave in found for name in wave] == names
    for wave in found:
        assert 1 <= len(wave) <= min(max(donors, 1), 4)
        donors += len(wave)


def test_fifteen_come_four_at_a_time() -> None:
    assert [len(wave) for wave in waves([f"sw{number}" for number in range(2, 16)], 1)] == [1, 2, 4, 4, 3]
