"""What makes a cluster this one and no other: its machines, its database's identity, a row that was written into it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pymysql

from .conftest import ADMIN, Lab

__all__ = ["Identity"]

_SQL = 3306


class Identity:
    """Of one lab's cluster, as it was seen last."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.machines: dict[str, tuple[str, str]] = {}
        self.uuid = ""
        self.marker = ""

    def note(self) -> None:
        """After a kill, in whatever state it left the cluster: what was there is there, and what is new counts from now on."""
        known = self._inventory()
        wrong = [node for node, was in self.machines.items() if node in known and known[node] != was]
        assert not wrong, f"{wrong} are other machines: {self.machines}, now {known}"
        self.machines.update(known)
        if not self.uuid and self.lab.machine("n1").there:
            # A database that has been founded keeps its identity from now on, also where no run has verified it yet.
            look = "cd /var/lib/docker/volumes/galera-data/_data 2>/dev/null && test -e bootstrapped && sed -n 's/^uuid: *//p' data/grastate.dat"
            _, said = self.lab.machine("n1").try_sh(look)
            if len(said) == 36 and set(said) - set("0-"):
                self.uuid = said

    def same(self) -> None:
        """The finished cluster that was there before; the first time it is marked."""
        known = self._inventory()
        assert set(known) == set(self.lab.params["nodes"]) and {**known, **self.machines} == known, (
            f"{self.machines}, now {known}"
        )
        self.machines = known
        uuids = {str(self._ask(node, "SHOW STATUS LIKE 'wsrep_cluster_state_uuid'")[0][1]) for node in known}
        assert len(uuids) == 1 and self.uuid in ("", *uuids), f"{self.uuid} was the database's cluster, now {uuids}"
        self.uuid = uuids.pop()
        if not self.marker:
            self._ask("n1", "CREATE TABLE app.fire (word VARCHAR(80) PRIMARY KEY) ENGINE=InnoDB")
            self._ask("n1", f"INSERT INTO app.fire VALUES ('{self.uuid}')")
            self.marker = self.uuid
        for node in known:
            # What was committed on the other one has to have come here.
            rows = self._ask(node, "SET SESSION wsrep_sync_wait = 7", "SELECT word FROM app.fire")
            assert rows == [(self.marker,)], f"the row is gone on {node}: {rows}"

    def forget(self, *, machines: bool) -> None:
        """What is taken away on purpose need not be there."""
        self.uuid = self.marker = ""
        if machines:
            self.machines = {}

    def _inventory(self) -> dict[str, tuple[str, str]]:
        return {node["name"]: (node["id"], node["host_key"]) for node in self._nodes()}

    def _nodes(self) -> list[dict[str, Any]]:
        file = self.lab.folder / "cluster.json"
        found: list[dict[str, Any]] = json.loads(file.read_text())["nodes"] if file.exists() else []
        return found

    def _ask(self, node: str, *queries: str) -> list[tuple[Any, ...]]:
        end = next(entry for entry in self._nodes() if entry["name"] == node)["ports"][str(_SQL)]
        connection = pymysql.connect(
            host="localhost", port=end["port"], user=ADMIN, autocommit=True,
            ssl=self.lab.admin(), connect_timeout=60, read_timeout=120,
        )  # fmt: skip
        with contextlib.closing(connection), connection.cursor() as cursor:
            for query in queries:
                cursor.execute(query)
            return list(cursor.fetchall())
