"""Text of others is plain wherever it comes in, and once more where it goes out."""

from __future__ import annotations

import ast
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.base.errors import WorldError
from swarmbook.base.markup import escape, tag
from swarmbook.base.plain import plain, plain_data
from swarmbook.base.secrets import MASK, register
from swarmbook.model.checks import Check, CheckTable
from swarmbook.model.transcript import Transcript
from swarmbook.runner.console import Console

#: The clipboard, the title, the screen, what a terminal answers as if it were typed, a bell, a line overwritten, words turned around.
PAYLOADS = [
    "\x1b]52;c;cm0gLXJmIC8=\x07",
    "\x1b]0;root@sw1\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1bP$qm\x1b\\",
    "\x9b2J",
    "\x9d0;title\x9c",
    "all is well\rfailed     ",
    "ok\x08\x08",
    "\x07",
    "safe\u202eexe.txt",
    "\u2066a\u2069",
    "one\u2028two",
    "\ud800",
    "\x1b\x1b[0m[31m",
]


def harmless(text: str) -> bool:
    return all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in text) and not any(
        c in text for c in "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    )


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads(payload: str) -> None:
    assert not harmless(payload)
    assert harmless(plain(payload))
    assert plain(plain(payload)) == plain(payload)


@given(st.text())
def test_any_text(text: str) -> None:
    assert harmless(plain(text))
    assert not harmless(text) or plain(text) == text, "what was plain stays as it is"


def test_what_people_write_stays() -> None:
    text = "grüße ✔ … 👩\u200d🔬\n\tdone"
    assert plain(text) == text
    assert plain("\x1b[1;31mred\x1b[0m\r\nnext") == "red\nnext", "a colour is for the eyes, and is left out"
    assert plain_data({"a\x07": ["b\x1b[2J", 1, None]}) == {"a\\x07": ["b\\x1b[2J", 1, None]}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_of_it_gets_out(payload: str) -> None:
    error = WorldError(payload, where=payload, wanted=payload, seen=payload, next=payload)
    table = CheckTable([Check(payload, payload, payload, payload, False)])
    transcript = Transcript()
    transcript.record("sw1", payload, 1, 0.0, payload)
    stream = io.StringIO()
    console = Console(stream, tty=True)
    console.note(payload)
    (command,) = transcript.since(0)
    error.seen = payload  # some errors get more words on their way
    with pytest.raises(WorldError) as caught:
        raise error
    for shown in (
        str(caught.value), error.what, error.where, table.to_text(), str(table.to_html()), str(table.to_json()[0].values()),
        command.text, command.tail, stream.getvalue(), str(escape(payload)), str(tag("p", payload, title=payload)),
    ):  # fmt: skip
        assert harmless(shown or ""), shown


def test_a_secret_that_a_colour_divides_is_masked() -> None:
    register("s3cr3t-value-of-sw1")
    transcript = Transcript()
    transcript.record("sw1", "cat", 1, 0.0, "s3cr3t-\x1b[31mvalue-of-sw1")
    assert transcript.since(0)[0].tail == MASK


def test_one_function_writes_to_the_terminal(root: Path) -> None:
    """The command line prints by way of ``say``, which makes plain what it prints."""
    wrong = []
    for file in sorted((root / "swarmbook").rglob("*.py")):
        if file in (root / "swarmbook" / "cli" / "common.py", root / "swarmbook" / "__main__.py"):
            continue  # the latter says why nothing can be imported, `say` neither
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"):
                wrong.append(f"{file.relative_to(root)}:{node.lineno}: {called}")  # type: ignore[attr-defined]
    assert not wrong, "\n".join(wrong)
