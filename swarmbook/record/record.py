"""Reading a run's folder back: what ran, what it found, and when, whichever of its files are there.

The ledger is believed first; without one the summary and the notebooks' outputs tell the same.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError
from swarmbook.model.ledger import FILE, FORMAT, BrokenChain, read_chain
from swarmbook.model.results import STEP_MIME, StepRecord
from swarmbook.model.transcript import Command

__all__ = ["STAMP", "Found", "Ran", "Record", "StepView", "earlier", "read_record", "runs_in"]

#: What a run's folder is called.
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")
_CHECK_COLUMNS = ["host", "check", "wanted", "seen", "result"]


@dataclass(frozen=True)
class Found:
    """One check of the run."""

    number: str
    step: str
    host: str
    name: str
    wanted: str
    seen: str
    ok: bool


@dataclass(frozen=True)
class Ran(Command):
    """One command, and when it began (seconds since 1970)."""

    began: float = 0.0


@dataclass(frozen=True)
class StepView(StepRecord):
    """One step; ``began`` is 0 where nobody knows."""

    began: float = 0.0
    said: str = ""
    commands: tuple[Ran, ...] = ()


@dataclass(frozen=True)
class Record:
    """One run as its folder tells it."""

    folder: Path
    status: str
    exit_code: int | None
    seconds: float
    began: float
    chapters: tuple[tuple[str, str, str, float, str], ...]  # number, name, status, seconds, proof
    steps: tuple[StepView, ...] = ()
    checks: tuple[Found, ...] = ()
    commands: tuple[Ran, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notebooks: Mapping[str, str] = field(default_factory=dict)
    host_keys: Mapping[str, str] = field(default_factory=dict)
    approvals: tuple[Mapping[str, Any], ...] = ()
    failures: tuple[str, ...] = ()
    broken: str = ""  # where its ledger does not hold together

    @property
    def changes(self) -> int:
        return sum(step.changes for step in self.steps)

    @property
    def failed(self) -> int:
        return max(sum(step.failed for step in self.steps), sum(not check.ok for check in self.checks))


def _time(text: Any) -> float:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _stamp(folder: Path) -> float:
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z", folder.name)
    return _time(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}Z") if found else 0.0


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file; a last line that was cut off by a kill is passed over."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class _Page(HTMLParser):
    """The first paragraph and the tables of a step's output."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self.rows: list[list[str]] = []
        self._into = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        self._into = tag if tag in ("td", "th") or (tag == "p" and not self.said) else self._into

    def handle_endtag(self, tag: str) -> None:
        if tag == self._into:
            self._into = ""

    def handle_data(self, data: str) -> None:
        if self._into == "p":
            self.said += data
        elif self._into and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def _notebook(path: Path, number: str, name: str) -> tuple[dict[str, Any], list[StepView], list[Found]]:
    """Metadata, steps and checks of an executed notebook; nothing of one that cannot be read."""
    from swarmbook.record.notebooks import step_titles

    nb = _json(path)
    if not nb.get("cells"):
        return {}, [], []
    import nbformat

    cells = nbformat.from_dict(nb)
    steps: list[StepView] = []
    checks: list[Found] = []
    for cell, title in zip(nb["cells"], step_titles(_joined(cells))):
        if not title:
            continue
        done = cell.get("metadata", {}).get("papermill", {})
        step = StepView(
            number,
            name,
            title,
            str(done.get("status", "not-run")),
            seconds=float(done.get("duration") or 0),
            began=_time(done.get("start_time")),
        )
        counts = dict.fromkeys(("hosts", "changes", "checks", "failed"), 0)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            told = data.get(STEP_MIME)
            if not isinstance(told, dict):
                continue
            for key in counts:
                counts[key] += int(told.get(key) or 0)
            page = _Page()
            page.feed("".join(data.get("text/html", "")))
            step = replace(step, said=" ".join(filter(None, (step.said, page.said))))
            if page.rows and page.rows[0] == _CHECK_COLUMNS:
                for host, what, wanted, seen, result in (row for row in page.rows[1:] if len(row) == 5):
                    checks.append(Found(number, title, host, what, wanted, seen, result == "ok"))
        steps.append(_counted(step, counts))
    return dict(nb.get("metadata", {})), steps, checks


def _counted(step: StepView, counts: Mapping[str, int]) -> StepView:
    return replace(
        step, hosts=counts["hosts"], changes=counts["changes"], checks=counts["checks"], failed=counts["failed"]
    )


