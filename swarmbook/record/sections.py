"""The sections of a report: each a view of a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from swarmbook.base.markup import Markup, joined, tag
from swarmbook.base.words import many
from swarmbook.model import states
from swarmbook.model.checks import Check
from swarmbook.model.record import Record
from swarmbook.model.results import StepRecord
from swarmbook.model.transcript import Command
from swarmbook.record.diff import State, compare
from swarmbook.record.page import code, folded, mark, muted, note, span, table, utc, value_table, verdict

__all__ = ["approval", "checks", "difference", "evidence", "head", "steps"]

_COMMANDS_LIMIT = 800_000  # characters; what is beyond stays in the ledger, and the report says so
_CHECKS_LIMIT = 700_000
_ROWS_LIMIT = 60  # of the difference to the last run
_LONG = 4_000
_PROOFS = {"verified": "as the earlier run left it", "drifted": "had drifted, and was fixed"}
_SIGNS = {State.FIXED: "✔ ", State.BROKE: "✘ "}


# -- the verdict -------------------------------------------------------------------------------------------------------


def head(record: Record, signature: str) -> Markup:
    """Return the verdict, what ended the run, and the figures.

    Args:
        record: The run.
        signature: What is known of its signature.
    """
    kind, sign, words = verdict(record.status)
    ended = next((c for c in record.reached if c.status != states.COMPLETED), None)
    where = f" in {ended.number} {ended.name}" if ended and record.status != states.COMPLETED else ""
    parts: list[object] = [tag("b", f"{sign} {words}{where}")]
    if record.note:
        parts.append(tag("p", tag("b", record.note)))
    parts.append(tag("p", _counted(record)))
    parts += [tag("pre", failure.text()) for failure in record.failures]
    if record.broken:
        broken = tag("b", f"■ Its ledger does not hold together: {record.broken}.")
        parts.append(tag("p", broken, " What stands below may have been changed."))
    return joined((tag("div", *parts, class_=f"verdict {kind}"), _tiles(record, signature)))


def _counted(record: Record) -> str:
    total = max(sum(step.checks for step in record.steps), len(record.checks))
    missed = len(record.chapters) - len(record.reached)
    words = f"{many(total, 'check')}, {record.failed} failed"
    if record.status == states.COMPLETED and not record.failed:
        words = f"All {many(total, 'check')} as wanted" if total else "No checks"
    return (
        f"{words}; {many(record.changes, 'change')}" + (f"; {many(missed, 'notebook')} not run" if missed else "") + "."
    )


def _tiles(record: Record, signature: str) -> Markup:
    tiles = {
        "began": utc(record.began),
        "took": span(record.seconds),
        "exit code": "none" if record.exit_code is None else record.exit_code,
        "notebooks run": ", ".join(chapter.number for chapter in record.reached) or "none",
        "commands on hosts": f"{len(record.commands):,}",
        "signature": _briefly(signature),
    }
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles.items()), class_="tiles")


def _briefly(signature: str) -> str:
    """Shorten what is said of the signature: the whole of it stands in the record's section."""
    if signature.startswith("signed by "):
        return "signed; signer not checked"
    return signature.partition(":" if signature.startswith("does not fit") else ",")[0]


# -- the difference to an earlier run ----------------------------------------------------------------------------------


