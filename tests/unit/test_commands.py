"""Commands: whatever comes in from outside stays one word."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.commands import Script, lines, sh

values = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)


def run(script: Script) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode()


@given(st.lists(values, min_size=1, max_size=4))
def test_values_are_words_and_nothing_else(words: list[str]) -> None:
    script = sh("for w in @{words}; do printf '%s\\0' \"$w\"; done; printf '%s' @{first}", words=words, first=words[0])
    assert run(script) == "".join(f"{word}\0" for word in words) + words[0]


@given(values)
def test_a_script_in_a_script_is_one_word(value: str) -> None:
    inner = sh("printf %s @{value}", value=value)
    assert run(sh("sh -c @{inner}", inner=inner)) == value
    assert run(sh("for i in 1; do @!{inner}; done", inner=inner)) == value


def test_what_docker_and_the_shell_write_with_braces_stays() -> None:
    script = sh("docker ps --format '{{.Names}}' | sed s/${x}/@{y}/; echo a@b.c", y=1)
    assert script == "docker ps --format '{{.Names}}' | sed s/${x}/1/; echo a@b.c"
    assert lines(sh("a"), sh("b")) == "a\nb"


def test_mistakes_in_templates() -> None:
    with pytest.raises(KeyError):
        sh("rm @{path}")
    with pytest.raises(KeyError, match="other"):
        sh("rm @{path}", path="/x", other=1)
    with pytest.raises(TypeError, match="only a Script"):
        sh("@!{code}", code="rm -rf /")
