"""The oracle: holds the journals against the database; pure.

Every transfer that was acknowledged is there, once, as it was sent; nothing is there that no one sent, or that is known not to
have been done; each account holds what the transfers make of it, and all together what they held at the beginning. A transfer
of which no one knows what became of it may be there, and may not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarmbook.application.accounts import ACCOUNTS, EACH, TOTAL, Bank
from swarmbook.application.journal import Journal

__all__ = ["Verdict", "judge"]

#: A transfer by its writer's number and its own.
Key = tuple[int, int]


@dataclass(frozen=True)
class Verdict:
    """What the oracle says of one database.

    Args:
        acknowledged: How many transfers were acknowledged.
        lost: Those of them that are not there.
        twice: Transfers that are there more than once.
        strange: Transfers that are there and were never sent, were sent otherwise, or are known not to have been done.
        balances: Accounts that do not hold what the transfers make of them.
        total: What all accounts hold together.
        unknown_there: Transfers of which no one knew, and that are there.
        unknown_not: ... and that are not.
    """

    acknowledged: int
    lost: tuple[Key, ...]
    twice: tuple[Key, ...]
    strange: tuple[Key, ...]
    balances: tuple[int, ...]
    total: int
    unknown_there: int
    unknown_not: int

    @property
    def holds(self) -> bool:
        """Whether all of it held."""
        return not (self.lost or self.twice or self.strange or self.balances) and self.total == TOTAL


def judge(journals: Sequence[Journal], bank: Bank) -> Verdict:
    """Hold the journals of all writers against what one member shows.

    Args:
        journals: Of all writers.
        bank: What the member shows, read after the last writer had ended.
    """
    sent = {(j.writer, number): several for j in journals for number, several in j.begun.items()}
    acknowledged, undone, unknown = (
        {(j.writer, number) for j in journals for number in getattr(j, kind)}
        for kind in ("acknowledged", "undone", "unknown")
    )
    count = Counter((writer, number) for writer, number, _ in bank.transfers)
    strange = {
        (writer, number)
        for writer, number, transfer in bank.transfers
        if transfer not in sent.get((writer, number), ()) or (writer, number) in undone
    }
    held = dict.fromkeys(range(ACCOUNTS), EACH)
    for _, _, transfer in bank.transfers:
        held[transfer.source] = held.get(transfer.source, 0) - transfer.amount
        held[transfer.target] = held.get(transfer.target, 0) + transfer.amount
    accounts = sorted({*held, *bank.balances})
    return Verdict(
        len(acknowledged),
        _in_order(acknowledged - count.keys()),
        _in_order(key for key, times in count.items() if times > 1),
        _in_order(strange),
        tuple(number for number in accounts if bank.balances.get(number) != held.get(number)),
        sum(bank.balances.values()),
        len(unknown & count.keys()),
        len(unknown - count.keys()),
    )


def _in_order(keys: Iterable[Key]) -> tuple[Key, ...]:
    return tuple(sorted(keys))