def _joined(nb: Any) -> Any:
    for cell in nb.cells:
        if isinstance(cell.source, list):
            cell.source = "".join(cell.source)
    return nb


def _texts(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {
            str(key): item if isinstance(item, str) else json.dumps(item, sort_keys=True)
            for key, item in sorted(value.items())
        }
    return {}


def _with_commands(steps: Iterable[StepView], commands: Iterable[Ran]) -> tuple[StepView, ...]:
    """Each command in the step during which it began."""
    every = list(steps)
    order = sorted((step.began, at) for at, step in enumerate(every) if step.began)
    of: dict[int, list[Ran]] = {}
    for command in commands:
        at = bisect_right(order, (command.began + 0.02, len(every))) - 1
        if order and at >= 0:
            of.setdefault(order[at][1], []).append(command)
    return tuple(replace(step, commands=tuple(of.get(at, ()))) for at, step in enumerate(every))


def read_record(folder: Path) -> Record:
    """What a run's folder tells.

    Args:
        folder: One folder of ``runs/CLUSTER``.

    Raises:
        UsageError: It is no run's folder.
    """
    folder = folder.resolve()
    try:
        return _read(folder)
    except UsageError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = "the record of this run cannot be read: it is damaged, or of another version"
        raise UsageError(what, where=str(folder), seen=repr(error)[:200]) from error


def _read(folder: Path) -> Record:
    summary, events = _json(folder / "summary.json"), list(_lines(folder / "ledger.jsonl"))
    if not summary and not events:
        seen = "neither summary.json nor ledger.jsonl can be read" if folder.is_dir() else "no such folder"
        raise UsageError(
            "this is no run's folder",
            where=str(folder),
            seen=seen,
            next="name one of those that `ls runs/CLUSTER` shows",
        )
    newest = max((event["format"] for event in events[:1] if isinstance(event.get("format"), int)), default=FORMAT)
    if newest > FORMAT:
        raise UsageError(
            "this run was written by a newer swarmbook",
            where=str(folder),
            wanted=f"format {FORMAT} or older",
            seen=f"format {newest}",
            next="use that newer swarmbook",
        )
    by: dict[str, list[dict[str, Any]]] = {}
    number = title = ""
    for event in events:
        # The kernel that writes a check does not know its step: it is the one that the runner last said it began.
        if event.get("event") == "step":
            number, title = str(event.get("number")), str(event.get("title"))
        elif event.get("event") in ("check", "plan"):
            event = {"number": number, "title": title, **event}
        by.setdefault(str(event.get("event")), []).append(event)
    run = _circumstances(by.get("run", [{}])[0])
    end = by.get("end", [{}])[-1]

    chapters = {
        str(c["number"]): (
            str(c["number"]),
            str(c["name"]),
            str(c["status"]),
            float(c["seconds"]),
            str(c.get("proof", "")),
        )
        for c in summary.get("chapters", [])
    }
    for event in by.get("chapter", []):
        number = str(event.get("number"))
        if number not in chapters:
            chapters[number] = (
                number,
                str(event.get("name")),
                str(event.get("status") or "running"),
                float(event.get("seconds") or 0),
                str(event.get("proof", "")),
            )
    steps: list[StepView] = []
    checks: list[Found] = []
    parameters: dict[str, Any] = {}
    python = ""
    for number, name, *_ in chapters.values():
        about, of_notebook, found = _notebook(folder / f"{number}_{name}.ipynb", number, name)
        parameters.update(about.get("papermill", {}).get("parameters", {}))
        python = str(about.get("language_info", {}).get("version", "")) or python
        if not of_notebook:  # it did not get as far as a notebook: the summary still names its steps
            rows: list[dict[str, Any]] = next(
                (c.get("steps", []) for c in summary.get("chapters", []) if c["number"] == number), []
            )
            known = StepView.__dataclass_fields__
            of_notebook = [StepView(**{k: v for k, v in row.items() if k in known}) for row in rows]
        steps += of_notebook
        checks += found
    steps, checks = _from_ledger(by, steps, checks)
    commands = [_command(line, _time(line.get("time"))) for line in by.get("command", [])]
    commands.sort(key=lambda command: command.began)
    began = _time(run.get("time")) or _stamp(folder) or min((step.began for step in steps if step.began), default=0.0)
    errors = [
        "\n".join((f"{c['error'].get('ename')}: {c['error'].get('evalue')}", *c.get("lines", ())))
        for c in summary.get("chapters", [])
        if c.get("error")
    ]
    errors = errors or [str(event.get("what")) for event in by.get("failure", [])]
    status = str(end.get("status") or ("running" if events and not summary else summary.get("status") or "running"))
    last = max(
        [_time(event.get("time")) for event in events[-1:]] + [step.began + step.seconds for step in steps], default=0.0
    )
    named = ("user", "sudo_user", "hostname", "command", "git", "parent", "plan", "kind", "note")
    return Record(
        folder, status, end.get("exit_code", summary.get("exit_code")),
        float(end.get("seconds") or summary.get("seconds") or max(0.0, last - began)), began, tuple(chapters.values()),
        _with_commands(steps, commands), tuple(checks), tuple(commands),
        {**parameters, **dict(run.get("parameters") or {})},
        _texts({key: run[key] for key in named if run.get(key)}),
        _texts(run.get("versions")) or _texts({"python": python} if python else {}),
        _texts(run.get("notebooks")), _texts(run.get("host_keys")),
        (*by.get("approval", []), *by.get("plan", [])), tuple(errors), _broken(folder),
    )  # fmt: skip


def _broken(folder: Path) -> str:
    try:
        read_chain((folder / FILE).read_bytes())
    except BrokenChain as error:
        return str(error)
    except OSError:
        return "there is none"
    return ""


def _circumstances(run: dict[str, Any]) -> dict[str, Any]:
    """The first event, as the report names its parts."""
    versions = {name: run[name] for name in ("swarmbook", "python") if run.get(name)} | dict(run.get("packages") or {})
    notebooks = {str(c.get("notebook")): c.get("sha256") for c in run.get("chapters") or []}
    return {"versions": versions, "notebooks": notebooks, **run}


def _command(line: Mapping[str, Any], time: float) -> Ran:
    seconds = float(line.get("seconds") or 0)
    began = time - seconds  # it is told when it has ended
    return Ran(
        str(line.get("host")),
        str(line.get("text")).strip(),
        int(line.get("exit") or 0),
        seconds,
        str(line.get("tail") or ""),
        began,
    )


def _from_ledger(
    by: Mapping[str, list[dict[str, Any]]], steps: list[StepView], checks: list[Found]
) -> tuple[list[StepView], list[Found]]:
    """What the ledger says of steps and checks, in place of what the notebooks say; what only they know stays."""
    told: dict[tuple[str, str], dict[str, Any]] = {
        (str(e.get("number")), str(e.get("title"))): e for e in by.get("step", [])
    }
    every = {(step.number, step.title): step for step in steps}
    for (number, title), event in told.items():
        seconds = float(event.get("seconds") or 0)
        known = every.get((number, title)) or StepView(number, str(event.get("chapter")), title, "completed")
        counts = {key: int(event.get(key) or 0) for key in ("hosts", "changes", "checks", "failed")}
        status = str(event.get("status") or known.status)
        known = replace(known, status=status, seconds=seconds, began=known.began or _time(event.get("time")) - seconds)
        every[number, title] = _counted(known, counts)
    if by.get("check"):
        checks = []
        for event in by["check"]:
            number, step, host, name, wanted, seen = (
                str(event.get(key)) for key in ("number", "title", "host", "name", "wanted", "seen")
            )
            checks.append(Found(number, step, host, name, wanted, seen, bool(event.get("ok"))))
    return list(every.values()), checks


def runs_in(parent: Path) -> list[Path]:
    """The runs' folders, the oldest first."""
    if not parent.is_dir():
        return []
    return sorted(
        path
        for path in parent.iterdir()
        if STAMP.fullmatch(path.name) and any((path / f).exists() for f in ("summary.json", "ledger.jsonl"))
    )


def earlier(record: Record) -> Record | None:
    """The last run before this one that ran at least one of its notebooks."""
    numbers = {chapter[0] for chapter in record.chapters}
    for folder in reversed([path for path in runs_in(record.folder.parent) if path.name < record.folder.name]):
        had = {
            str(c.get("number"))
            for c in _json(folder / "summary.json").get("chapters", [])
            if c.get("status") != "not-run"
        }
        if not had or had & numbers:
            return read_record(folder)
    return None
