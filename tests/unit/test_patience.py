"""Members are patient while the group changes, and quick once it is settled; pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.machines.images.galera.patience import (
    LARGE,
    MOST,
    PATIENT,
    QUICK,
    SETTLED_S,
    Patience,
    Timeouts,
    statements,
)


def looks(network: str, seen: list[tuple[float, str, bool]]) -> list[tuple[float, float]]:
    """What is set and when, if all that is due is set at once: seconds, and the suspicion's."""
    patience, found = Patience(network), []
    for now, view, calm in seen:
        if (due := patience.due(view, calm, now, MOST)) is not None:
            patience.is_set(due)
            found.append((now, due.suspect_s))
    return found


def test_quick_once_settled_and_patient_again_with_each_change() -> None:
    seen = [(float(at), "one" if at < 15 else "two", at != 30) for at in range(45)]
    assert looks("lan", seen) == [(10.0, 2.0), (15.0, 5.0), (25.0, 2.0), (30.0, 5.0), (40.0, 2.0)]


@pytest.mark.parametrize("network", ["wan", "own"])
def test_what_is_slow_or_the_readers_own_is_left_alone(network: str) -> None:
    assert not looks(network, [(float(at), "one", True) for at in range(100)])


def test_it_waits_for_the_others() -> None:
    patience = Patience("fast")
    patience.due("one", True, 0.0, 3)
    assert patience.due("one", True, SETTLED_S, 3) == QUICK["fast"]
    patience.put_off(SETTLED_S)
    assert patience.due("one", True, SETTLED_S + 1, 3) is None
    assert patience.due("one", True, 2 * SETTLED_S, 3) == QUICK["fast"]


@given(st.lists(st.tuples(st.floats(0.05, 30.0), st.sampled_from("ab"), st.booleans()), max_size=60))
def test_never_quick_within_the_time_of_a_change(steps: list[tuple[float, str, bool]]) -> None:
    patience, now, changed, view, quick = Patience("lan"), 0.0, 0.0, "", False
    for step, new, calm in steps:
        now += step
        if new != view or not calm:
            view, changed = new, now
        if (due := patience.due(new, calm, now, 3)) is not None:
            patience.is_set(due)
            quick = due != PATIENT
        assert quick == (now - changed >= SETTLED_S)


@pytest.mark.parametrize("network", list(QUICK))
def test_a_large_group_is_never_quick_and_is_so_again_when_it_is_small(network: str) -> None:
    patience, found = Patience(network), []
    for now in range(60):
        if (due := patience.due("large" if now < 30 else "small", True, float(now), MOST + (now < 30))) is not None:
            patience.is_set(due)
            found.append((now, due))
    assert found == [(0, LARGE), (30, PATIENT), (40, QUICK[network])]


def test_a_part_of_a_large_group_stays_as_patient_until_it_serves() -> None:
    patience = Patience("lan")
    patience.is_set(LARGE)
    assert patience.due("part", False, 0.0, 1) is None
    assert patience.due("part", True, 1.0, 1) == PATIENT


ALL = [PATIENT, LARGE, *QUICK.values()]


@pytest.mark.parametrize("before", ALL)
@pytest.mark.parametrize("after", ALL)
def test_neither_is_ever_smaller_than_the_other_needs(before: Timeouts, after: Timeouts) -> None:
    """Galera refuses an inactive timeout that is shorter than the suspicion's."""
    now = {"evs_suspect_timeout": before.suspect_s, "evs_inactive_timeout": before.inactive_s}
    for sql in statements(after):
        name, _, seconds = sql.removeprefix("SET GLOBAL wsrep_provider_").rstrip(";").partition(" = ")
        now[name] = float(seconds)
        assert now["evs_suspect_timeout"] <= now["evs_inactive_timeout"], sql
    assert now == {
        "evs_suspect_timeout": after.suspect_s,
        "evs_inactive_timeout": after.inactive_s,
        "evs_keepalive_period": after.keepalive_s,
        "evs_join_retrans_period": after.again_s,
    }
