"""The report of a run: one HTML file without scripts, which loads nothing; and the index over a cluster's runs."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_atomic
from swarmbook.base.secrets import mask
from swarmbook.record.pictures import lanes, topology
from swarmbook.record.record import Found, Ran, Record, StepView, earlier, read_record, runs_in

__all__ = ["index_html", "report_html", "write_index", "write_report"]

_COMMANDS_LIMIT = 800_000  # characters; what is beyond stays in the ledger, and the report says so
_CHECKS_LIMIT = 700_000
_LONG = 4_000
_WORDS = {
    "completed": ("good", "✔", "Completed"),
    "failed": ("bad", "✘", "Failed"),
    "kernel-died": ("bad", "✘", "Failed: the kernel died"),
    "timeout": ("bad", "✘", "Failed: a time limit"),
    "interrupted": ("warn", "■", "Interrupted"),
    "running": ("warn", "?", "No end recorded: still running, or killed"),
    "not-run": ("muted", "·", "not run"),
    "pending": ("muted", "·", "not run"),
}
_PROOFS = {
    "verified": "<small>as the earlier run left it</small>",
    "drifted": "<small>had drifted, and was mended</small>",
}


def _e(text: object) -> str:
    return html.escape(str(text))


def _mark(status: str) -> str:
    kind, sign, word = _WORDS.get(status, ("warn", "?", status))
    return f'<span class="mark {kind}">{sign} {_e(word if kind != "good" else "ok")}</span>'


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "unknown"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _page(title: str, body: str) -> str:
    style = files("swarmbook.record").joinpath("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_e(title)}</title>\n<style>\n{style}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _rows(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already; each row with its class."""
    number = dict.fromkeys(numbers, ' class="num"')
    head = "".join(f"<th{number.get(at, '')}>{column}</th>" for at, column in enumerate(columns))
    lines = []
    for kind, cells in rows:
        body = "".join(f'<td{number.get(at, "")} data-c="{columns[at]}">{cell}</td>' for at, cell in enumerate(cells))
        lines.append(f'<tr class="{kind}">{body}</tr>' if kind else f"<tr>{body}</tr>")
    return f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _plain_table(values: Mapping[str, Any]) -> str:
    return _rows(
        ("name", "value"), (("", (_e(key), f"<code>{_e(_value(value))}</code>")) for key, value in values.items())
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, sort_keys=True, default=str)


# -- the parts ---------------------------------------------------------------------------------------------------------


def _verdict(record: Record) -> str:
    kind, sign, word = _WORDS.get(record.status, ("warn", "?", record.status))
    at = next((c for c in record.chapters if c[2] not in ("completed", "not-run", "pending")), None)
    where = f" in {at[0]} {at[1]}" if at and record.status != "completed" else ""
    missed = sum(1 for c in record.chapters if c[2] in ("not-run", "pending"))
    total = max(sum(step.checks for step in record.steps), len(record.checks))
    told = f"{_many(total, 'check')}, {record.failed} failed"
    if record.status == "completed" and not record.failed:
        told = f"All {_many(total, 'check')} as wanted" if total else "No checks"
    told += f"; {_many(record.changes, 'change')}" + (f"; {_many(missed, 'notebook')} not run" if missed else "") + "."
    note = f"<p><b>{_e(record.facts['note'])}</b></p>" if "note" in record.facts else ""
    failures = "".join(f"<pre>{_e(text)}</pre>" for text in record.failures)
    if record.broken:
        failures += f"<p><b>■ Its ledger does not hold together: {_e(record.broken)}.</b> What stands below may have been changed.</p>"
    return f'<div class="verdict {kind}"><b>{sign} {_e(word)}{_e(where)}</b>{note}<p>{told}</p>{failures}</div>'


def _briefly(signature: str) -> str:
    """The whole of it stands in the record's section."""
    if signature.startswith("signed by "):
        return "signed; signer not checked"
    return signature.partition(":" if signature.startswith("does not fit") else ",")[0]


