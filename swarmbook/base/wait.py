"""Waiting, always bounded: fast polls first, then slower, and an error that carries the last thing seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from swarmbook.base.activity import doing
from swarmbook.base.codes import Code
from swarmbook.base.errors import WaitTimeout

__all__ = ["wait_for"]

#: Longest rest, in seconds, after a probe that took long.
_REST_S = 3.0

T = TypeVar("T")


def wait_for(
    what: str,
    probe: Callable[[], tuple[bool, T]],
    *,
    timeout_s: float,
    where: str | None = None,
    next: str | None = None,
    code: Code | None = None,
    first_s: float = 0.05,
    slowest_s: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Poll until a probe is satisfied.

    Example:
        >>> states = iter(["Joiner", "Joined", "Synced"])
        >>> wait_for("sw2 is Synced", lambda: ((state := next(states)) == "Synced", state), timeout_s=5)
        'Synced'

    Args:
        what: What is waited for, for the message.
        probe: Returns whether it is there, and what was seen.
        timeout_s: Seconds after which to give up.
        where: Host or object.
        next: The command to type when it does not come.
        code: What its not coming is; by default just that.
        first_s: First pause, seconds; each pause is half as long again as the one before.
        slowest_s: Longest pause, seconds; after a probe that took longer than that, as long as the probe, up to 3 s.

    Returns:
        What the satisfied probe saw.

    Raises:
        WaitTimeout: It did not come in time; carries the last thing seen.
    """
    started = clock()
    pause = first_s
    with doing("", f"waits: {what}") as say:
        while True:
            asked = clock()
            done, seen = probe()
            if done:
                return seen
            now = clock()
            left = timeout_s - (now - started)
            if left <= 0:
                raise WaitTimeout(
                    f"{what}: not within {timeout_s:g} s", where=where, seen=str(seen), next=next, code=code
                )
            if isinstance(seen, str) and seen:
                say(f"waits: {what} (now {seen})")
            # Who is slow to answer is busy: asking takes half of the time at most, so that it is not we who keep it busy.
            sleep(min(max(pause, min(now - asked, _REST_S)), left))
            pause = min(pause * 1.5, slowest_s)
