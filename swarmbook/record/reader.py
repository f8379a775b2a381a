"""The one reader of runs: from the events of a ledger, and from what only summary and notebooks know, to a record.

The ledger is believed first. Without one, the summary and the notebooks' outputs tell the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError
from swarmbook.base.words import typed
from swarmbook.model import ledger, states
from swarmbook.model.ledger import BrokenChain, Chain, read_chain, read_run
from swarmbook.model.material import Material
from swarmbook.model.record import Approved, Failure, HeldPlan, Link, Record
from swarmbook.model.results import ChapterRecord, Counts, RecordedChange, StepRecord, read_check
from swarmbook.model.transcript import Command

__all__ = ["SUMMARY", "from_chain", "read_record", "read_unbroken"]

SUMMARY = "summary.json"
_FACTS = ("user", "sudo_user", "hostname", "command", "git", "platform")
Event = Mapping[str, Any]


def read_record(folder: Path) -> Record:
    """Read what a run's folder tells, also where parts of it are missing or damaged.

    Example:
        >>> record = read_record(Path("tests/unit/kept/run-format-1"))
        >>> record.status, [chapter.number for chapter in record.chapters]
        ('failed', ['02', '03', '05'])

    Args:
        folder: One folder of ``runs/CLUSTER``.

    Raises:
        UsageError: It is no run's folder, or a newer swarmbook wrote it.
    """
    folder = folder.resolve()
    try:
        return _read(folder)
    except UsageError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what, seen = "the record of this run cannot be read: it is damaged", repr(error)[:200]
        raise UsageError(what, where=str(folder), seen=seen, next=f"swarmbook audit {typed(folder)}") from error


def read_unbroken(folder: Path) -> Record:
    """Read a run from its ledger alone, for any code that builds on what it says.

    Args:
        folder: The run's folder; a run that was killed will do.

    Raises:
        UsageError: It is no run's folder, its ledger does not hold together, or a newer swarmbook wrote it.
    """
    chain = read_run(folder)
    try:
        return from_chain(folder, chain)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what, seen = "the run's ledger holds together, and is not what swarmbook writes", repr(error)[:200]
        raise UsageError(what, where=str(folder), seen=seen, next=f"swarmbook audit {typed(folder)}") from error


def from_chain(folder: Path, chain: Chain) -> Record:
    """Make a record of a ledger that holds together.

    Args:
        folder: The run's folder.
        chain: Its ledger.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: An event is not as swarmbook writes it.
    """
    return replace(_Walk(chain.events).record(folder), head=chain.head)


def _read(folder: Path) -> Record:
    summary, events, broken, head = _json(folder / SUMMARY), *_events(folder / ledger.FILE)
    if not summary and not events:
        raise UsageError(
            "this is no run's folder",
            where=str(folder),
            seen=f"neither {SUMMARY} nor {ledger.FILE} can be read" if folder.is_dir() else "no such folder",
            next="name one of those that `ls runs/CLUSTER` shows",
        )
    if events:
        ledger.RUN_FORMAT.require(events[0].get("format"), str(folder))
    record = replace(_Walk(events).record(folder), broken=broken, head=head)
    if summary:
        record = _with_summary(record, summary)
    return _with_notebooks(record)


def _events(path: Path) -> tuple[Sequence[Event], str, str]:
    """Read the events, why the ledger does not hold together, and its last hash; of a broken one what can be read."""
    try:
        data = path.read_bytes()
    except OSError:
        return (), "there is none", ""
    try:
        chain = read_chain(data)
        return chain.events, "", chain.head
    except BrokenChain as error:
        return tuple(_objects(data.decode("utf-8", "replace"))), str(error), ""


def _objects(text: str) -> Iterable[dict[str, Any]]:
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(text: Any) -> float:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


# -- the ledger --------------------------------------------------------------------------------------------------------


class _Walk:
    """Goes through the events once. What belongs to which step is decided here, and nowhere else.

    The kernel that writes a check, a command or a plan does not know its step: it is the one that the runner last said it
    began, until the runner says that it ended.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._run: Event = {}
        self._end: Event = {}
        self._chapters: dict[str, ChapterRecord] = {}
        self._steps: list[StepRecord] = []
        self._open: int | None = None  # of the steps, the one that is going on
        self._checked: dict[int, list[Any]] = {}
        self._planned: dict[int, list[RecordedChange]] = {}
        self._ran: dict[int, list[Command]] = {}
        self._commands: list[Command] = []
        self._approvals: list[Approved] = []
        self._failures: list[Failure] = []
        self._plan: HeldPlan | None = None
        self._host_keys: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._materials: dict[tuple[str, str, str], Material] = {}
        self._last = 0.0
        for event in events:
            self._last = _time(event.get("time")) or self._last
            getattr(self, f"_see_{event.get('event')}", self._pass_over)(event)

    def record(self, folder: Path) -> Record:
        run, end = self._run, self._end
        for at, step in enumerate(self._steps):
            self._steps[at] = replace(
                step,
                checked=tuple(self._checked.get(at, ())),
                planned=tuple(self._planned.get(at, ())),
                commands=tuple(self._ran.get(at, ())),
            )
        began = _time(run.get("time")) or _stamp(folder)
        parent = run.get("parent") or {}
        versions = {name: run[name] for name in ("swarmbook", "python", "interpreter") if run.get(name)}
        return Record(
            folder,
            str(run.get("run") or ""),
            str(run.get("cluster") or ""),
            str(end.get("status") or states.RUNNING),
            end.get("exit_code"),
            began,
            float(end.get("seconds") or max(0.0, self._last - began if began else 0.0)),
            tuple(
                replace(chapter, steps=tuple(step for step in self._steps if step.number == chapter.number))
                for chapter in self._chapters.values()
            ),
            tuple(sorted(self._commands, key=lambda command: command.began)),
            dict(run.get("parameters") or {}),
            self._plan,
            tuple(self._approvals),
            tuple(self._failures),
            Link(*(str(parent.get(key) or "") for key in ("run", "status", "head"))) if parent else None,
            str(run.get("note") or ""),
            _texts({key: run[key] for key in _FACTS if run.get(key)}),
            _texts({**versions, **(run.get("packages") or {})}),
            _texts({str(c.get("notebook")): c.get("sha256") for c in run.get("chapters") or ()}),
            self._host_keys,
            self._addresses,
            tuple(self._materials.values()),
        )

    def _pass_over(self, event: Event) -> None:
        """Ignore an event that says nothing of what a record holds, or that a later swarmbook has added."""

    def _see_run(self, event: Event) -> None:
        self._run = event
        self._see_nodes(event)
        for chapter in event.get("chapters") or ():
            number, name = str(chapter["number"]), str(chapter["name"])
            notebook = str(chapter.get("notebook") or f"{number}_{name}.ipynb")
            self._chapters[number] = ChapterRecord(number, name, states.NOT_RUN, notebook=notebook)

    def _see_nodes(self, event: Event) -> None:
        """Note where the nodes are: a run, and a notebook that has ended, say so if that is not what was said last."""
        if "host_keys" in event:
            self._host_keys = _texts(event["host_keys"] or {})
        if "addresses" in event:
            self._addresses = _texts(event["addresses"] or {})

    def _see_end(self, event: Event) -> None:
        self._end = event

    def _see_chapter(self, event: Event) -> None:
        number, name = str(event.get("number")), str(event.get("name"))
        known = self._chapters.get(number) or ChapterRecord(number, name, "", notebook=f"{number}_{name}.ipynb")
        self._chapters[number] = replace(
            known,
            status=str(event.get("status") or states.RUNNING),
            seconds=float(event.get("seconds") or 0),
            proof=str(event.get("proof") or ""),
        )
        self._see_nodes(event)
        self._open = None

    def _see_step(self, event: Event) -> None:
        title, status = str(event.get("title")), str(event.get("status") or states.COMPLETED)
        number, chapter = str(event.get("number")), str(event.get("chapter"))
        if number not in self._chapters:
            notebook = f"{number}_{chapter}.ipynb"
            self._chapters[number] = ChapterRecord(number, chapter, states.RUNNING, notebook=notebook)
        when, seconds = _time(event.get("time")), float(event.get("seconds") or 0)
        going_on = self._steps[self._open] if self._open is not None else None
        if going_on is None or (going_on.number, going_on.title) != (number, title) or status == states.RUNNING:
            self._steps.append(StepRecord(number, chapter, title, states.RUNNING, began=when - seconds))
            self._open = len(self._steps) - 1
        if status != states.RUNNING:
            assert self._open is not None
            step = replace(self._steps[self._open], status=status, seconds=seconds)
            self._steps[self._open] = step.counted(Counts.from_json(event))
            self._open = None

    def _see_check(self, event: Event) -> None:
        if self._open is not None:
            self._checked.setdefault(self._open, []).append(read_check(event))

    def _see_command(self, event: Event) -> None:
        seconds = float(event.get("seconds") or 0)
        host, text, tail = (str(event.get(key) or "") for key in ("host", "text", "tail"))
        began = _time(event.get("time")) - seconds  # the event is written when the command has ended
        command = Command(host, text.strip(), int(event.get("exit") or 0), seconds, tail, began)
        self._commands.append(command)
        if self._open is not None:
            self._ran.setdefault(self._open, []).append(command)

    def _see_plan(self, event: Event) -> None:
        if "digest" in event:
            changes = int(event.get("changes") or 0)
            self._plan = HeldPlan(str(event["digest"]), changes, bool(event.get("partial")))
        elif self._open is not None:
            changed = (RecordedChange.from_json(change) for change in event.get("changes") or ())
            self._planned.setdefault(self._open, []).extend(changed)

    def _see_material(self, event: Event) -> None:
        found = Material.from_json(event)
        self._materials[found.host, found.kind, found.name] = found

    def _see_approval(self, event: Event) -> None:
        time, word, by, how = (str(event.get(key) or "") for key in ("time", "word", "by", "how"))
        self._approvals.append(Approved(time, word, by, how, tuple(str(line) for line in event.get("what") or ())))

    def _see_failure(self, event: Event) -> None:
        if event.get("what") == ledger.TORN:
            return
        number, what, detail, code = (str(event.get(key) or "") for key in ("number", "what", "detail", "code"))
        self._failures.append(Failure(number, what, detail, code, tuple(str(t) for t in event.get("lines") or ())))


