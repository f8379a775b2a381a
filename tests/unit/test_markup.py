"""HTML that escapes by default, counts with their nouns, and the formats' one rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.errors import UsageError
from swarmbook.base.markup import Markup, escape, joined, tag
from swarmbook.model.formats import Format
from swarmbook.model.rundir import RunFolder

EVIL = '<b a="1">&\''


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("td", EVIL, class_="num", data_c=EVIL) == (
        '<td class="num" data-c="&lt;b a=&quot;1&quot;&gt;&amp;&#x27;">&lt;b a=&quot;1&quot;&gt;&amp;&#x27;</td>'
    )
    assert tag("p", tag("b", "<"), ">", Markup("<hr>")) == "<p><b>&lt;</b>&gt;<hr></p>"
    assert joined(["<", Markup("<br>")], "&") == "&lt;&amp;<br>"
    assert escape(escape("<")) == "&lt;" and escape(3) == "3"


@given(st.text())
def test_no_text_makes_an_element(text: str) -> None:
    page = tag("p", text, title=text)
    assert page.count("<") == 2 and page.count(">") == 2 and page.count('"') == 2


def test_what_has_nothing_in_it() -> None:
    assert tag("rect", x=1, text_anchor=None, open=False) == '<rect x="1"/>'
    assert tag("rect", tag("title", "t")) == "<rect><title>t</title></rect>"
    assert tag("span") == "<span></span>" and tag("details", open=True) == "<details open></details>"


@pytest.mark.parametrize(
    ("found", "age"),
    [(2, ""), (3, ""), (None, ""), (4, "newer"), (1, "older"), (True, "no format"), ("2", "no format")],
)
def test_one_rule_for_formats(found: object, age: str) -> None:
    form = Format("the thing", 3, oldest=2, next="do that")
    assert (age in form.refusal(found)) if age else not form.refusal(found)
    if not age:
        form.require(found, "file")
        return
    with pytest.raises(UsageError) as caught:
        form.require(found, "file")
    error = caught.value
    assert (error.where, error.wanted, error.seen, error.next) == (
        "file",
        "format 2 to 3",
        f"format {found}",
        "do that",
    )


def test_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunFolder.of_this_process() is None
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", "")
    assert RunFolder.of_this_process() is None
    for name, value in RunFolder(tmp_path).environment().items():
        monkeypatch.setenv(name, value)
    folder = RunFolder.of_this_process()
    assert folder == RunFolder(tmp_path)
    folder.keep("a.yaml", "text")
    assert (tmp_path / "a.yaml").read_text() == "text"
