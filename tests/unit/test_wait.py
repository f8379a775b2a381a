"""A wait is bounded, polls fast at first, and tells the last thing it saw."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.errors import WaitTimeout
from swarmbook.base.wait import wait_for


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def after(clock: Clock, seconds: float) -> Callable[[], tuple[bool, str]]:
    return lambda: (clock.now >= seconds, f"at {clock.now:.2f}")


def test_at_once() -> None:
    clock = Clock()
    assert wait_for("x", lambda: (True, 7), timeout_s=1, clock=lambda: clock.now, sleep=clock.sleep) == 7
    assert clock.pauses == []


def test_pauses_grow_to_their_limit() -> None:
    clock = Clock()
    wait_for("x", after(clock, 6), timeout_s=60, clock=lambda: clock.now, sleep=clock.sleep)
    assert clock.pauses[:3] == pytest.approx([0.05, 0.075, 0.1125])
    assert max(clock.pauses) == 1.0
    assert clock.pauses == sorted(clock.pauses)


def test_who_is_slow_to_answer_is_asked_for_half_of_the_time_at_most() -> None:
    clock, took = Clock(), iter([0.5, 2.0, 9.0, 0.0])

    def probe() -> tuple[bool, float]:
        took_now = next(took)
        clock.now += took_now
        return took_now == 0.0, took_now

    wait_for("x", probe, timeout_s=60, clock=lambda: clock.now, sleep=clock.sleep)
    assert clock.pauses == pytest.approx([0.5, 2.0, 3.0])


def test_it_runs_out_with_the_last_thing_seen() -> None:
    clock = Clock()
    with pytest.raises(WaitTimeout, match="sw1 is up: not within 3 s") as caught:
        wait_for(
            "sw1 is up",
            after(clock, 99),
            timeout_s=3,
            where="sw1",
            next="look",
            clock=lambda: clock.now,
            sleep=clock.sleep,
        )
    assert (caught.value.seen, caught.value.where, caught.value.next) == ("at 3.00", "sw1", "look")
    assert isinstance(caught.value, TimeoutError)


@given(st.floats(0.01, 100), st.floats(0, 100))
def test_it_comes_in_time_or_it_does_not(timeout: float, comes: float) -> None:
    clock = Clock()
    try:
        wait_for("x", after(clock, comes), timeout_s=timeout, clock=lambda: clock.now, sleep=clock.sleep)
    except WaitTimeout:
        assert comes > timeout * (1 - 1e-9)
    assert clock.now <= timeout * (1 + 1e-9)


def test_an_error_of_the_probe_ends_the_wait() -> None:
    def broken() -> tuple[bool, None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wait_for("x", broken, timeout_s=9)
