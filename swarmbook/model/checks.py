"""Verification: a check is what was wanted and what was seen; a table of them shows itself, or raises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from swarmbook.base.codes import Code
from swarmbook.base.errors import CheckFailed
from swarmbook.base.markup import Markup, tag
from swarmbook.base.plain import plain
from swarmbook.base.secrets import mask
from swarmbook.base.words import many

if TYPE_CHECKING:
    import pandas

__all__ = ["Check", "CheckTable", "Table", "equal"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        host: Where; ``cluster`` for what belongs to no single host.
        name: What was looked at.
        wanted: As text.
        seen: As text.
        ok: Whether it is as wanted.
        code: What it means when it is not.
    """

    host: str
    name: str
    wanted: str
    seen: str
    ok: bool
    code: Code = Code.CHECK_FAILED

    def to_json(self) -> dict[str, Any]:
        """Return the check as plain data; the code only where it says more than that the check failed."""
        data = asdict(self)
        code = data.pop("code")
        return data if code is Code.CHECK_FAILED else {**data, "code": code.value}


def equal(host: str, name: str, wanted: object, seen: object) -> Check:
    """Build a check that is fine when both read the same."""
    return Check(host, name, str(wanted), str(seen), str(wanted) == str(seen))


class Table:
    """Rows of text that show themselves: HTML for people, text for terminals, dicts for programs."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self.columns = list(columns)
        self.rows = [[mask(plain(str(cell))) for cell in row] for row in rows]

    @property
    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas frame; imported here, since pandas costs half a second that most kernels need not pay."""
        import pandas

        return pandas.DataFrame(self.rows, columns=self.columns)

    def to_json(self) -> list[dict[str, str]]:
        """Return the rows as dictionaries."""
        return [dict(zip(self.columns, row)) for row in self.rows]

    def to_text(self) -> str:
        """Render the rows in columns."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)

    def to_html(self) -> Markup:
        """Render the rows as an HTML table."""

        def row(kind: str, cells: Iterable[str]) -> Markup:
            # Words; JupyterLab sets tables as if they held numbers.
            return tag("tr", *(tag(kind, cell, style="text-align: left") for cell in cells))

        return tag(
            "table",
            tag("thead", row("th", self.columns)),
            tag("tbody", *(row("td", cells) for cells in self.rows)),
        )

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()


class CheckTable(Table):
    """Checks of one step, sorted as they came; ``raise_for_failures`` ends the step when one is not as wanted."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self.checks = list(checks)
        columns = ["host", "check", "wanted", "seen", "result"]
        super().__init__(columns, [[c.host, c.name, c.wanted, c.seen, "ok" if c.ok else "FAILED"] for c in self.checks])

    @property
    def failed(self) -> list[Check]:
        """The checks that are not as wanted."""
        return [check for check in self.checks if not check.ok]

    def to_json(self) -> list[dict[str, Any]]:
        return [
            {k: mask(plain(v)) if isinstance(v, str) else v for k, v in check.to_json().items()}
            for check in self.checks
        ]

    def raise_for_failures(self, next: str) -> None:
        """Raise when a check failed.

        Args:
            next: The command to type.

        Raises:
            CheckFailed: Names every failed check; its code is the first one that says more than that.
        """
        if self.failed:
            seen = "\n".join(f"{c.host}: {c.name}: wanted {c.wanted}, seen {c.seen}" for c in self.failed[:20])
            count = (
                f"{len(self.failed)} of {many(len(self.checks), 'check')} failed"
                if len(self.checks) > 1
                else "the check failed"
            )
            raise CheckFailed(
                count,
                where=", ".join(dict.fromkeys(c.host for c in self.failed)),
                seen=mask(seen),
                next=next,
                code=min((c.code for c in self.failed), key=lambda code: code is Code.CHECK_FAILED),
            )
