"""The report of a run: one HTML file without scripts, which loads nothing."""

from __future__ import annotations

from pathlib import Path

from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_atomic
from swarmbook.base.markup import Markup, joined, tag
from swarmbook.base.secrets import mask
from swarmbook.base.words import typed
from swarmbook.model.record import Record
from swarmbook.record import sections
from swarmbook.record.page import framed, utc, value_table
from swarmbook.record.pictures import lanes, topology
from swarmbook.record.reader import read_record
from swarmbook.record.runs import earlier

__all__ = ["report_html", "write_report"]


def report_html(record: Record, *, before: Record | None = None, signature: str = "") -> str:
    """Return the report as one page.

    Args:
        record: The run.
        before: The run to compare with.
        signature: What is known of the run's signature; nothing means unsigned.
    """
    cluster = str(record.parameters.get("cluster") or record.folder.parent.name)
    signature = signature or "unsigned"
    parts: dict[str, tuple[str, Markup]] = {
        "difference": ("Difference to the last run", sections.difference(record, before)),
        "approval": ("Plan and approval", sections.approval(record)),
        "timeline": ("Timeline", lanes(record)),
        "topology": ("Topology", topology(record)),
        "checks": ("Checks", sections.checks(record)),
        "steps": ("Steps and commands", sections.steps(record)),
        "parameters": ("Parameters", value_table(dict(sorted(record.parameters.items())))),
        "record": ("Record", sections.evidence(record, signature)),
    }
    parts = {key: (title, part) for key, (title, part) in parts.items() if part}
    links = tag("nav", *(tag("a", title, href=f"#{key}") for key, (title, _) in parts.items()), aria_label="Sections")
    top = tag("h1", f"Run of {cluster}, {utc(record.began)}"), sections.head(record, signature)
    body = joined(
        (tag("section", tag("h2", title), part, id=key, class_="chunk") for key, (title, part) in parts.items()), "\n"
    )
    skip = tag("a", "To the checks", class_="skip", href="#checks")
    page = joined((skip, tag("header", *top, links), tag("main", "\n", body, "\n")), "\n")
    return mask(framed(f"{record.status}: run of {cluster}, {utc(record.began)}", page))


def write_report(folder: Path, *, before: Path | None = None, signature: str = "", out: Path | None = None) -> Path:
    """Write ``report.html`` into a run's folder, or elsewhere.

    Args:
        folder: The run's folder.
        before: Folder of the run to compare with; by default the last one that ran the same notebooks.
        signature: What is known of the run's signature; nothing means unsigned.
        out: The file to write, for a folder that is sealed already.

    Raises:
        UsageError: It is no run's folder, or it is sealed and no other file is named.
        OSError: It cannot be written.
    """
    record = read_record(folder)
    if out is None and (record.folder / "manifest.json").exists():
        raise UsageError(
            "this run is sealed: writing its report again would break its record",
            where=str(record.folder),
            next=f"swarmbook report {typed(folder)} --out FILE.html",
        )
    earlier_run = read_record(before) if before else earlier(record)
    path = out or record.folder / "report.html"
    write_atomic(path, report_html(record, before=earlier_run, signature=signature))
    return path
