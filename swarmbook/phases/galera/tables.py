"""Tables that Galera does not replicate, or not well: each member would have its own rows."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, line
from swarmbook.model.checks import Check
from swarmbook.phases.support.members import of_service

__all__ = ["Table", "replicated", "tables_of"]

#: More are not listed.
_MOST = 200
#: How many the check names.
_NAMED = 10
#: https://galeracluster.com/library/documentation/limitations.html: InnoDB alone is replicated; without a primary key rows may come in another
#: order on each member, and DELETE does not work. Sequences and views hold no rows of this kind.
_QUERY = (
    "SELECT JSON_ARRAY(t.TABLE_SCHEMA, t.TABLE_NAME, COALESCE(t.ENGINE, 'broken')) FROM information_schema.TABLES t "
    "LEFT JOIN information_schema.TABLE_CONSTRAINTS k ON k.TABLE_SCHEMA = t.TABLE_SCHEMA AND k.TABLE_NAME = t.TABLE_NAME "
    "AND k.CONSTRAINT_TYPE = 'PRIMARY KEY' WHERE t.TABLE_TYPE = 'BASE TABLE' "
    "AND t.TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') "
    "AND (COALESCE(t.ENGINE, '') <> 'InnoDB' OR k.CONSTRAINT_NAME IS NULL) ORDER BY 1 LIMIT MOST; SELECT 'whole'"
).replace("MOST", str(_MOST))
_SCRIPT = """c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
docker exec "$c" mariadb --batch --raw --skip-column-names -e @{query} 2>/dev/null | as tables"""


@dataclass(frozen=True)
class Table:
    """A table that is not replicated, or not well.

    Args:
        name: ``DATABASE.TABLE``.
        engine: Its storage engine. InnoDB: it lacks a primary key.
    """

    name: str
    engine: str

    @property
    def why(self) -> str:
        return "no primary key" if self.engine == "InnoDB" else self.engine


def tables_of(service: str) -> Probe[tuple[Table, ...] | None]:
    """Ask a member for its tables of this kind; None where it does not serve.

    Args:
        service: The member's service.
    """
    return Probe(sh(_SCRIPT, running=of_service(service), query=_QUERY), _read)


def _read(facts: Facts) -> tuple[Table, ...] | None:
    said = [each for each in facts.get("tables", ()) if each]
    if said[-1:] != ["whole"]:
        return None
    rows = [json.loads(each) for each in said[:-1]]
    return tuple(Table(line(f"{database}.{table}"), line(str(engine))) for database, table, engine in rows)


def replicated(found: tuple[Table, ...] | None, known: Collection[str]) -> Check:
    """Check that every table is replicated.

    Args:
        found: Those that are not; None where no member said.
        known: ``mariadb_unreplicated``: those that may be so.
    """
    wanted = "none, or listed in mariadb_unreplicated"
    what = "tables that are not replicated, or lack a primary key"
    if found is None:
        return Check("cluster", what, wanted, "no member said", False)
    bad = [table for table in found if table.name not in known]
    listed = [f"{table.name} ({table.why})" for table in bad[:_NAMED]]
    if len(bad) > _NAMED:
        listed.append(f"and {len(bad) - _NAMED}{' or more' if len(found) == _MOST else ''} others")
    passed = sorted(table.name for table in found if table.name in known)
    seen = ", ".join(listed) or "none"
    return Check("cluster", what, wanted, seen + (f", but for {', '.join(passed)}" if passed else ""), not bad)