def _tiles(record: Record, signature: str) -> str:
    ran = [chapter[0] for chapter in record.chapters if chapter[2] not in ("not-run", "pending")]
    tiles = {
        "began": _utc(record.began), "took": _span(record.seconds), "exit code": "none" if record.exit_code is None else record.exit_code,
        "notebooks run": ", ".join(ran) or "none", "commands on hosts": f"{len(record.commands):,}", "signature": _briefly(signature),
    }  # fmt: skip
    return (
        '<dl class="tiles">'
        + "".join(f"<div><dt>{_e(k)}</dt><dd>{_e(v)}</dd></div>" for k, v in tiles.items())
        + "</dl>"
    )


def _checks(record: Record) -> str:
    """Failed ones first; the rest by notebook and step, the same check on several hosts in one row."""

    def grouped(checks: Iterable[Found]) -> list[tuple[Found, list[str]]]:
        groups: dict[tuple[str, ...], tuple[Found, list[str]]] = {}
        for check in checks:
            groups.setdefault((check.number, check.step, check.name, check.wanted, check.seen), (check, []))[1].append(
                check.host
            )
        return list(groups.values())

    def row(check: Found, hosts: list[str], step: bool) -> tuple[str, list[str]]:
        result = '<span class="mark good">✔ ok</span>' if check.ok else '<span class="mark bad">✘ FAILED</span>'
        cells = [
            _e(", ".join(dict.fromkeys(hosts))),
            _e(check.name),
            f"<code>{_e(check.wanted)}</code>",
            f"<code>{_e(check.seen)}</code>",
            result,
        ]
        return ("" if check.ok else "bad"), ([f"{_e(check.number)} {_e(check.step)}", *cells] if step else cells)

    columns = ["hosts", "check", "wanted", "seen", "result"]
    failed = [check for check in record.checks if not check.ok]
    parts = []
    if failed:
        parts.append(
            f"<h3>{_many(len(failed), 'check')} failed</h3>"
            + _rows(["step", *columns], (row(c, h, True) for c, h in grouped(failed)))
        )
    size = left = 0
    steps: dict[tuple[str, str], list[Found]] = {}
    for check in record.checks:
        steps.setdefault((check.number, check.step), []).append(check)
    for (number, title), checks in steps.items():
        bad = sum(not check.ok for check in checks)
        table = _rows(columns, (row(c, h, False) for c, h in grouped(sorted(checks, key=lambda check: check.ok))))
        if size + len(table) > _CHECKS_LIMIT:
            left += len(checks)
            continue
        size += len(table)
        told = (
            f'<span class="bad mark">✘ {bad} of {len(checks)} failed</span>'
            if bad
            else f'<span class="good mark">✔ {len(checks)} ok</span>'
        )
        parts.append(
            f'<details class="open"{" open" if bad else ""}><summary><span class="what">{_e(number)} {_e(title)}</span>'
            f'<span class="tail">{told}</span></summary>{table}</details>'
        )
    if left:
        parts.append(f'<p class="muted">{_many(left, "check")} more, all counted above, stand in the notebooks.</p>')
    return "".join(parts) or '<p class="muted">No step got as far as its checks.</p>'


def _steps(record: Record) -> str:
    parts, budget = [], [_COMMANDS_LIMIT]
    for number, name, status, seconds, proof in record.chapters:
        steps = [step for step in record.steps if step.number == number]
        body = "".join(_step(step, budget) for step in steps) or '<p class="muted">No step of it is recorded.</p>'
        link = f"{number}_{name}.ipynb"
        there = f'<p><a href="{_e(link)}">{_e(link)}</a></p>' if (record.folder / link).exists() else ""
        parts.append(
            f'<h3>{_e(number)} {_e(name)} {_mark(status)} {_PROOFS.get(proof, "")} <small class="num">{_span(seconds)}</small></h3>{there}{body}'
        )
    return "".join(parts)


def _step(step: StepView, budget: list[int]) -> str:
    counts = [
        _many(step.hosts, "host") if step.hosts else "",
        _many(step.changes, "change"),
        _many(step.checks, "check") if step.checks else "",
    ]
    tail = "".join(f"<span>{text}</span>" for text in [*filter(None, counts), _span(step.seconds)])
    said = f"<p>{_e(step.said[:_LONG])}</p>" if step.said else ""
    return (
        f'<details><summary><span class="what">{_e(step.title)} {_mark(step.status)}</span><span class="tail">{tail}</span></summary>'
        f"{said}{_commands(step.commands, budget)}</details>"
    )


