"""Saying yes: by a typed word, by a digest, or without being asked; and what the ledger keeps of it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from swarmbook import __version__
from swarmbook.access.cluster import Cluster
from swarmbook.base.codes import Code
from swarmbook.base.errors import ConfirmationMissing
from swarmbook.cli import main
from swarmbook.cli.approval import approve
from swarmbook.machines.providers import lab
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.ledger import FILE, read_chain
from swarmbook.model.plan import Cost, Plan, PlannedStep
from swarmbook.params import Params
from swarmbook.phases.planner import notebook_hash
from swarmbook.record.evidence import Evidence
from swarmbook.testing.errors import raises

ORDER = PlannedStep("01", "machines", (Change("sw1", Action.CREATE, word=Word.ORDER),))
WIPE = PlannedStep("02", "second disk", (Change("sw2", Action.WIPE_DISK, ("/dev/x", "ext4"), Word.DESTROY),))
PLAN = Plan("lab", {}, {"01": "", "02": ""}, (ORDER, WIPE), (Cost("sw1", "a box", 0.25, True),))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Someone sits there and types."""

    def types(*words: str) -> None:
        said = iter(words)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("click.prompt", lambda *_, **__: next(said))

    return types


def test_typed(terminal: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    terminal("ORDER", " DESTROY ")
    order, wipe = approve(PLAN, yes=False, digest=None)
    assert (order.word, order.how, order.what) == ("ORDER", "typed", ("sw1: machine created",)) and "@" in order.by
    assert (wipe.word, wipe.what) == ("DESTROY", ("sw2: /dev/x wiped (ext4)",))
    said = capsys.readouterr().out
    for words in (
        "This will be ordered, and costs money",
        "sw1: machine created",
        "1 machine, 0.250 an hour",
        "This will be removed, for good:",
        "sw2: /dev/x wiped (ext4)",
    ):
        assert words in said


@pytest.mark.parametrize("word", ["", "order", "ORDER it", "CANCEL", "yes"])
def test_another_word_is_no_yes(terminal: Callable[..., None], word: str) -> None:
    terminal(word)
    with raises(Code.NOT_CONFIRMED):
        approve(PLAN, yes=False, digest=None)


def test_nobody_there_to_type() -> None:
    with pytest.raises(ConfirmationMissing) as caught:
        approve(PLAN, yes=False, digest=None)
    assert "--approve" in str(caught.value) and caught.value.exit_code == 2


def test_by_digest() -> None:
    approvals = approve(PLAN, yes=False, digest=PLAN.digest)
    assert [a.how for a in approvals] == [f"--approve {PLAN.digest}"] * 2
    for digest in (replace(PLAN, cluster="other").digest, "0" * 64, PLAN.digest[:20], ""):
        with raises(Code.APPROVED_ANOTHER_PLAN) as caught:
            approve(PLAN, yes=True, digest=digest)  # an approval that does not fit is not cured by --yes
        assert PLAN.digest in str(caught.value)


def test_nothing_to_say_yes_to() -> None:
    assert approve(replace(PLAN, steps=()), yes=False, digest=None) == []


def test_what_the_ledger_keeps(cluster: Cluster, home: Path) -> None:
    folder = home / "run"
    folder.mkdir()
    evidence = Evidence(folder, cluster)
    evidence.began([], {})
    evidence.planned(PLAN, approve(PLAN, yes=True, digest=None))
    _, plan, order, wipe = read_chain((folder / FILE).read_bytes()).events
    assert (plan["event"], plan["digest"], plan["changes"]) == ("plan", PLAN.digest, 2)
    assert (folder / plan["file"]).read_bytes() == PLAN.canonical()
    assert [(e["event"], e["word"], e["how"], e["digest"]) for e in (order, wipe)] == [
        ("approval", w, "--yes", PLAN.digest) for w in ("ORDER", "DESTROY")
    ]
    assert order["what"] == ["sw1: machine created"] and "@" in order["by"]


# -- the command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def book(home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the notebooks, where no engine runs, and a parameter file."""
    (home / "notebooks").mkdir()
    for notebook in (root / "notebooks").glob("*.ipynb"):
        (home / "notebooks" / notebook.name).write_bytes(notebook.read_bytes())
    monkeypatch.setattr(lab, "local_engine", lambda: None)
    file = home / "lab.yaml"
    file.write_text("cluster: lab\nnodes: [sw1]\nswarm_managers: 1\nlab_hourly_cost: 0.5\n")
    return file


def cli(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_plan_shows_checks_and_writes(book: Path, home: Path) -> None:
    file = home / "plan.json"
    code, said = cli("plan", str(book), "--out", str(file))
    assert code == 0 and "asks for ORDER" in said and "digest sha256:" in said
    assert cli("plan", str(book), "--json") == (0, file.read_text())
    assert cli("plan", str(book), "--check")[0] == 1
    assert cli("plan", str(book), "--for", "cancel", "--check")[0] == 0
    assert not (home / "clusters").exists() and not (home / "runs").exists()


def test_run_without_a_yes_touches_nothing(book: Path, home: Path) -> None:
    code, said = cli("run", str(book))
    assert code == 2 and "sw1: machine created, 0.500 an hour" in said and "not confirmed; nothing was touched" in said
    code, said = cli("run", str(book), "--approve", "0" * 64)
    assert code == 2 and "for another plan" in said
    assert not (home / "clusters").exists() and not (home / "runs").exists()


def test_a_plan_that_does_not_fit_what_is_there(book: Path, home: Path) -> None:
    file = home / "plan.json"
    cli("plan", str(book), "--out", str(file))

    def refused(*words: str, arguments: tuple[str, ...] = (), believed: bool = False) -> None:
        digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
        code, said = cli("run", *arguments, "--plan", str(file), *(("--approve", digest) if believed else ()))
        assert code == 2 and all(word in said for word in words), said

    refused("the plan is not believed", "unsigned", "--approve sha256:")
    refused("not confirmed", arguments=(str(book),))
    other = home / "other.yaml"
    other.write_text(book.read_text().replace("0.5", "0.6"))
    refused("not those of the plan", "lab_hourly_cost: 0.5 then, 0.6 now", arguments=(str(other),))
    other.write_text(book.read_text().replace("cluster: lab", "cluster: shop"))
    refused("the plan is another cluster's", arguments=(str(other),))
    refused("determine themselves what runs", arguments=("--only", "03"))
    params = Params(cluster="lab", nodes=["sw1"], swarm_managers=1).model_dump(exclude={"confirm"})
    Plan("lab", params, {"02": notebook_hash(home, "02")}, (), (), "0.0.1").save(file)
    refused("made by another swarmbook", "0.0.1", __version__, believed=True)
    Plan("lab", params, {"02": "another"}, (), (), __version__).save(file)
    refused("02 was changed since the plan was made", believed=True)
    Plan("lab", {**params, "swarm_managers": 2}, {}, (), (), __version__).save(file)
    refused("2 managers", "the plan")
    file.write_text("{}")
    refused("this is not a plan")


def test_ctrl_c_at_the_question(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise click.Abort

    monkeypatch.setattr("click.prompt", interrupted)
    with CliRunner().isolation():
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        with pytest.raises(SystemExit) as ended:
            main(["run", str(book)], prog_name="swarmbook")
    assert ended.value.code == 130