def _stamp(folder: Path) -> float:
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z", folder.name)
    return _time(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}Z") if found else 0.0


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(key): value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for key, value in sorted(values.items())
    }


# -- what the ledger does not say --------------------------------------------------------------------------------------


def _with_summary(record: Record, summary: Mapping[str, Any]) -> Record:
    """Add what only the summary knows; of a run without a ledger that is all of it."""
    known = {chapter.number: chapter for chapter in record.chapters}
    reported = [ChapterRecord.from_json(chapter) for chapter in summary.get("chapters") or ()]
    for chapter in reported:
        mine = known.get(chapter.number, chapter)
        mine = chapter if mine.status in states.UNREACHED and chapter.reached else mine
        known[chapter.number] = replace(
            chapter, status=mine.status, proof=mine.proof or chapter.proof, steps=mine.steps or chapter.steps
        )
    failed = {failure.number for failure in record.failures}
    failures = [
        Failure(c.number, c.error.get("ename", "Error"), c.error.get("evalue", ""), c.error.get("code", ""), c.lines)
        for c in reported
        if c.error and c.number not in failed
    ]
    ended = record.exit_code is not None
    return replace(
        record,
        status=record.status if ended else str(summary.get("status") or record.status),
        exit_code=record.exit_code if ended else summary.get("exit_code"),
        seconds=record.seconds if ended else float(summary.get("seconds") or record.seconds),
        chapters=tuple(known.values()),
        failures=(*record.failures, *failures),
    )


