"""Commands: whatever comes in from outside stays one word."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

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


ROOT = Path(__file__).resolve().parents[2] / "swarmbook"


def _calls(name: str) -> list[tuple[Path, ast.Call, ast.Module]]:
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                found.append((file, node, tree))
    return found


def test_a_template_is_a_literal() -> None:
    """What a command does can be read where it is built: no f-string, no concatenation, nothing that came from outside."""
    wrong = []
    for file, call, tree in _calls("sh"):
        template = call.args[0]
        constants = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        literal = isinstance(template, ast.Constant) or (isinstance(template, ast.Name) and template.id in constants)
        # A family of systems has its templates as data, beside the commands that need none.
        known = file.name == "systems.py" and ast.unparse(template) in (
            "self.installed",
            "self.install",
            "self.versions",
        )
        if not (literal or known):
            wrong.append(f"{file.relative_to(ROOT)}:{call.lineno}: sh({ast.unparse(template)[:60]})")
    assert not wrong, "\n".join(wrong)


def test_only_one_helper_makes_scripts() -> None:
    places = {str(file.relative_to(ROOT)) for file, _, _ in _calls("Script")}
    # commands.py makes them; a probe puts its prologue before one; logs.sh is a file of ours.
    assert places == {"access/commands.py", "access/probe.py", "diagnosis/logs.py"}


def test_no_command_that_people_type_holds_a_secret(root: Path) -> None:
    """``curl -H "X-Consul-Token: $(cat FILE)"`` shows the token to every user of the computer, in the list of processes."""
    wrong = []
    for file in [
        root / "README.md",
        *(path for folder in ("docs", "notebooks", "swarmbook") for path in (root / folder).rglob("*")),
    ]:
        if file.suffix in (".md", ".ipynb", ".py"):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(r"\$\((cat |<)[^)]*(secrets/|token|password)", line):
                    wrong.append(f"{file.relative_to(root)}:{number}")
    assert not wrong, "\n".join(wrong)
