"""A reader: looks whether the last transfer that was acknowledged is to be seen, and what all accounts hold together."""

from __future__ import annotations

import itertools

from swarmbook.application.accounts import glance
from swarmbook.application.session import Client
from swarmbook.application.tally import Read, Tally
from swarmbook.base.errors import SwarmbookError

__all__ = ["SETTINGS", "Reader"]

#: A new session first catches up with what was committed before, and then reads what its member has: as an application would
#: that does not know of wsrep_sync_wait.
SETTINGS = ("SET SESSION wsrep_sync_wait = 1", "SELECT 1", "SET SESSION wsrep_sync_wait = 0")


class Reader:
    """Reads until no more is wanted.

    Args:
        client: Has its session.
        tally: Knows what was acknowledged, and counts.
        every_s: Seconds from one read's begin to the next one's at least.
    """

    def __init__(self, client: Client, tally: Tally, every_s: float) -> None:
        self._client, self._tally, self._every_s = client, tally, every_s

    def connect(self) -> None:
        """Get a session.

        Raises:
            SwarmbookError: There is none to be had.
        """
        self._client.session()

    def close(self) -> None:
        """Close the session."""
        self._client.close()

    def run(self) -> None:
        """Read, of one writer after the other."""
        for turn in itertools.count():
            if self._client.over:
                return
            began, latest = self._tally.now(), sorted(self._tally.latest().items())
            if latest:
                self.read(*latest[turn % len(latest)])
            self._client.rest(began + self._every_s - self._tally.now())

    def read(self, writer: int, number: int) -> None:
        """Look for one transfer that was acknowledged already.

        Args:
            writer: Whose.
            number: Its number.
        """
        try:
            found, total = glance(self._client.session(), writer, number)
        except SwarmbookError:
            self._client.lose()
            return
        self._tally.read(Read(self._tally.now(), not found, total))
