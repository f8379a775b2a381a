"""How soon a member's agent looks again; pure.

A look costs a query, and where the server does not answer, a whole process of the client's. On a busy computer looks take longer;
an agent that looked again at once would make it busier still.
"""

from __future__ import annotations

__all__ = ["BUSY_S", "EVERY_S", "FRESH_S", "SILENT_S", "Pace"]

#: Seconds from one look to the next.
EVERY_S = 0.1
#: Age, in seconds, from which a look says nothing any more.
FRESH_S = 1.0
#: Longest pause, in seconds, while the server does not answer: it starts, or waits for its data.
SILENT_S = 1.0
#: Longest pause, in seconds, after a look that took long.
BUSY_S = 0.3


class Pace:
    """Remembers for how long the server has been silent."""

    def __init__(self) -> None:
        self._every = EVERY_S

    def pause(self, took_s: float, *, answered: bool) -> float:
        """Return the seconds to rest after a look.

        Args:
            took_s: Seconds that the look took.
            answered: Whether the server answered.
        """
        self._every = EVERY_S if answered else min(self._every * 2, SILENT_S)
        # An agent that has not looked for FRESH_S takes itself for one that was frozen, and a writer steps back: the next look ends before.
        left_s = 0.95 * FRESH_S - 2 * took_s
        return max(self._every - took_s, min(took_s, BUSY_S, left_s), 0.0)