def difference(record: Record, before: Record | None) -> Markup:
    """Return how the run differs from an earlier one, in what both ran.

    Args:
        record: The run.
        before: The earlier one, if there is one.
    """
    if before is None:
        return muted("There is no earlier run of these notebooks to compare with.")
    both = {chapter.number for chapter in record.reached} & {chapter.number for chapter in before.reached}
    found = compare(before, record, both)
    changed = [d for d in found.differences if d.kind == "check" and d.state not in (State.NEW, State.GONE)]
    changed.sort(key=lambda d: d.state is State.CHANGED)  # what was fixed or broke first
    rows = [
        (
            "bad" if d.state is State.BROKE else "",
            (
                f"{d.chapter} {d.step}",
                d.host,
                d.name,
                code(d.before),
                code(d.after),
                f"{_SIGNS.get(d.state, '')}{d.state}",
            ),
        )
        for d in changed[:_ROWS_LIMIT]
    ]
    # A run of other notebooks declares other parameters: only those that both have can differ.
    other = [d for d in found.differences if d.kind == "parameter" and d.state is State.CHANGED]
    name = before.folder.name
    link = tag("a", name, href=f"../{name}/report.html") if (before.folder / "report.html").exists() else name
    earlier = f" ({before.status}, {span(before.seconds)}, {many(before.changes, 'change')}): "
    now = f"{span(record.seconds)} and {many(record.changes, 'change')} now."
    ran = ", ".join(sorted(both)) or "none"
    return joined((
        tag("p", "Against ", link, earlier, now),
        tag("p", f"Checks of the notebooks that both ran ({ran}): {found.counted('check')}."),
        table(("parameter", "then", "now"), (("", (d.name, code(d.before), code(d.after))) for d in other))
        if other
        else tag("p", "Parameters: no difference."),
        table(("step", "host", "check", "then", "now", "what"), rows) if rows else "",
        muted(f"{len(changed) - len(rows)} more rows are not shown.") if len(changed) > len(rows) else "",
    ))  # fmt: skip


# -- plan and approval -------------------------------------------------------------------------------------------------


def approval(record: Record) -> Markup:
    """Return what the run was held to, who approved what, and what each step was about to do; empty if nothing is known."""
    parts: list[object] = []
    if (parent := record.parent) is not None:
        link = tag("a", parent.run, href=f"../{parent.run}/report.html")
        parts.append(tag("p", "Resumes ", link, f" ({parent.status})."))
    if (plan := record.plan) is not None:
        held = "The steps that were approved are held to" if plan.partial else "Held to"
        parts.append(tag("p", f"{held} the plan ", code(plan.digest), f" ({many(plan.changes, 'change')})."))
    if record.approvals:
        rows = [
            ("", (a.time[:19], a.by, tag("span", a.word, class_="mark"), code(_how(a.how)), joined(a.what, tag("br"))))
            for a in record.approvals
        ]
        parts += [tag("h3", "Approved"), table(("time", "who", "word", "how", "what"), rows)]
    for step in record.steps:
        if step.planned:
            hosts: dict[str, list[str]] = {}
            for change in step.planned:
                hosts.setdefault(change.sentence, []).append(change.host)
            body = table(("hosts", "what"), (("", (", ".join(where), what)) for what, where in hosts.items()))
            count = tag("span", many(len(step.planned), "change"))
            parts.append(folded(f"{step.number} {step.title}", count, body, printed=True))
    return joined(parts)


def _how(how: str) -> str:
    return f"{how[:30]}…" if how.startswith("--approve") else how  # the whole digest stands above


# -- checks ------------------------------------------------------------------------------------------------------------

_CHECK = ("hosts", "check", "wanted", "seen", "result")


def checks(record: Record) -> Markup:
    """Return the checks: failed ones first, the rest by notebook and step; the same check on several hosts is one row."""
    failed = [(step, check) for step, check in record.checks if not check.ok]
    parts: list[object] = []
    if failed:
        rows = [
            (kind, (f"{step.number} {step.title}", *cells))
            for step, own in _by_step(failed)
            for kind, cells in _check_rows(own)
        ]
        parts += [tag("h3", f"{many(len(failed), 'check')} failed"), table(("step", *_CHECK), rows)]
    size = left = 0
    for step, own in _by_step(record.checks):
        bad = sum(not check.ok for check in own)
        body = table(_CHECK, _check_rows(sorted(own, key=lambda check: check.ok)))
        if size + len(body) > _CHECKS_LIMIT:
            left += len(own)
            continue
        size += len(body)
        count = note(False, f"{bad} of {len(own)} failed") if bad else note(True, f"{len(own)} ok")
        parts.append(folded(f"{step.number} {step.title}", count, body, opened=bool(bad), printed=True))
    if left:
        parts.append(muted(f"{many(left, 'check')} more, all counted above, stand in the notebooks."))
    return joined(parts) or muted("No step got as far as its checks.")


def _by_step(found: Iterable[tuple[StepRecord, Check]]) -> list[tuple[StepRecord, list[Check]]]:
    groups: dict[int, tuple[StepRecord, list[Check]]] = {}
    for step, check in found:
        groups.setdefault(id(step), (step, []))[1].append(check)
    return list(groups.values())


