"""What a run's folder claims, held against what a witness saw: each claim of something that did not happen is an untruth."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from swarmbook.model.ledger import FILE, BrokenChain, Chain, read_chain
from swarmbook.record.notebooks import step_titles
from swarmbook.record.reader import read_record
from swarmbook.record.report import report_html

__all__ = ["CALL", "Line", "Trace", "leftovers", "untruths"]

#: What the first line of a traced cell looks like; the group is its place.
CALL = re.compile(r'__import__\("fire_tracer"\)\.begin\("([^"]+)"\)\n')
NOT_BEGUN = ("pending", "not-run")


@dataclass(frozen=True)
class Line:
    """One line of the trace: a word (begin, end, or at-begin, at-inside, at-end where a gate is shut), the cell's place, the kernel's process, when."""

    word: str
    place: str
    pid: int
    time: float


class Trace:
    """What the cells themselves have reported."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[Line]:
        if not self.path.exists():
            return []
        whole = self.path.read_text().rpartition("\n")[0]
        return [
            Line(word, place, int(pid), float(time))
            for word, place, pid, time in (line.split() for line in whole.splitlines())
        ]

    def find(self, word: str, place: str) -> Line | None:
        return next((line for line in self.lines() if (line.word, line.place) == (word, place)), None)

    def places(self, word: str) -> set[str]:
        return {line.place for line in self.lines() if line.word == word}


def leftovers(folder: Path) -> list[str]:
    """Files that a save was cut short in."""
    return sorted(path.name for path in folder.rglob(".*") if path.is_file())


def untruths(folder: Path, trace: Trace, sources: Mapping[str, Path], exit_code: int, said: str) -> list[str]:
    """Everything that is claimed and did not happen.

    Args:
        folder: The run's folder.
        trace: What happened.
        sources: The notebooks as they were given to the run, by number.
        exit_code: How the run's process ended.
        said: What it wrote to its terminal.
    """
    begun, ended = trace.places("begin"), trace.places("end")
    steps = {
        (number, title): place
        for number, path in sources.items()
        for title, place in _steps(nbformat.read(path, as_version=4))
    }
    cells = {number: set(steps_of(path)) for number, path in sources.items()}

    def missing(number: str) -> list[str]:
        return sorted(cells.get(number, set()) - ended)

    found: list[str] = []
    for path in sorted(folder.glob("*.ipynb")):
        found += _notebook(path, begun, ended, missing)
    found += _summary(folder / "summary.json", steps, ended, missing, exit_code)
    found += _ledger(folder / FILE, steps, ended, missing, exit_code)
    found += _report(folder, exit_code)
    found += [
        f"the terminal: ✔ for {number} {title}"
        for (number, title), place in steps.items()
        if place not in ended and _ticked(said, number, title)
    ]
    if "How to reach it" in said and exit_code != 0:
        found.append("the terminal: says how to reach what was not finished")
    return found


def _report(folder: Path, exit_code: int) -> Iterator[str]:
    """The page that the run has left, and the one that is made of it now."""
    pages = {"report.html": (folder / "report.html").read_text("utf-8")} if (folder / "report.html").exists() else {}
    try:
        pages["the report made now"] = report_html(read_record(folder))
    except Exception as error:
        yield f"no report can be made: {error!r:.200}"
    for name, page in pages.items():
        verdict = re.search(r'<div class="verdict (\w+)"><b>(.*?)</b>', page)
        if verdict is None or (verdict[1] == "good") != (exit_code == 0):
            yield f"{name}: its verdict is {verdict and verdict[2]}, and the exit code {exit_code}"


def _ticked(said: str, number: str, title: str) -> bool:
    head = title if len(title) <= 38 else title[:37].rstrip()
    return any(
        line.startswith(f"{number} ") and f"  {head}" in line and line.rstrip().endswith("✔")
        for line in said.splitlines()
    )


def _steps(nb: Any) -> Iterator[tuple[str, str]]:
    for cell, title in zip(nb.cells, step_titles(nb)):
        if title and (place := CALL.match(cell.source)):
            yield title, place[1]


def steps_of(path: Path) -> Iterator[str]:
    """The places of a notebook's traced cells."""
    for cell in nbformat.read(path, as_version=4).cells:
        if place := CALL.match(cell.source):
            yield place[1]


def _notebook(path: Path, begun: set[str], ended: set[str], missing: Callable[[str], list[str]]) -> Iterator[str]:
    name = path.name
    try:
        nb = nbformat.reads(path.read_text("utf-8"), as_version=4)
        nbformat.validate(nb)
    except Exception as error:
        yield f"{name}: not readable: {error!r:.200}"
        return
    behind = ""
    for index, cell in enumerate(nb.cells):
        status = cell.metadata.papermill.status
        if behind and status == "completed":
            yield f"{name}: cell {index} is completed, behind one that is {behind}"
        if status not in ("completed", *NOT_BEGUN) or (status in NOT_BEGUN and not behind):
            behind = behind or status
        if place := CALL.match(cell.source):
            if status == "completed" and place[1] not in ended:
                yield f"{name}: cell {place[1]} is completed and did not end"
            if status in NOT_BEGUN and place[1] in begun:
                yield f"{name}: cell {place[1]} is {status} and began"
    if nb.metadata.papermill.status == "completed" and (left := missing(name[:2])):
        yield f"{name}: is completed, and {', '.join(left)} did not end"


def _summary(
    path: Path,
    steps: Mapping[tuple[str, str], str],
    ended: set[str],
    missing: Callable[[str], list[str]],
    exit_code: int,
) -> Iterator[str]:
    if not path.exists():
        return
    try:
        summary = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        yield f"summary.json: not readable: {error}"
        return
    for chapter in summary["chapters"]:
        if chapter["status"] == "completed" and (left := missing(chapter["number"])):
            yield f"summary.json: {chapter['number']} is completed, and {', '.join(left)} did not end"
        for step in chapter["steps"]:
            if step["status"] == "completed" and steps[step["number"], step["title"]] not in ended:
                yield f"summary.json: the step {step['number']} {step['title']} is completed and did not end"
    if summary["status"] == "completed" and any(chapter["status"] != "completed" for chapter in summary["chapters"]):
        yield "summary.json: completed, and a chapter is not"
    if summary["exit_code"] is not None and summary["exit_code"] != exit_code:
        yield f"summary.json: exit code {summary['exit_code']}, and it was {exit_code}"
    if exit_code == 0 and summary["status"] != "completed":
        yield f"the exit code is 0 and summary.json says {summary['status']}"


def _ledger(
    path: Path,
    steps: Mapping[tuple[str, str], str],
    ended: set[str],
    missing: Callable[[str], list[str]],
    exit_code: int,
) -> Iterator[str]:
    try:
        chain: Chain = read_chain(path.read_bytes())
    except FileNotFoundError:
        yield "ledger: is not there"
        return
    except BrokenChain as error:
        yield f"ledger: {error}"
        return
    for event in chain.events:
        if event.get("status") != "completed":
            continue
        if event["event"] == "step" and steps[event["number"], event["title"]] not in ended:
            yield f"ledger: the step {event['number']} {event['title']} is completed and did not end"
        if event["event"] == "chapter" and (left := missing(event["number"])):
            yield f"ledger: {event['number']} is completed, and {', '.join(left)} did not end"
    if chain.end is not None and chain.end["exit_code"] != exit_code:
        yield f"ledger: its end says exit code {chain.end['exit_code']}, and it was {exit_code}"
    if exit_code == 0 and (chain.end or {}).get("status") != "completed":
        yield "the exit code is 0 and the ledger has no such end"