def _with_notebooks(record: Record) -> Record:
    """Add what only the notebooks know: steps that were not reached, each step's summary; without a ledger all of it."""
    from swarmbook.record.notebooks import read_executed, recorded_steps

    chapters: list[ChapterRecord] = []
    parameters: dict[str, Any] = {}
    python = ""
    believed = any(step.began for step in record.steps)
    for chapter in record.chapters:
        nb = read_executed(record.folder / (chapter.notebook or f"{chapter.number}_{chapter.name}.ipynb"))
        shown: Sequence[StepRecord] = ()
        if nb is not None:
            parameters.update((nb.metadata.get("papermill") or {}).get("parameters") or {})
            python = str((nb.metadata.get("language_info") or {}).get("version", "")) or python
            shown = recorded_steps(nb, chapter.number, chapter.name)
        chapters.append(replace(chapter, steps=tuple(_joined(chapter.steps, shown, believed))))
    steps = [step for chapter in chapters for step in chapter.steps]
    commands = record.commands or tuple(command for step in steps for command in step.commands)
    began = record.began or min((step.began for step in steps if step.began), default=0.0)
    last = max((step.began + step.seconds for step in steps), default=0.0)
    return replace(
        record,
        chapters=tuple(chapters),
        commands=commands,
        began=began,
        seconds=record.seconds or max(0.0, last - began),
        parameters=record.parameters or parameters,
        versions=record.versions or ({"python": python} if python else {}),
    )


def _joined(reported: Sequence[StepRecord], shown: Sequence[StepRecord], believed: bool) -> Iterable[StepRecord]:
    """Yield the steps in the notebook's order: what the ledger says of each, completed by what the notebook shows.

    Args:
        reported: What the ledger says, or a summary.
        shown: What the notebook shows.
        believed: There is a ledger, and what it does not know did not happen.
    """
    left = list(reported)
    for step in shown:
        at = next((at for at, mine in enumerate(left) if mine.title == step.title), None)
        if at is None:  # not reached, or nothing that the ledger knows of
            yield replace(step, planned=(), checked=(), commands=()) if believed else step
            continue
        mine = left.pop(at)
        if not mine.began:  # it is the summary that says it: counts, and no more
            counts = Counts(mine.hosts, mine.changes, mine.checks, mine.failed)
            yield replace(step, status=mine.status).counted(counts)
        else:
            yield replace(
                mine,
                summary=step.summary,
                planned=mine.planned or step.planned,
                checked=mine.checked or step.checked,
                commands=mine.commands or step.commands,
            )
    yield from left