def _check_rows(own: Iterable[Check]) -> list[tuple[str, tuple[object, ...]]]:
    groups: dict[tuple[str, str, str, bool], list[str]] = {}
    for check in own:
        groups.setdefault((check.name, check.wanted, check.seen, check.ok), []).append(check.host)
    return [
        (
            "" if ok else "bad",
            (", ".join(dict.fromkeys(hosts)), name, code(wanted), code(seen), note(ok, "ok" if ok else "FAILED")),
        )
        for (name, wanted, seen, ok), hosts in groups.items()
    ]


# -- steps and commands ------------------------------------------------------------------------------------------------


def steps(record: Record) -> Markup:
    """Return the steps of each notebook with their commands."""
    parts: list[object] = []
    budget = _Budget(_COMMANDS_LIMIT)
    for chapter in record.chapters:
        proof, name = _PROOFS.get(chapter.proof, ""), f"{chapter.number} {chapter.name}"
        took = tag("small", span(chapter.seconds), class_="num")
        parts.append(
            tag("h3", joined((name, mark(chapter.status), tag("small", proof) if proof else "", took), " "))
        )  # fmt: skip
        file = chapter.notebook or f"{chapter.number}_{chapter.name}.ipynb"
        if (record.folder / file).exists():
            parts.append(tag("p", tag("a", file, href=file)))
        parts += [_step(step, budget) for step in chapter.steps] or [muted("No step of it is recorded.")]
    return joined(parts)


class _Budget:
    """How many characters of commands there is room for."""

    def __init__(self, left: int) -> None:
        self.left = left


def _step(step: StepRecord, budget: _Budget) -> Markup:
    counts = [
        many(step.hosts, "host") if step.hosts else "",
        many(step.changes, "change"),
        many(step.checks, "check") if step.checks else "",
        span(step.seconds),
    ]
    tail = joined(tag("span", text) for text in counts if text)
    summary = tag("p", step.summary[:_LONG]) if step.summary else ""
    return folded(
        joined((step.title, mark(step.status)), " "), tail, joined((summary, _commands(step.commands, budget)))
    )  # fmt: skip


def _commands(commands: Sequence[Command], budget: _Budget) -> Markup:
    """Render the commands; the same command on several hosts stands there once."""
    if not commands:
        return muted("No command was sent over SSH.")
    groups: dict[tuple[str, int, str], list[Command]] = {}
    for command in commands:
        groups.setdefault((command.text, command.exit, command.tail), []).append(command)
    parts = []
    for at, ((text, exit_code, tail), ran) in enumerate(groups.items()):
        hosts = Counter(command.host for command in ran)
        where = ", ".join(f"{host} ({count} times)" if count > 1 else host for host, count in hosts.items())
        ended = "exit 0" if exit_code == 0 else f"EXIT {exit_code}"
        left_out = len(text) - _LONG
        shown = text if left_out <= 0 else f"{text[:_LONG]}\n# ... {left_out:,} characters more in the ledger"
        block = f"# {where}: {ended}, {max(command.seconds for command in ran):.2f} s\n{shown}"
        block += f"\n{tail}" if tail else ""
        budget.left -= len(block)
        if budget.left < 0 and exit_code == 0:
            parts.append(f"# {many(len(groups) - at, 'command')} more: see the ledger")
            break
        parts.append(block)
    return tag("pre", joined(parts, "\n\n"))


# -- the record itself -------------------------------------------------------------------------------------------------


def evidence(record: Record, signature: str) -> Markup:
    """Return what an auditor asks for: who, with which versions, which files, and whether it is signed.

    Args:
        record: The run.
        signature: What is known of its signature.
    """
    parts: list[object] = [value_table({**record.facts, "signature": signature, "folder": record.folder.name})]
    for title, values in (
        ("Versions", record.versions),
        ("Notebooks, as hashes of their sources", record.notebooks),
        ("Host keys", record.host_keys),
    ):
        if values:
            parts += [tag("h3", title), value_table(values)]
    files = sorted(p for p in record.folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    rows = [
        ("", (tag("a", name, href=name), f"{path.stat().st_size:,}"))
        for path in files
        if (name := path.relative_to(record.folder).as_posix()) != "report.html"
    ]
    return joined((*parts, tag("h3", "Files"), table(("file", "bytes"), rows, (1,))))