def _commands(commands: Sequence[Ran], budget: list[int]) -> str:
    """The same command on several hosts is told once."""
    if not commands:
        return '<p class="muted">No command was sent over SSH.</p>'
    groups: dict[tuple[str, int, str], list[Ran]] = {}
    for command in commands:
        groups.setdefault((command.text, command.exit, command.tail), []).append(command)
    parts = []
    for at, ((text, code, tail), ran) in enumerate(groups.items()):
        hosts = Counter(command.host for command in ran)
        where = ", ".join(f"{host} ({count} times)" if count > 1 else host for host, count in hosts.items())
        head = (
            f"# {where}: {'exit 0' if code == 0 else f'EXIT {code}'}, {max(command.seconds for command in ran):.2f} s"
        )
        shown = (
            text if len(text) <= _LONG else f"{text[:_LONG]}\n# ... {len(text) - _LONG:,} characters more in the ledger"
        )
        block = _e("\n".join(filter(None, (head, shown, tail))))
        budget[0] -= len(block)
        if budget[0] < 0 and code == 0:
            parts.append(f"# {_many(len(groups) - at, 'command')} more: see the ledger")
            break
        parts.append(block)
    return "<pre>" + "\n\n".join(parts) + "</pre>"


def _difference(record: Record, before: Record | None) -> str:
    if before is None:
        return '<p class="muted">There is no earlier run of these notebooks to compare with.</p>'
    both = {c[0] for c in record.chapters if c[2] not in ("not-run", "pending")} & {
        c[0] for c in before.chapters if c[2] not in ("not-run", "pending")
    }

    def key(check: Found) -> tuple[str, str, str, str]:
        return check.number, check.step, check.host, check.name

    new = {key(check): check for check in record.checks if check.number in both}
    old = {key(check): check for check in before.checks if check.number in both}
    shared = new.keys() & old.keys()
    turned = [k for k in new if k in shared and new[k].ok != old[k].ok]
    changed = [
        k
        for k in new
        if k in shared and new[k].ok == old[k].ok and (new[k].seen, new[k].wanted) != (old[k].seen, old[k].wanted)
    ]
    rows: list[tuple[str, Sequence[str]]] = []
    for k in [*turned, *changed][:60]:
        was, now = old[k], new[k]
        word = ("✔ mended" if now.ok else "✘ broke") if k in turned else "other value"
        cells = (
            f"{_e(k[0])} {_e(k[1])}",
            _e(k[2]),
            _e(k[3]),
            f"<code>{_e(was.seen)}</code>",
            f"<code>{_e(now.seen)}</code>",
            word,
        )
        rows.append(("" if now.ok else "bad", cells))
    parameters = sorted(
        name
        for name in record.parameters.keys() | before.parameters.keys()
        if record.parameters.get(name, "") != before.parameters.get(name, "")
    )
    # A run of other notebooks declares other parameters: only those that both have can differ.
    parameters = [name for name in parameters if name in record.parameters and name in before.parameters]
    name = before.folder.name
    link = (
        f'<a href="../{_e(name)}/report.html">{_e(name)}</a>' if (before.folder / "report.html").exists() else _e(name)
    )
    told = [
        f"same {len(shared) - len(turned) - len(changed):,}", f"mended {sum(new[k].ok for k in turned)}", f"broke {sum(not new[k].ok for k in turned)}",
        f"other value {len(changed):,}", f"new {len(new.keys() - old.keys()):,}", f"gone {len(old.keys() - new.keys()):,}",
    ]  # fmt: skip
    head = (
        f"<p>Against {link} ({_e(before.status)}, {_span(before.seconds)}, {_many(before.changes, 'change')}): "
        f"{_span(record.seconds)} and {_many(record.changes, 'change')} now.</p>"
        f"<p>Checks of the notebooks that both ran ({_e(', '.join(sorted(both)) or 'none')}): {', '.join(told)}.</p>"
    )
    more = (
        f'<p class="muted">{len(turned) + len(changed) - len(rows)} more rows are not shown.</p>'
        if len(turned) + len(changed) > len(rows)
        else ""
    )
    table = _rows(("step", "host", "check", "then", "now", "what"), rows) + more if rows else ""
    other = [
        (
            "",
            (
                _e(n),
                f"<code>{_e(_value(before.parameters[n]))}</code>",
                f"<code>{_e(_value(record.parameters[n]))}</code>",
            ),
        )
        for n in parameters
    ]
    said = _rows(("parameter", "then", "now"), other) if other else "<p>Parameters: no difference.</p>"
    return head + said + table


