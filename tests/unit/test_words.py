"""Small words: one thing or several, a text that fits."""

from __future__ import annotations

from swarmbook.base.words import cut, many, subject


def test_the_verb_fits_the_number() -> None:
    assert subject(["sw2"], "is", "are") == "sw2 is"
    assert subject(iter(["sw2", "sw3"]), "is", "are") == "sw2, sw3 are"


def test_a_number_of_things() -> None:
    assert [many(n, "host") for n in (0, 1, 2, 1200)] == ["0 hosts", "1 host", "2 hosts", "1,200 hosts"]
    assert many(2, "entry", "entries") == "2 entries"


def test_a_text_that_fits() -> None:
    assert [cut("abcdef", n) for n in (7, 6, 5)] == ["abcdef", "abcdef", "abcd…"]
    assert cut("abc def", 6, "...") == "abc..." and cut("ab cdef", 4) == "ab…"
