"""Two runs side by side: check by check, parameter by parameter."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarmbook.model.checks import Table
from swarmbook.model.ledger import Chain, read_run

__all__ = ["Comparison", "Difference", "compare"]

STATES = ("same", "changed", "new", "gone")


@dataclass(frozen=True)
class Difference:
    """One check or parameter in which two runs differ; ``before`` and ``after`` are as text, empty where it is not."""

    kind: str
    state: str
    chapter: str
    step: str
    host: str
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common, by number, and in what they differ."""

    before: str
    after: str
    counts: Mapping[str, Mapping[str, int]]
    differences: tuple[Difference, ...]

    @property
    def exit_code(self) -> int:
        return 1 if self.differences else 0

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def to_text(self) -> str:
        """A table of what differs, and the counts."""
        columns = ["", "state", "where", "what", self.before, self.after]
        rows = [
            [
                d.kind,
                d.state,
                " / ".join(part for part in (d.chapter, d.step, d.host) if part),
                d.name,
                _short(d.before),
                _short(d.after),
            ]
            for d in self.differences
        ]
        lines = [Table(columns, rows).to_text(), ""] if rows else []
        lines += [
            f"{kind}s: " + ", ".join(f"{counts[state]} {state}" for state in STATES)
            for kind, counts in self.counts.items()
        ]
        return "\n".join(lines)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def compare(before: Path, after: Path) -> Comparison:
    """Compare the ledgers of two runs.

    Raises:
        UsageError: One of them is no run's folder, or its ledger does not hold together.
    """
    chains = [read_run(folder) for folder in (before, after)]
    counts: dict[str, dict[str, int]] = {}
    differences: list[Difference] = []
    pairs = {"parameter": [_parameters(chain) for chain in chains], "check": [_checks(chain) for chain in chains]}
    for kind, (old, new) in pairs.items():
        states = Counter(dict.fromkeys(STATES, 0))
        for key in _in_order(new, old):
            state = (
                "new" if key not in old else "gone" if key not in new else "same" if old[key] == new[key] else "changed"
            )
            states[state] += 1
            if state != "same":
                differences.append(Difference(kind, state, *key, before=old.get(key, ""), after=new.get(key, "")))
        counts[kind] = dict(states)
    return Comparison(
        str(chains[0].run.get("run", before)), str(chains[1].run.get("run", after)), counts, tuple(differences)
    )


_Key = tuple[str, str, str, str]


def _in_order(new: Iterable[_Key], old: Iterable[_Key]) -> list[_Key]:
    return sorted(dict.fromkeys([*new, *old]), key=lambda key: key[0])  # by chapter, within it as they came


def _parameters(chain: Chain) -> dict[_Key, str]:
    found = chain.run.get("parameters")
    items = sorted(found.items()) if isinstance(found, dict) else []
    return {("", "", "", name): json.dumps(value, sort_keys=True) for name, value in items}


def _checks(chain: Chain) -> dict[_Key, str]:
    """Every check by chapter, step, host and name; what comes again in one step is numbered."""
    found: dict[_Key, str] = {}
    chapter = step = ""
    for event in chain.events:
        if event["event"] == "chapter":
            chapter, step = f"{event.get('number')} {event.get('name')}", ""
        elif event["event"] == "step":
            step = str(event.get("title", "")) if event.get("status") == "running" else ""
        elif event["event"] == "check":
            host, name = str(event.get("host", "")), str(event.get("name", ""))
            key, again = (chapter, step, host, name), 1
            while key in found:
                again += 1
                key = (chapter, step, host, f"{name} ({again})")
            wanted, seen, ok = event.get("wanted"), event.get("seen"), event.get("ok")
            found[key] = (
                f"{seen}"
                if ok and wanted == seen
                else f"{seen} (ok, wanted {wanted})"
                if ok
                else f"{seen} (FAILED, wanted {wanted})"
            )
    return found