def _link(name: str) -> str:
    return f'<a href="{_e(name)}">{_e(name)}</a>'


def _plan(record: Record) -> str:
    """What the run was held to, who said yes to what, and what each step was about to do."""
    parts = []
    if "parent" in record.facts:
        parent = json.loads(record.facts["parent"])
        name = _e(parent.get("run", "?"))
        parts.append(f'<p>Resumes <a href="../{name}/report.html">{name}</a> ({_e(parent.get("status", "?"))}).</p>')
    rows: list[tuple[str, Sequence[str]]] = []
    for event in record.approvals:
        if event.get("event") == "approval":
            what = "<br>".join(_e(line) for line in event.get("what") or ())
            how = str(event.get("how", ""))
            how = f"{how[:30]}…" if how.startswith("--approve") else how  # the whole digest stands above
            by, word = _e(event.get("by", "")), f'<span class="mark">{_e(event.get("word", ""))}</span>'
            rows.append(("", (_e(event.get("time", ""))[:19], by, word, f"<code>{_e(how)}</code>", what)))
        elif "digest" in event:
            held = "The steps that were said yes to are held to" if event.get("partial") else "Held to"
            parts.append(
                f"<p>{held} the plan <code>{_e(event['digest'])}</code> ({_many(int(event.get('changes') or 0), 'change')}).</p>"
            )
    if rows:
        parts.append("<h3>Approved</h3>" + _rows(("time", "who", "word", "how", "what"), rows))
    for event in record.approvals:
        if event.get("event") != "plan" or "digest" in event:
            continue
        changes = event.get("changes") or []
        hosts: dict[str, list[str]] = {}
        for change in changes:
            hosts.setdefault(str(change.get("detail") or change.get("action")), []).append(str(change.get("host")))
        table = _rows(("hosts", "what"), (("", (_e(", ".join(where)), _e(what))) for what, where in hosts.items()))
        head = f'<span class="what">{_e(event.get("number", ""))} {_e(event.get("title", ""))}</span><span class="tail"><span>{_many(len(changes), "change")}</span></span>'
        parts.append(f'<details class="open"><summary>{head}</summary>{table}</details>')
    return "".join(parts)


def _record(record: Record, signature: str) -> str:
    """What an auditor asks for: who, with which versions, which files, and whether it is signed."""
    facts = {**record.facts, "signature": signature, "folder": record.folder.name}
    parts = [_plain_table(facts)]
    for title, values in (
        ("Versions", record.versions),
        ("Notebooks, as hashes of their sources", record.notebooks),
        ("Host keys", record.host_keys),
    ):
        if values:
            parts.append(f"<h3>{title}</h3>{_plain_table(values)}")
    skipped = {"report.html"}
    there = sorted(
        path
        for path in record.folder.rglob("*")
        if path.is_file() and path.name not in skipped and not path.name.startswith(".")
    )
    parts.append(
        "<h3>Files</h3>"
        + _rows(
            ("file", "bytes"),
            (("", (_link(p.relative_to(record.folder).as_posix()), f"{p.stat().st_size:,}")) for p in there),
            (1,),
        )
    )
    return "".join(parts)


