"""How soon a member's agent looks again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmbook.machines.images.galera.pace import BUSY_S, EVERY_S, FRESH_S, SILENT_S, Pace


def test_ten_looks_a_second_where_a_look_takes_nothing() -> None:
    assert EVERY_S - 0.01 <= Pace().pause(0.01, answered=True) <= EVERY_S


def test_a_server_that_is_silent_is_asked_more_and_more_rarely_until_it_answers() -> None:
    pace = Pace()
    pauses = [pace.pause(0.02, answered=False) for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == SILENT_S - 0.02
    assert pace.pause(0.02, answered=True) <= EVERY_S


@given(st.floats(0, 0.3))
def test_looking_takes_half_of_the_time_at_most(took: float) -> None:
    assert Pace().pause(took, answered=True) >= took


@given(st.floats(0, 10))
def test_a_pause_never_makes_an_agent_take_itself_for_one_that_was_frozen(took: float) -> None:
    pause = Pace().pause(took, answered=True)
    assert 0 <= pause <= max(EVERY_S, BUSY_S)
    assert pause == 0 or took + pause + took < FRESH_S
