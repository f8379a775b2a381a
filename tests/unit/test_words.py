"""Small words: one thing or several, a text that fits."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

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


# A verb that fits one thing only, or several only. "cannot" and "had" fit both.
VERB = re.compile(r"(is|are|was|were|has|have|does|do|carry|carries|hold|holds|run|runs|differ|differs)\b")


def of_a_list(source: str) -> list[str]:
    """The f-strings in which a verb follows names that were joined, so that it is wrong for one of them or for two."""
    return [
        f"line {node.lineno}: {ast.unparse(value)} {after.value.strip()}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.JoinedStr)
        for value, after in zip(node.values, node.values[1:], strict=False)
        if isinstance(value, ast.FormattedValue)
        and isinstance(call := value.value, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "join"
        and ast.unparse(call.func.value) == "', '"  # "a and b are": always two
        and isinstance(after, ast.Constant)
        and VERB.match(str(after.value).lstrip())
    ]


@pytest.mark.parametrize("verb", ["is away", "carries it", "have gone"])
def test_a_verb_behind_a_list_is_found(verb: str) -> None:
    assert of_a_list(f"""x = f"the engine of {{', '.join(names)}} {verb}" """)


def test_no_verb_stands_behind_a_list_that_may_hold_one_name_or_several(root: Path) -> None:
    found = {
        str(file.relative_to(root)): lines
        for file in sorted((root / "swarmbook").rglob("*.py"))
        if (lines := of_a_list(file.read_text(encoding="utf-8")))
    }
    assert not found, "swarmbook.base.words.subject joins names with the verb that fits"