def report_html(record: Record, *, before: Record | None = None, signature: str = "") -> str:
    """The report as one page.

    Args:
        record: The run.
        before: The run to compare with.
        signature: What is known of the run's signature; nothing means unsigned.
    """
    cluster = str(record.parameters.get("cluster") or record.folder.parent.name)
    signature = signature or "unsigned"
    sections = [
        ("difference", "Difference to the last run", _difference(record, before)),
        ("timeline", "Timeline", lanes(record)),
        ("topology", "Topology", topology(record)),
        ("checks", "Checks", _checks(record)),
        ("steps", "Steps and commands", _steps(record)),
        ("parameters", "Parameters", _plain_table(dict(sorted(record.parameters.items())))),
        ("record", "Record", _record(record, signature)),
    ]
    if record.approvals or "parent" in record.facts:
        sections.insert(1, ("approval", "Plan and approval", _plan(record)))
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in sections)
    body = "\n".join(
        f'<section id="{key}" class="chunk"><h2>{title}</h2>{part}</section>' for key, title, part in sections
    )
    top = f"<h1>Run of {_e(cluster)}, {_utc(record.began)}</h1>{_verdict(record)}{_tiles(record, signature)}"
    page = f'<a class="skip" href="#checks">To the checks</a>\n<header>{top}<nav aria-label="Sections">{links}</nav></header>\n<main>\n{body}\n</main>'
    return mask(_page(f"{record.status}: run of {cluster}, {_utc(record.began)}", page))


def write_report(folder: Path, *, before: Path | None = None, signature: str = "", out: Path | None = None) -> Path:
    """Write ``report.html`` into a run's folder, or elsewhere.

    Args:
        folder: The run's folder.
        out: The file to write, for a folder that is sealed already.
        before: Folder of the run to compare with; by default the last one that ran the same notebooks.
        signature: What is known of the run's signature; nothing means unsigned.

    Raises:
        UsageError: It is no run's folder, or it is sealed and no other file is named.
        OSError: It cannot be written.
    """
    record = read_record(folder)
    if out is None and (record.folder / "manifest.json").exists():
        raise UsageError(
            "this run is sealed: a page written anew would break its record",
            where=str(record.folder),
            next=f"swarmbook report {folder} --out FILE.html",
        )
    earlier_run = read_record(before) if before else earlier(record)
    path = out or record.folder / "report.html"
    write_atomic(path, report_html(record, before=earlier_run, signature=signature))
    return path


# -- the index ---------------------------------------------------------------------------------------------------------


def _brief(folder: Path) -> tuple[str, list[str], int]:
    """One run's row, from its summary alone: an index over a thousand runs must not read a thousand notebooks."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        chapters = [c for c in summary["chapters"] if c["status"] not in ("not-run", "pending")]
        failed = sum(step["failed"] for c in chapters for step in c["steps"])
        status, seconds, changes = str(summary["status"]), float(summary["seconds"]), int(summary["changes"])
    except (OSError, ValueError, LookupError, TypeError):
        status, seconds, changes, failed, chapters = "running", 0.0, 0, 0, []
    numbers = [str(c["number"]) for c in chapters]
    name = _e(folder.name)
    link = (
        f'<a href="{name}/report.html">{name}</a>'
        if (folder / "report.html").exists()
        else f'<a href="{name}/">{name}</a>'
    )
    what = _e(" ".join(numbers) or "nothing recorded")
    cells = [
        link,
        what,
        _mark(status),
        f"{seconds:,.1f}",
        f"{changes:,}",
        f'<span class="bad mark">✘ {failed}</span>' if failed else "0",
    ]
    return ("bad" if _WORDS.get(status, ("warn",))[0] == "bad" else ""), cells, failed


def index_html(parent: Path) -> str:
    """The history of a cluster's runs, the newest first.

    Args:
        parent: The cluster's folder of runs.
    """
    rows = [_brief(folder) for folder in reversed(runs_in(parent))]
    table = _rows(
        ("run (UTC)", "notebooks", "verdict", "seconds", "changes", "failed checks"),
        ((kind, cells) for kind, cells, _ in rows),
        (3, 4, 5),
    )
    title = f"Runs of {parent.name}"
    return mask(
        _page(title, f"<main><h1>{_e(title)}</h1><p>{_many(len(rows), 'run')}, the newest first.</p>{table}</main>")
    )


def write_index(parent: Path) -> Path:
    """Write ``index.html`` over a cluster's runs.

    Args:
        parent: The cluster's folder of runs.
    """
    path = parent / "index.html"
    write_atomic(path, index_html(parent))
    return path
