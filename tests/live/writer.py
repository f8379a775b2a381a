"""A client that writes all the time, and remembers what was acknowledged."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.constants import ER

from .conftest import Lab, until

SQL = 3306
#: Seconds in which a writer has handed over.
_FENCED_S = 10


def ask(lab: Lab, node: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    host, _, port = lab.end(node, SQL).partition(":")
    assert host == "127.0.0.1"
    connection = pymysql.connect(
        host="localhost", port=int(port), user="app", password=lab.secret("galera-password"), database="app",
        ssl=ssl.create_default_context(cafile=str(lab.ca("database"))), autocommit=True, connect_timeout=10, read_timeout=60,
    )  # fmt: skip
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


class Writer:
    """Writes rows, and keeps the number of each that was acknowledged; a commit that fails is tried once more, at the next member.

    Args:
        lab: Where.
        nodes: Of the members that it knows; it stays at one until that fails.
    """

    def __init__(self, lab: Lab, nodes: Sequence[str]) -> None:
        self.lab, self.nodes = lab, list(nodes)
        self.acknowledged: list[int] = []
        self.lost_twice: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        ask(lab, nodes[0], "CREATE TABLE IF NOT EXISTS rows_written (number BIGINT PRIMARY KEY)")
        ask(lab, nodes[0], "TRUNCATE TABLE rows_written")

    def _write(self) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            failed, until_s = 0, time.monotonic() + _FENCED_S
            while failed < 2:
                try:
                    ask(self.lab, self.nodes[0], "INSERT IGNORE INTO rows_written VALUES (%s)", number)
                    self.acknowledged.append(number)
                    break
                except (pymysql.MySQLError, OSError) as error:
                    self.nodes = [*self.nodes[1:], self.nodes[0]]
                    if error.args[0] == ER.OPTION_PREVENTS_STATEMENT and time.monotonic() < until_s:
                        continue  # a reader, which has said so; while the writer hands over, all of them do
                    failed += 1
                    if failed == 2:
                        self.lost_twice.append(str(error))

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def kept(self, node: str) -> set[int]:
        return {row[0] for row in ask(self.lab, node, "SELECT number FROM rows_written")}


@contextlib.contextmanager
def written(lab: Lab, nodes: list[str], clients: Sequence[str]) -> Iterator[None]:
    """All that was acknowledged meanwhile is on all of these nodes in the end, and nothing failed twice."""
    with Writer(lab, clients) as writer:
        yield
    assert writer.acknowledged and not writer.lost_twice, writer.lost_twice[:5]
    for node in nodes:
        until(lambda node=node: set(writer.acknowledged) <= writer.kept(node), why=f"rows are missing on {node}")
