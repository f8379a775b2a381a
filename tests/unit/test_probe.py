"""Probes: one wire format, and answers that are refused when they are not what they should be."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access import probe as probes
from swarmbook.access.commands import sh
from swarmbook.access.probe import Probe, Refused, read_facts


def asked(probe: Probe[object]) -> object:
    output = subprocess.run(["sh", "-c", probe.command], capture_output=True, check=True).stdout.decode()
    return probe.answer(output, "sw1")


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20), max_size=6))
def test_whatever_a_file_says_stays_in_its_fact(content: list[str]) -> None:
    text = "\n".join(content) + "\n"
    probe: Probe[object] = Probe(
        sh("printf %s @{text} | as one; echo x | as two", text=text), lambda facts: (facts["one"], facts["two"])
    )
    assert asked(probe) == (content or [""], ["x"])


def test_a_fact_whose_last_line_has_no_end_does_not_run_into_the_next() -> None:
    probe = Probe(sh("printf abc | as one; printf '' | as none; echo x | as two"), lambda facts: facts)
    assert asked(probe) == {"one": ["abc"], "none": [], "two": ["x"]}


def test_a_fact_without_lines_is_there() -> None:
    assert asked(Probe(sh("true | as none"), lambda facts: facts)) == {"none": []}
    assert read_facts("a\n 1\nb\na\n 2\n") == {"a": ["1", "2"], "b": []}


def test_a_line_of_no_fact_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        Probe(sh("true"), lambda facts: facts).answer(" *** Welcome to sw1 ***", "sw1")
    assert "sw1" in str(caught.value) and caught.value.next


@pytest.mark.parametrize("answer", ["", "nothing", "id\n; rm -rf /", "id\n", "id\n ID; id > /tmp/x"])
def test_a_node_that_lies_is_refused(answer: str) -> None:
    probe = Probe(sh("true"), lambda facts: probes.node_id("".join(facts["id"])))
    with pytest.raises(Refused, match="nothing was done with it"):
        probe.answer(answer, "sw1")


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (probes.node_id, ["a" * 25, "0123456789abcdefghijklmno"], ["", "a" * 24, "a" * 26, "A" * 25, "a" * 24 + "\n", "$(id)" * 5]),
        (probes.container_id, ["0" * 12, "f" * 64], ["", "0" * 11, "0" * 65, "g" * 12, "0" * 12 + ";"]),
        (probes.name, ["a", "swarmbook/galera:1", "galera_sw1.1.x"], ["", "-rf", ".", "a b", "a;b", "$(x)", "a\nb", "a" * 256]),
        (probes.address, ["10.0.0.1", "172.18.0.3/16"], ["", "10.0.0", "10.0.0.1; id", "::1", "10.0.0.256"]),
        (probes.network, ["10.0.0.0/24", "10.9.0.1/24"], ["", "default", "10.0.0.0/33", "x/24"]),
        (probes.number, ["0", "12"], ["", "-1", "1e9", "1; id", "9" * 40]),
    ],
)  # fmt: skip
def test_what_a_host_may_say(read: object, good: list[str], bad: list[str]) -> None:
    for text in good:
        read(text)  # type: ignore[operator]
    for text in bad:
        with pytest.raises(ValueError):
            read(text)  # type: ignore[operator]
