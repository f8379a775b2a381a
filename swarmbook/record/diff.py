"""Two runs side by side: check by check, parameter by parameter. Everything that compares runs uses this comparison."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from swarmbook.base.words import cut
from swarmbook.model.checks import Check, Table
from swarmbook.model.record import Record
from swarmbook.record.reader import read_unbroken

__all__ = ["Comparison", "Difference", "State", "compare", "compare_folders"]


class State(str, Enum):
    """How a check or a parameter of the later run stands to that of the earlier one."""

    SAME = "same"
    CHANGED = "changed"  # another value; a check is as good or as bad as before
    FIXED = "fixed"  # a check that failed is as wanted
    BROKE = "broke"  # a check that was as wanted failed
    NEW = "new"
    GONE = "gone"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Difference:
    """One check or parameter in which two runs differ.

    Args:
        kind: ``check`` or ``parameter``.
        state: How they differ.
        chapter: Number and name of its notebook; empty for a parameter.
        step: Its step.
        host: Its host.
        name: Its name; what comes again in one step is numbered.
        before: The earlier value as text; empty where there is none.
        after: The later one.
    """

    kind: str
    state: State
    chapter: str
    step: str
    host: str
    name: str
    before: str
    after: str

    @property
    def where(self) -> str:
        """Notebook, step and host, as far as there are any."""
        return " / ".join(part for part in (self.chapter, self.step, self.host) if part)


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, by number, and in what they differ.

    Args:
        before: Id of the earlier run.
        after: Id of the later one.
        counts: By kind and state.
        differences: Everything that is not the same, in the order of the notebooks.
    """

    before: str
    after: str
    counts: Mapping[str, Mapping[State, int]]
    differences: tuple[Difference, ...]

    @property
    def exit_code(self) -> int:
        """1 if they differ, else 0."""
        return 1 if self.differences else 0

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        counts = {kind: {state.value: number for state, number in own.items()} for kind, own in self.counts.items()}
        differences = [{**asdict(d), "state": d.state.value} for d in self.differences]
        return {"before": self.before, "after": self.after, "counts": counts, "differences": differences}

    def counted(self, kind: str) -> str:
        """Return the counts of one kind in words: ``4 same, 0 changed, ...``; a parameter is never fixed."""
        return ", ".join(f"{number} {state}" for state, number in self.counts[kind].items())

    def to_text(self) -> str:
        """Return a table of what differs, and the counts."""
        columns = ["", "state", "where", "what", self.before, self.after]
        rows = [[d.kind, d.state, d.where, d.name, _short(d.before), _short(d.after)] for d in self.differences]
        lines = [Table(columns, rows).to_text(), ""] if rows else []
        return "\n".join([*lines, *(f"{kind}s: {self.counted(kind)}" for kind in self.counts)])


def _short(text: str) -> str:
    return cut(" ".join(text.split()), 60)


def compare_folders(before: Path, after: Path) -> Comparison:
    """Compare two runs by their ledgers.

    Example:
        >>> run = Path("tests/unit/kept/run-format-1")
        >>> compare_folders(run, run).differences
        ()

    Args:
        before: Folder of the earlier run.
        after: Folder of the later one.

    Raises:
        UsageError: One of them is no run's folder, or its ledger does not hold together.
    """
    return compare(read_unbroken(before), read_unbroken(after))


def compare(before: Record, after: Record, numbers: Collection[str] | None = None) -> Comparison:
    """Compare two runs.

    Args:
        before: The earlier one.
        after: The later one.
        numbers: Of the notebooks whose checks are compared; all by default.
    """
    pairs: dict[str, tuple[Mapping[_Key, Any], Mapping[_Key, Any]]] = {
        "parameter": (_parameters(before), _parameters(after)),
        "check": (_checks(before, numbers), _checks(after, numbers)),
    }
    counts: dict[str, dict[State, int]] = {}
    differences: list[Difference] = []
    for kind, (old, new) in pairs.items():
        verdicts = kind == "check"
        states = Counter(dict.fromkeys((s for s in State if verdicts or s not in (State.FIXED, State.BROKE)), 0))
        for key in _in_order(new, old):
            state = _state(old.get(key), new.get(key))
            states[state] += 1
            if state is not State.SAME:
                differences.append(Difference(kind, state, *key, before=_text(old, key), after=_text(new, key)))
        counts[kind] = dict(states)
    earlier, later = (record.run or record.folder.name for record in (before, after))
    return Comparison(earlier, later, counts, tuple(differences))


_Key = tuple[str, str, str, str]  # chapter, step, host, name


def _state(old: Check | str | None, new: Check | str | None) -> State:
    if old is None:
        return State.NEW
    if new is None:
        return State.GONE
    if isinstance(old, Check) and isinstance(new, Check):
        if old.ok != new.ok:
            return State.FIXED if new.ok else State.BROKE
        return State.SAME if (old.wanted, old.seen) == (new.wanted, new.seen) else State.CHANGED
    return State.SAME if old == new else State.CHANGED


def _text(found: Mapping[_Key, Any], key: _Key) -> str:
    value = found.get(key, "")
    if not isinstance(value, Check):
        return str(value)
    if value.ok and value.wanted == value.seen:
        return value.seen
    return f"{value.seen} ({'ok' if value.ok else 'FAILED'}, wanted {value.wanted})"


def _in_order(new: Iterable[_Key], old: Iterable[_Key]) -> list[_Key]:
    return sorted(dict.fromkeys([*new, *old]), key=lambda key: key[0])  # by chapter, within it as they came


def _parameters(record: Record) -> dict[_Key, str]:
    return {
        ("", "", "", name): json.dumps(value, sort_keys=True, default=str)
        for name, value in sorted(record.parameters.items())
    }


def _checks(record: Record, numbers: Collection[str] | None) -> dict[_Key, Check]:
    found: dict[_Key, Check] = {}
    again: Counter[_Key] = Counter()
    for step, check in record.checks:
        if numbers is not None and step.number not in numbers:
            continue
        key = (f"{step.number} {step.chapter}", step.title, check.host, check.name)
        again[key] += 1
        found[key if again[key] == 1 else (*key[:3], f"{check.name} ({again[key]})")] = check
    return found
