"""Going on from an earlier run: what its ledger says, and what it must not be believed for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import UsageError
from swarmbook.cli import main
from swarmbook.model.ledger import FILE, Ledger, read_chain
from swarmbook.model.record import Link
from swarmbook.model.results import Chapter, ChapterRecord
from swarmbook.params import Params
from swarmbook.record.evidence import Evidence
from swarmbook.record.resume import Parent, read_parent

Recorded = Callable[..., Path]
PARAMETERS = Params(nodes=["sw1", "sw2"], swarm_managers=1).model_dump(exclude={"confirm"})


@pytest.fixture
def killed(cluster: Cluster, home: Path) -> Callable[..., Path]:
    """A run of these notebooks that was killed in the one behind the last that it completed."""

    def make(numbers: list[str], completed: list[str], name: str = "killed", parameters: Any = None) -> Path:
        folder = home / "runs" / "lab" / name
        folder.mkdir(parents=True)
        evidence = Evidence(folder, cluster)
        chapters = [Chapter(home / "none.ipynb", {}, number, f"n{number}") for number in numbers]
        evidence.began(chapters, parameters or PARAMETERS)
        for chapter in chapters:
            evidence.chapter_began(chapter)
            if chapter.number not in completed:
                break
            evidence.chapter_ended(ChapterRecord(chapter.number, chapter.name, "completed"))
        return folder

    return make


def test_of_a_run_that_was_killed(killed: Callable[..., Path]) -> None:
    folder = killed(["01", "02", "03", "04"], ["01", "02"])
    parent = read_parent(folder)
    assert (parent.run, parent.cluster, parent.status, parent.chapters) == (
        "killed",
        "lab",
        "running",
        ("01", "02", "03", "04"),
    )
    assert parent.completed == {"01", "02"}
    assert parent.left() == ["01", "02", "03", "04"], "what it completed is looked at again"
    assert parent.parameters == json.loads(json.dumps(PARAMETERS))
    assert parent.link() == Link("killed", "running", read_chain((folder / FILE).read_bytes()).head)


def test_of_a_run_that_ended(cluster: Cluster, recorded: Recorded) -> None:
    failed = read_parent(recorded(cluster, "two", status="failed"))
    assert (failed.status, failed.chapters, failed.completed) == ("failed", ("02", "05"), frozenset())
    done = read_parent(recorded(cluster))
    assert (done.status, done.completed, done.left()) == ("completed", {"02", "05"}, ["02", "05"])


def test_what_was_taken_away_is_not_taken_away_again(killed: Callable[..., Path]) -> None:
    """By now there stands what was built after it."""
    assert read_parent(killed(["90", "03", "04"], ["90", "03"], "a")).left() == ["03", "04"]
    assert read_parent(killed(["90", "03", "04"], [], "b")).left() == ["90", "03", "04"]
    for number in ("90", "91"):
        with pytest.raises(UsageError, match="nothing to resume"):
            read_parent(killed([number], [number], f"c{number}")).left()


def test_what_is_no_run_to_resume(killed: Callable[..., Path], home: Path) -> None:
    folder = killed(["01", "02"], ["01"])
    path = folder / FILE
    raw = path.read_bytes()

    def refused(*words: str, at: Path = folder) -> None:
        with pytest.raises(UsageError) as caught:
            read_parent(at)
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert caught.value.exit_code == 2

    refused("not a run folder", at=home / "nowhere")
    path.write_bytes(b"")
    refused("does not say which run this is")
    path.write_bytes(raw.replace(b'"status":"completed"', b'"status":"failed"'))
    refused("the ledger does not fit", "was changed", "swarmbook audit")
    path.write_bytes(raw.split(b"\n", 1)[0].replace(b'"format":2', b'"format":3') + b"\n")
    refused("written by a newer swarmbook", "format 3")
    path.unlink()
    Ledger(folder).append("run", format=1, run="killed", cluster="lab")
    refused("does not say what it ran")
    # What another format calls an event need not be known.
    path.write_bytes(raw.split(b"\n", 1)[0].replace(b'"format":2', b'"format":3') + b'\n{"event":"dream"}\n')
    refused("written by a newer swarmbook", "format 3")
    # A line that was being written when it was killed is no obstacle.
    path.write_bytes(raw + b'{"event":"comm')
    assert read_parent(folder).completed == {"01"}


def test_a_ledger_that_is_not_the_sealed_one(cluster: Cluster, recorded: Recorded) -> None:
    folder = recorded(cluster)
    path = folder / FILE
    raw = path.read_bytes()
    path.write_bytes(b"".join(raw.splitlines(keepends=True)[:-2]))
    for command in (["run", "--resume", str(folder)], ["diff", str(folder), str(folder)]):
        code, said = cli(*command)
        assert code == 2 and "not the one that was sealed" in said and "swarmbook audit" in said, said
    path.write_bytes(raw)
    assert cli("diff", str(folder), str(folder))[0] == 0
    (folder / "manifest.json").write_text("{")
    assert cli("diff", str(folder), str(folder))[0] == 2


def cli(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_command_refuses_what_does_not_belong_together(killed: Callable[..., Path], home: Path) -> None:
    folder = killed(["01", "02"], ["01"])
    file = home / "params.yaml"
    for text, words in (
        (
            "cluster: other\nnodes: [sw1, sw2]\nswarm_managers: 1\n",
            ("another cluster's", "wanted: other", "seen:   lab"),
        ),
        (
            "nodes: [sw1, sw2]\nswarm_managers: 1\nmariadb_port: 3310\n",
            ("not those of the run to resume", "mariadb_port: 0 then, 3310 now"),
        ),
    ):
        file.write_text(text)
        code, said = cli("run", str(file), "--resume", str(folder))
        assert code == 2 and all(word in said for word in words), said
    for options in (["--from", "02"], ["--only", "02"], ["--plan", "x"]):
        code, said = cli("run", "--resume", str(folder), *options)
        assert code == 2 and "--resume" in said, said
    code, said = cli("run")
    assert code == 2 and "no parameters" in said
    odd = killed(["01"], [], "odd", {**PARAMETERS, "swarm_managers": 2})
    code, said = cli("run", "--resume", str(odd))
    assert code == 2 and "swarm_managers: 2 managers" in said and "the ledger of" in said


def test_the_two_records_are_linked(killed: Callable[..., Path], cluster: Cluster, home: Path) -> None:
    parent = read_parent(killed(["01", "02"], ["01"]))
    folder = home / "runs" / "lab" / "again"
    folder.mkdir()
    evidence = Evidence(folder, cluster, None, parent)
    evidence.began([Chapter(home / "none.ipynb", {}, "01", "a", before=True)], PARAMETERS)
    evidence.chapter_ended(ChapterRecord("01", "a", "completed", proof="drifted"))
    run, chapter = read_chain((folder / FILE).read_bytes()).events
    assert run["parent"] == asdict(parent.link())
    assert (chapter["status"], chapter["proof"]) == ("completed", "drifted")
    assert isinstance(parent, Parent)
