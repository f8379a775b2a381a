"""HTTP, as much of it as a health check speaks: what an agent answers with, and who has heard it.

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

__all__ = ["ASKS_S", "Heard", "serve"]

#: Seconds in which everyone who goes by the answer asks again; who has not asked for longer does not.
ASKS_S = 2.0


class Heard:
    """Who asks for the writer, and when each did so last, and before that.

    One that asks again has done what follows from the answer before: HAProxy asks one question after the other.
    """

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, float]] = {}

    def note(self, who: str, asked: float) -> None:
        """Note that someone asked.

        Args:
            who: The asker's address.
            asked: When, before the answer was looked up: seconds, of a clock that only goes forward.
        """
        # Who asks no more is forgotten. The whole is replaced at once, since another thread reads it.
        before = self._asked.get(who, (0.0, 0.0))[1]
        self._asked = {each: two for each, two in self._asked.items() if two[1] > asked - ASKS_S} | {
            who: (before, asked)
        }

    def all_since(self, moment: float) -> bool:
        """Tell whether everyone who asks has asked twice since a moment, and so goes by what is said from then on."""
        return all(before >= moment for before, last in self._asked.values() if last > moment - ASKS_S)

    def wait(self, most_s: float) -> None:
        """Wait until everyone who asks goes by what is said from now on.

        Args:
            most_s: Seconds to wait at most: one that asks no more has no say.
        """
        now = time.monotonic()
        while not self.all_since(now) and time.monotonic() - now < most_s:
            time.sleep(0.01)


def serve(answer: Callable[[str], tuple[int, str]], heard: Heard, listener: socket.socket) -> None:
    """Answer one connection after the other: an answer takes no time, and a client that does is hung up on.

    Args:
        answer: Returns the status and the body for a path.
        heard: Keeps who asked for the writer.
        listener: Where clients come.
    """
    while True:
        connection, (who, *_) = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(0.3)
            request = connection.recv(1024)
            words = request.split(b"\r\n", 1)[0].split()
            path, asked = words[1].decode("ascii", "replace") if len(words) > 1 else "", time.monotonic()
            code, body = answer(path) if path else (400, "")
            head = f"HTTP/1.0 {code} -\r\nContent-Type: text/plain\r\nContent-Length: {len(body) + 1}\r\nConnection: close\r\n\r\n"
            connection.sendall(f"{head}{body}\n".encode())
            if path == "/writer":
                heard.note(who, asked)
