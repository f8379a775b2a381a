"""How soon a member's agent looks again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmbook.machines.images.galera.agent import FRESH_S
from swarmbook.machines.images.galera.pace import BUSY_S, EVERY_S, SILENT_S, Pace


def test_ten_looks_a_second_where_a_look_takes_nothing() -> None:
    assert EVERY_S - 0.01 <= Pace().pause(0.01, answered=True) <= EVERY_S


def test_a_server_that_is_silent_is_asked_more_and_more_rarely_until_it_answers() -> None:
    pace = Pace()
    pauses = [pace.pause(0.02, answered=False) for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == SILENT_S - 0.02
    assert pace.pause(0.02, answered=True) <= EVERY_S


@given(st.floats(0, 10), st.booleans())
def test_looking_takes_half_of_the_time_at_most_or_as_much_as_what_is_said_can_bear(
    took: float, answered: bool
) -> None:
    pause = Pace().pause(took, answered=answered)
    assert pause >= min(took, BUSY_S)
    assert pause <= max(2 * EVERY_S, BUSY_S)


def test_what_it_says_stays_fresh_where_a_look_takes_as_long_as_two_pauses() -> None:
    took = 2 * BUSY_S
    assert Pace().pause(took, answered=True) + took < FRESH_S
