"""What 08 says of tables that are not replicated."""

from __future__ import annotations

import pytest

from swarmbook.phases.galera.tables import Table, replicated

M, P = Table("app.m", "MyISAM"), Table("app.p", "InnoDB")


@pytest.mark.parametrize(
    ("found", "known", "fine", "seen"),
    [
        ((), [], True, "none"),
        ((M, P), [], False, "app.m (MyISAM), app.p (no primary key)"),
        ((M, P), ["app.m"], False, "app.p (no primary key), but for app.m"),
        ((M,), ["app.m", "app.other"], True, "none, but for app.m"),
        (None, [], False, "no member said"),
        (tuple(Table(f"app.t{n}", "Aria") for n in range(12)), [], False, "and 2 others"),
        (tuple(Table(f"app.t{n}", "Aria") for n in range(200)), [], False, "and 190 or more others"),
    ],
)
def test_what_is_said(found: tuple[Table, ...] | None, known: list[str], fine: bool, seen: str) -> None:
    check = replicated(found, known)
    assert check.ok is fine and seen in check.seen
