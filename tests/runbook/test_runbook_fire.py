"""The rooms of tests/live/test_fire.py, without a lab: its list of kills misses nothing, and its judge sees each kind of untruth."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.model.phases import PHASES, Kind
from swarmbook.model.results import Chapter
from swarmbook.runner.console import Console
from swarmbook.runner.run import run_chapters

from ..live import kills as fire
from ..live.truth import Trace, leftovers, untruths

LIVE = Path(fire.__file__).parent


@pytest.mark.parametrize("seed", [0, 1, 905])
def test_the_list_misses_nothing(seed: int) -> None:
    found = fire.kills(seed)
    assert found == fire.kills(seed) and found != fire.kills(seed + 1)
    assert len(found) >= 100
    for path in sorted(fire.NOTEBOOKS.glob("[0-9]*.ipynb"))[1:]:  # 00 is part of no run
        if PHASES[path.name[:2]].kind is Kind.CARE:
            continue
        mine = [kill for kill in found if kill.notebook == path.name[:2]]
        cells = fire.traced_cells(nbformat.read(path, as_version=4))
        assert {(kill.victim, kill.way) for kill in mine} == set(fire.KINDS), path.name
        assert {kill.cell for kill in mine if kill.moment == "inside"} == set(cells), path.name
        assert {kill.border for kill in mine} == {None, *range(len(cells) + 1)}, path.name
        assert not [kill for kill in mine if kill.victim == fire.HELPER and kill.moment != "inside"], path.name
    assert {kill.moment for kill in found} == set(fire.MOMENTS)
    assert (
        sorted((kill for journey in fire.journeys(seed) for kill in journey.kills), key=lambda kill: kill.number)
        == found
    )


@pytest.mark.parametrize("seed", [0, 1, 905])
def test_the_sample_meets_every_victim_and_every_way(seed: int) -> None:
    chosen = [kill for journey in fire.sample(seed) for kill in journey.kills]
    assert set(chosen) <= set(fire.kills(seed)) and 8 <= len(chosen) <= 10
    assert {kill.victim for kill in chosen} == {victim for victim, _ in fire.KINDS}
    assert {kill.way for kill in chosen} == {way for _, way in fire.KINDS}


# -- the judge -----------------------------------------------------------------------------------------------------------


class Ran:
    """A small run that was traced: one notebook that completes, one that fails in the middle."""

    def __init__(self, home: Path) -> None:
        self.folder, self.trace = home / "run", Trace(home / "trace")
        shutil.copy(LIVE / "tracer.py", home / "fire_tracer.py")
        books = {"01": ("one", ["1", "2"]), "02": ("two", ["3", "raise ValueError('x')", "5"])}
        self.sources = {}
        for number, (name, sources) in books.items():
            nb = nbformat.v4.new_notebook()
            nb.metadata.update(
                kernelspec={"name": "python3", "display_name": "Python 3", "language": "python"},
                language_info={"name": "python"},
            )
            for index, source in enumerate(sources):
                call = f'__import__("fire_tracer").begin("{number}:{index}")\n'
                nb.cells += [
                    nbformat.v4.new_markdown_cell(f"## Step {index} of {name}"),
                    nbformat.v4.new_code_cell(call + source),
                ]
            self.sources[number] = home / f"{number}_{name}.ipynb"
            nbformat.write(nb, self.sources[number])
        stream = io.StringIO()
        env = {"FIRE_TRACE": str(self.trace.path), "PYTHONPATH": str(home)}
        chapters = [Chapter(path, {}, number, path.stem[3:]) for number, path in self.sources.items()]
        self.code = run_chapters(chapters, self.folder, env=env, console=Console(stream)).exit_code
        self.said = stream.getvalue()

    def untruths(self, **but: Any) -> list[str]:
        about = {
            "folder": self.folder,
            "trace": self.trace,
            "sources": self.sources,
            "exit_code": self.code,
            "said": self.said,
            **but,
        }
        return untruths(**about)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("home"))


def test_a_true_run(ran: Ran) -> None:
    assert ran.code == 3 and ran.untruths() == [] and leftovers(ran.folder) == []
    assert [(line.word, line.place) for line in ran.trace.lines()] == [
        ("begin", "01:0"), ("end", "01:0"), ("begin", "01:1"), ("end", "01:1"), ("begin", "02:0"), ("end", "02:0"), ("begin", "02:1"),
    ]  # fmt: skip
    shown = nbformat.read(ran.folder / "01_one.ipynb", as_version=4).cells[3].outputs
    assert [output.data["text/plain"] for output in shown] == ["2"], "the witness changes nothing of what a cell shows"


def test_an_end_that_nobody_saw(ran: Ran, tmp_path: Path) -> None:
    """One cell less has ended: every place that claims it is named."""
    less = tmp_path / "trace"
    less.write_text(
        "".join(
            line for line in ran.trace.path.read_text().splitlines(keepends=True) if not line.startswith("end 01:1 ")
        )
    )
    said = "\n".join(ran.untruths(trace=Trace(less)))
    for part in (
        "01_one.ipynb: cell 01:1 is completed and did not end", "01_one.ipynb: is completed, and 01:1 did not end",
        "summary.json: 01 is completed, and 01:1", "summary.json: the step 01 Step 1 of one is completed",
        "ledger: the step 01 Step 1 of one is completed", "ledger: 01 is completed, and 01:1", "the terminal: ✔ for 01 Step 1 of one",
    ):  # fmt: skip
        assert part in said, said


def test_exit_codes_that_are_not_true(ran: Ran) -> None:
    reported = "\n".join(ran.untruths(exit_code=0))
    for part in (
        "summary.json: exit code 3, and it was 0", "ledger: its end says exit code 3, and it was 0", "the exit code is 0 and summary.json says failed",
        "the exit code is 0 and the ledger has no such end", "report.html: its verdict is ✘ Failed in 02 two, and the exit code 0",
        "the report made now: its verdict is ✘ Failed in 02 two, and the exit code 0",
    ):  # fmt: skip
        assert part in reported, reported
    assert ran.untruths(said=f"{ran.said}\nHow to reach it:") == [
        "the terminal: says how to reach what was not finished"
    ]


def change(name: str, what: Callable[[Any], None]) -> Callable[[Path], None]:
    def doctor(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        what(data)
        (folder / name).write_text(json.dumps(data))

    return doctor


def status(index: int, value: str) -> Callable[[Any], None]:
    return lambda nb: nb["cells"][index]["metadata"]["papermill"].update(status=value)


DOCTORED: dict[str, tuple[Callable[[Path], None], str]] = {
    "torn notebook": (lambda folder: os.truncate(folder / "01_one.ipynb", 400), "01_one.ipynb: not readable"),
    "no notebook": (change("01_one.ipynb", lambda nb: nb["cells"][1].pop("outputs")), "01_one.ipynb: not readable"),
    "began, it says not": (
        change("02_two.ipynb", status(3, "not-run")),
        "02_two.ipynb: cell 02:1 is not-run and began",
    ),
    "behind a failure": (
        change("02_two.ipynb", status(5, "completed")),
        "02_two.ipynb: cell 5 is completed, behind one that is failed",
    ),
    "torn summary": (lambda folder: os.truncate(folder / "summary.json", 100), "summary.json: not readable"),
    "all is well": (
        change("summary.json", lambda data: data.update(status="completed")),
        "summary.json: completed, and a chapter is not",
    ),
    "a changed line": (
        lambda folder: (folder / "ledger.jsonl").write_text(
            (folder / "ledger.jsonl").read_text().replace("failed", "completed")
        ),
        "ledger: line",
    ),
    "no ledger": (lambda folder: (folder / "ledger.jsonl").unlink(), "ledger: is not there"),
}


@pytest.mark.parametrize("case", DOCTORED)
def test_a_doctored_run(ran: Ran, tmp_path: Path, case: str) -> None:
    doctor, part = DOCTORED[case]
    folder = tmp_path / "run"
    shutil.copytree(ran.folder, folder)
    doctor(folder)
    found = ran.untruths(folder=folder)
    assert re.search(re.escape(part), "\n".join(found)), found


def test_what_a_save_left(ran: Ran, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ran.folder, folder)
    (folder / ".01_one.ipynb.abc").write_text("{")
    assert leftovers(folder) == [".01_one.ipynb.abc"]
