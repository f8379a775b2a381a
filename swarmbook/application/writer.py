"""A writer: makes transfers, one after the other; one that fails is tried once more, after connecting again."""

from __future__ import annotations

import random

from swarmbook.application.accounts import ACCOUNTS, begin_transfer, there
from swarmbook.application.journal import Keeper
from swarmbook.application.session import Client, Failed
from swarmbook.application.tally import Commit, Tally
from swarmbook.base.errors import SwarmbookError

__all__ = ["Writer"]

#: The server's words at COMMIT for: this was not done. It lost against another transaction; its member takes no writes any more.
_NOT_DONE = frozenset((1213, 1290))
#: ... and for: a row with this key is there already.
_THERE = 1062
_MOST = 10


class Writer:
    """Makes transfers until no more is wanted.

    Args:
        number: Its own; from 1 on.
        client: Has its session.
        keeper: Its journal.
        tally: Counts.
        every_s: Seconds from one transfer's begin to the next one's at least.
    """

    def __init__(self, number: int, client: Client, keeper: Keeper, tally: Tally, every_s: float) -> None:
        self._writer, self._client, self._keeper, self._tally = number, client, keeper, tally
        self._every_s = every_s
        self._draw = random.Random(number)

    def connect(self) -> None:
        """Get a session.

        Raises:
            SwarmbookError: There is none to be had.
        """
        self._client.session()

    def close(self) -> None:
        """Close the session and the journal."""
        self._client.close()
        self._keeper.close()

    def run(self) -> None:
        """Make transfers."""
        number = 0
        while not self._client.over:
            number += 1
            began = self._tally.now()
            self.transfer(number)
            self._client.rest(began + self._every_s - self._tally.now())

    def transfer(self, number: int) -> None:
        """Make one transfer, and note what became of it.

        Args:
            number: Its number; with the writer's own, the key by which the database knows it.
        """
        one, other = self._draw.sample(range(ACCOUNTS), 2)
        wish, began = self._draw.randint(1, _MOST), self._tally.now()
        unknown, why = False, ""
        for again in (False, True):
            sent = False
            try:
                session = self._client.session()
                # Its COMMIT may have been done, though no answer came.
                if not (unknown and there(session, self._writer, number)):
                    transfer = begin_transfer(session, self._writer, number, one, other, wish)
                    self._keeper.begun(number, transfer)
                    sent = True
                session.commit()
            except SwarmbookError as error:
                self._client.lose()
                said = error.number if isinstance(error, Failed) else 0
                if unknown and said == _THERE:
                    self._acknowledged(number, began, again)
                    return
                unknown = unknown or (sent and said not in _NOT_DONE)
                why = error.seen or error.what
                self._tally.failed()
                if self._client.over:
                    break
            else:
                self._acknowledged(number, began, again)
                return
        if unknown:
            self._keeper.unknown(number, why)
            self._tally.unknown()
        else:
            self._keeper.undone(number, why)
            self._tally.undone()

    def _acknowledged(self, number: int, began: float, again: bool) -> None:
        at = self._tally.now()
        self._keeper.acknowledged(number, at, at - began)
        self._tally.committed(self._writer, number, Commit(at, at - began, again, self._client.member))
