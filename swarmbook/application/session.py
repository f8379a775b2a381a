"""A session with the database, as an application has one: over TLS, by a user and a password, and lost at any moment."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pymysql

from swarmbook.base.border import foreign, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import SwarmbookError, WorldError
from swarmbook.base.secrets import Secret
from swarmbook.base.wait import wait_for

__all__ = ["PATIENCE_S", "Client", "Door", "Failed", "Login", "Session", "log_in"]

#: Seconds that the server's greeting, a statement or a COMMIT is waited for: the endpoint keeps a new client waiting for 10 s at most.
PATIENCE_S = 15.0
#: Seconds for TCP alone, which a node that is there accepts at once, writer or not: a node that is gone costs no more than this
#: before the next address is tried. Two packets may be lost, which are sent again after 1 s each.
_CONNECT_S = 3


class Failed(WorldError):
    """A statement failed, or the connection was lost.

    Args:
        what: As of every error.
        number: The server's own number of the error; 0 where the server said nothing: the connection was lost.
    """

    code = Code.DATABASE_FAILED

    def __init__(self, what: str, *, number: int = 0, **fields: Any) -> None:
        super().__init__(what, **fields)
        self.number = number


@dataclass(frozen=True)
class Login:
    """Who logs in.

    Args:
        user: Its name.
        password: Its password.
        database: Where it works.
    """

    user: str
    password: Secret
    database: str


class Door(Protocol):
    """One way to the database: an address of the endpoint, say."""

    @property
    def name(self) -> str:
        """What it is called, for a person."""

    def open(self) -> Session:
        """Log in by this way.

        Raises:
            SwarmbookError: It is closed just now.
        """


class Session:
    """One connection that is logged in; the adapter of PyMySQL.

    Args:
        connection: PyMySQL's.
        where: What it leads to, for messages.
    """

    def __init__(self, connection: Any, where: str) -> None:
        self._connection, self._where = connection, where

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and return its rows.

        Raises:
            Failed: It failed, or the connection was lost.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                return list(cursor.fetchall())
        except Exception as error:
            raise _ours(error, "the database refused a statement, or the connection was lost", self._where) from None

    def write(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Execute a statement for each of several rows.

        Raises:
            Failed: It failed, or the connection was lost.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(sql, rows)
        except Exception as error:
            raise _ours(error, "the database refused a statement, or the connection was lost", self._where) from None

    def commit(self) -> None:
        """End the transaction; when it returns, the database has acknowledged it.

        Raises:
            Failed: It was refused, or the connection was lost, and then it may have been done.
        """
        try:
            self._connection.commit()
        except Exception as error:
            raise _ours(error, "no COMMIT", self._where) from None

    def close(self) -> None:
        """Close it; a transaction that is open is rolled back by the server."""
        with contextlib.suppress(Exception):  # of a connection that is lost already
            self._connection.close()


def _ours(error: Exception, what: str, where: str) -> Exception:
    if not foreign(error):
        return error
    number = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
    # The client's own numbers, from 2000 on, say that the connection was lost, and nothing of what the server did.
    server = number if isinstance(number, int) and not 2000 <= number < 3000 else 0
    return Failed(what, number=server, where=where, seen=words(error), next="swarmbook status PARAMS")


def log_in(where: str, host: str, port: int, login: Login, context: ssl.SSLContext) -> Session:
    """Log in over TLS.

    Args:
        where: What it leads to, for messages.
        host: Name or address.
        port: There.
        login: Who logs in.
        context: Holds the server's certificate to a name.

    Raises:
        Failed: It does not let us in.
    """
    try:
        connection = pymysql.connect(
            host=host,
            port=port,
            user=login.user,
            # PyMySQL would encode a text as Latin-1.
            password=login.password.reveal().encode(),
            database=login.database,
            ssl=context,
            connect_timeout=_CONNECT_S,
            read_timeout=PATIENCE_S,
            write_timeout=PATIENCE_S,
        )
    except Exception as error:
        raise _ours(error, f"{where} does not let the application in", where) from None
    return Session(connection, where)


class Client:
    """Who has a session while there is one to be had: opens another one by the next door when it was lost.

    Args:
        doors: The ways; a client stays with one until that fails.
        first: Number of the one that it begins with.
        over: Set when no more is wanted.
        met: Hears the name of the member that each new session leads to.
        settings: Statements for each new session, before anything else.

    Attributes:
        member: What the session leads to, or the one before led to.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        first: int,
        over: threading.Event,
        met: Callable[[str], None],
        settings: Sequence[str] = (),
    ) -> None:
        self._doors, self._at, self._over, self._met, self._settings = doors, first, over, met, settings
        self._session: Session | None = None
        self.member = ""

    @property
    def over(self) -> bool:
        """Whether no more is wanted."""
        return self._over.is_set()

    def rest(self, seconds: float) -> None:
        """Rest for so long, or until no more is wanted."""
        self._over.wait(max(0.0, seconds))

    def session(self) -> Session:
        """Return the session; opened if there is none.

        Raises:
            SwarmbookError: No door opens, or no more is wanted.
        """
        if self._session is None:
            self._session = self._open()
        return self._session

    def lose(self) -> None:
        """Close the session and go on to the next door."""
        self.close()
        self._at += 1

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> Session:
        def attempt() -> tuple[bool, Session | str]:
            if self.over:
                raise Failed("no more is wanted", where="the application", seen="it was stopped", next="none")
            door = self._doors[self._at % len(self._doors)]
            try:
                session = door.open()
                try:
                    for setting in self._settings:
                        session.ask(setting)
                    member = str(session.ask("SELECT @@wsrep_node_name")[0][0])
                    session.commit()
                except SwarmbookError:
                    session.close()
                    raise
            except SwarmbookError as error:
                self._at += 1
                return False, f"{door.name}: {error.seen or error.what}"
            self.member = member
            self._met(member)
            return True, session

        found = wait_for(
            "a way to the database",
            attempt,
            timeout_s=2 * PATIENCE_S,
            where=", ".join(door.name for door in self._doors),
            next="swarmbook status PARAMS",
            first_s=0.05,
            slowest_s=0.5,
            sleep=self.rest,
        )
        assert isinstance(found, Session)
        return found
