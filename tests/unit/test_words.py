"""Sentences about one thing or several."""

from __future__ import annotations

from swarmbook.base.words import count, subject


def test_the_verb_fits_the_number() -> None:
    assert subject(["sw2"], "is", "are") == "sw2 is"
    assert subject(iter(["sw2", "sw3"]), "is", "are") == "sw2, sw3 are"


def test_a_number_of_things() -> None:
    assert [count(n, "change") for n in (0, 1, 2)] == ["0 changes", "1 change", "2 changes"]
    assert count(2, "entry", "entries") == "2 entries"
