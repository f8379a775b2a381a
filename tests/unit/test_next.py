"""What an error, or a page on a known failure, says to type is a command that exists, with options that it has."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from swarmbook.base.known import known
from swarmbook.cli import main
from swarmbook.model.phases import PHASES

ROOT = Path(__file__).resolve().parents[2]
#: Where a command ends within a sentence.
_ENDS = re.compile(
    r"[;,()`\n]|: |\.(?=\s|$)| (?:says|shows|lists|and|with|or|to|then|brings|builds|goes|unlocks|prints|starts|it|reports|lays|writes)\b"
)
#: What the text says of swarmbook itself.
_PROSE = {
    "make",
    "looks",
    "uses",
    "merges",
    "that",
    "wrote",
    "cannot",
    "for",
    "installs",
    "creates",
    "had",
    "knows",
    "--help",
}
#: What stands for a value that is known only then.
_UNKNOWN = "VALUE"


def texts(node: ast.expr) -> list[str]:
    """Give all texts that an expression may become, with a word for what is not known here."""
    if isinstance(node, ast.Constant):
        return [str(node.value)] if isinstance(node.value, str) else [_UNKNOWN]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*map(texts, node.values))]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in texts(node.left) for right in texts(node.right)]
    if isinstance(node, ast.IfExp):
        return [*texts(node.body), *texts(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in texts(value)]
    return [_UNKNOWN]


def said() -> Iterator[tuple[str, str]]:
    """Give every text that says what to do next, and where it stands."""
    for path in sorted((ROOT / "swarmbook").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for keyword in node.keywords if isinstance(node, ast.Call) else ():
                if keyword.arg == "next":
                    for text in texts(keyword.value):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text
    for failure in known():
        yield f"failures.yaml: {failure.name}", failure.fix
        yield f"failures.yaml: {failure.name}", failure.means


def commands(text: str) -> Iterator[list[str]]:
    for found in re.finditer(r"\bswarmbook (?=[a-z-]+)", text):
        words = _ENDS.split(text[found.start() :], maxsplit=1)[0].split()
        if words[1:] and not words[1].startswith(_UNKNOWN) and words[1] not in _PROSE:
            yield words[1:]


SAID = [(where, words) for where, text in said() for words in commands(text)]


def test_there_are_many() -> None:
    assert len(SAID) > 150


@pytest.mark.parametrize(("where", "words"), SAID, ids=[f"{where} {' '.join(words)}"[:90] for where, words in SAID])
def test_it_can_be_typed(where: str, words: list[str]) -> None:
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = words or [""]
        assert name in command.commands, f"{where}: swarmbook has no command {name!r}"
        command = command.commands[name]
    if command.name in ("ssh", "scp"):  # what follows is a command of the node's
        return
    options = {option: each for each in command.params if isinstance(each, click.Option) for option in each.opts}
    takes_more = any(isinstance(each, click.Argument) and each.nargs == -1 for each in command.params)
    values = 0
    rest = iter(words)
    for word in rest:
        if word.startswith("--") and len(word) > 2:
            option, _, _ = word.partition("=")
            if option == "--help":
                continue
            assert option in options, f"{where}: swarmbook {command.name} has no option {option}"
            if not options[option].is_flag and "=" not in word:
                value = next(rest, "")
                assert value, f"{where}: {option} of swarmbook {command.name} wants a value"
                # What a restore goes to is a moment.
                if option in ("--only", "--from", "--to") and command.name != "restore":
                    assert value in {*PHASES, "NN"} or value.startswith(_UNKNOWN), (
                        f"{where}: there is no notebook {value}"
                    )
            continue
        values += 1
    most = sum(isinstance(each, click.Argument) for each in command.params)
    assert takes_more or values <= most, f"{where}: swarmbook {command.name} does not take {words}"
