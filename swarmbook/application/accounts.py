"""The accounts and the transfers between them: their tables, and what the application says to the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swarmbook.application.session import Session
from swarmbook.base.errors import ForeignData

__all__ = [
    "ACCOUNTS",
    "EACH",
    "TABLES",
    "TOTAL",
    "Bank",
    "Transfer",
    "begin_transfer",
    "drop",
    "glance",
    "prepare",
    "read_bank",
    "settled",
    "there",
]

#: How many accounts, what each holds at the beginning, and all of them always.
ACCOUNTS, EACH = 32, 1000
TOTAL = ACCOUNTS * EACH
#: The comment on the tables: only those that have it are removed.
MARK = "made by swarmbook use"
_ACCOUNT, _TRANSFER = TABLES = "swarmbook_use_account", "swarmbook_use_transfer"


@dataclass(frozen=True)
class Transfer:
    """What goes from one account to another.

    Args:
        source: Number of the account that pays.
        target: Number of the other.
        amount: How much.
    """

    source: int
    target: int
    amount: int


@dataclass(frozen=True)
class Bank:
    """All that one member shows of it, read behind what was committed before.

    Args:
        balances: By account.
        transfers: Number of the writer, number of its transfer, and the transfer; in the order of the table.
    """

    balances: Mapping[int, int]
    transfers: tuple[tuple[int, int, Transfer], ...]


def prepare(session: Session) -> None:
    """Make the tables, in place of those that an application before has left, and fill the accounts."""
    drop(session)
    session.ask(f"CREATE TABLE {_ACCOUNT} (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB COMMENT='{MARK}'")
    # The primary key lets a transfer in once, however often a client that lost its connection sends it.
    session.ask(
        f"CREATE TABLE {_TRANSFER} (writer INT, number INT, source INT NOT NULL, target INT NOT NULL, amount BIGINT NOT NULL, "
        f"PRIMARY KEY (writer, number)) ENGINE=InnoDB COMMENT='{MARK}'"
    )
    session.write(f"INSERT INTO {_ACCOUNT} VALUES (%s, %s)", [(number, EACH) for number in range(ACCOUNTS)])  # noqa: S608
    session.commit()


def drop(session: Session) -> None:
    """Remove the tables.

    Raises:
        ForeignData: A table of such a name is not the application's own; none is removed then.
    """
    found = session.ask(
        "SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN (%s, %s)",
        *TABLES,
    )
    foreign = sorted(str(table) for table, comment in found if comment != MARK)
    if foreign:
        raise ForeignData(
            f"a table of the application's name is someone else's: {', '.join(foreign)}; none was removed",
            where="the database of mariadb_database",
            wanted=f"no such table, or one with the comment '{MARK}'",
            next="rename it, then: swarmbook use PARAMS",
        )
    for table in TABLES:
        session.ask(f"DROP TABLE IF EXISTS {table}")


def settled(one: int, other: int, wish: int, balances: Mapping[int, int]) -> Transfer:
    """Say who pays whom: of two accounts the richer one, and no more than it has.

    Args:
        one: Number of an account.
        other: Number of another.
        wish: How much is to be paid.
        balances: What they hold.

    Example:
        >>> settled(3, 7, 10, {3: 4, 7: 0})
        Transfer(source=3, target=7, amount=4)
    """
    source, target = (one, other) if balances[one] >= balances[other] else (other, one)
    return Transfer(source, target, min(wish, balances[source]))


def begin_transfer(session: Session, writer: int, number: int, one: int, other: int, wish: int) -> Transfer:
    """Do everything of a transfer but the COMMIT: lock both accounts, read, compute here, write.

    An application that computes what it writes is what a lost update would hurt.

    Raises:
        Failed: A statement failed, or the connection was lost.
    """
    first, second = sorted((one, other))
    rows = session.ask(
        f"SELECT id, balance FROM {_ACCOUNT} WHERE id IN (%s, %s) ORDER BY id FOR UPDATE",  # noqa: S608
        first,
        second,
    )
    balances = {int(id): int(balance) for id, balance in rows}
    transfer = settled(one, other, wish, balances)
    update = f"UPDATE {_ACCOUNT} SET balance = %s WHERE id = %s"  # noqa: S608
    session.ask(update, balances[transfer.source] - transfer.amount, transfer.source)
    session.ask(update, balances[transfer.target] + transfer.amount, transfer.target)
    session.ask(
        f"INSERT INTO {_TRANSFER} VALUES (%s, %s, %s, %s, %s)",  # noqa: S608
        writer,
        number,
        transfer.source,
        transfer.target,
        transfer.amount,
    )
    return transfer


def there(session: Session, writer: int, number: int) -> bool:
    """Tell whether a transfer is in the database."""
    found = session.ask(f"SELECT 1 FROM {_TRANSFER} WHERE writer = %s AND number = %s", writer, number)  # noqa: S608
    return bool(found)


def glance(session: Session, writer: int, number: int) -> tuple[bool, int]:
    """Read in one statement whether a transfer is there, and what all accounts hold together."""
    found = session.ask(
        f"SELECT (SELECT COUNT(*) FROM {_TRANSFER} WHERE writer = %s AND number = %s), (SELECT SUM(balance) FROM {_ACCOUNT})",  # noqa: S608
        writer,
        number,
    )
    session.commit()  # which ends the snapshot
    return bool(found[0][0]), int(found[0][1] or 0)


def read_bank(session: Session) -> Bank:
    """Read everything, behind all that was committed anywhere before, in one snapshot."""
    session.ask("SET SESSION wsrep_sync_wait = 1")
    session.ask("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    balances = {int(id): int(held) for id, held in session.ask(f"SELECT id, balance FROM {_ACCOUNT}")}  # noqa: S608
    rows = session.ask(f"SELECT writer, number, source, target, amount FROM {_TRANSFER}")  # noqa: S608
    session.commit()
    return Bank(balances, tuple((int(w), int(n), Transfer(int(s), int(t), int(a))) for w, n, s, t, a in rows))
