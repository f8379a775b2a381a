"""How long a member may be silent before this one goes on without it: patient while the group changes, quick once it is settled.

Until the others have given up a silent member, nothing is committed anywhere, so they are to be quick about it. But a member that sends or
receives all data, or starts beside others that do, stands still for seconds on a machine that is busy: quick ones leave it behind, its
transfer breaks off, it begins again, and the next one is left behind in turn. So it is a matter of what goes on.

It is a matter of size, too: what each says, each of the others confirms to all. Where fifteen members said every 0.3 s that they are there,
and all were short of CPU, the group did nothing else (measured: two minutes without one message delivered).

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LARGE", "MOST", "PATIENT", "QUICK", "SETTLED_S", "Patience", "Timeouts", "as_options", "statements"]


@dataclass(frozen=True)
class Timeouts:
    """Periods of the group's, each in seconds.

    Args:
        suspect_s: After so long, a silent member is suspected.
        inactive_s: After so long, it is left behind even if others still hear it.
        keepalive_s: A member that has nothing to say says so after so long.
        again_s: While the group changes, a member repeats its vote after so long.
    """

    suspect_s: float
    inactive_s: float
    keepalive_s: float
    again_s: float = 0.3


#: While the group changes; upstream's defaults, but for the votes: with 1 s, a join takes two seconds longer (measured).
PATIENT = Timeouts(5.0, 15.0, 1.0)
#: Once it is settled, by the parameter ``galera_network``. Between sites, all are left as they are.
QUICK = {"lan": Timeouts(2.0, 6.0, 0.3), "fast": Timeouts(1.0, 4.0, 0.3)}
#: Members up to which a group is quick.
MOST = 7
#: A larger one, always.
LARGE = Timeouts(10.0, 30.0, 1.0, 1.0)
#: Seconds without a change after which the group counts as settled.
SETTLED_S = 10.0


class Patience:
    """What one member is to be set to, look after look.

    Args:
        network: The parameter ``galera_network``.
    """

    def __init__(self, network: str) -> None:
        self._quick = QUICK.get(network)
        self._set: Timeouts | None = PATIENT if self._quick else None  # what a server starts with
        self._view = ""
        self._since = float("-inf")

    def due(self, view: str, calm: bool, now: float, members: int) -> Timeouts | None:
        """Tell what is to be set now; None where nothing is.

        Args:
            view: The group's present view: another one after each change.
            calm: Whether this member is Synced: it neither gives nor takes data, and lags behind no one.
            now: Seconds of a clock that only grows.
            members: How many are in it.
        """
        if self._quick is None:
            return None
        if view != self._view or not calm:
            self._view, self._since = view, now
        settled = now - self._since >= SETTLED_S
        # A large group that falls apart is a large one still: its parts are to find each other again.
        large = members > MOST or (self._set == LARGE and not calm)
        wanted = LARGE if large else self._quick if settled else PATIENT
        return wanted if wanted != self._set else None

    def is_set(self, timeouts: Timeouts) -> None:
        """Note what was set."""
        self._set = timeouts

    def put_off(self, now: float) -> None:
        """Count the time without a change from now on again: another member is not calm yet.

        Args:
            now: Seconds of the same clock.
        """
        self._since = now


def statements(timeouts: Timeouts) -> list[str]:
    """Build the SQL that sets them.

    Args:
        timeouts: What is to be set.
    """
    return [f"SET GLOBAL wsrep_provider_evs_{name} = {seconds:g};" for name, seconds in _steps(timeouts)]


def as_options(timeouts: Timeouts) -> list[str]:
    """Build the SQL that sets them on a server that has no variables for them, as MariaDB 10.11: the provider takes them in a string.

    Args:
        timeouts: What is to be set.
    """
    return [f"SET GLOBAL wsrep_provider_options = 'evs.{name}=PT{seconds:g}S';" for name, seconds in _steps(timeouts)]


def _steps(timeouts: Timeouts) -> list[tuple[str, float]]:
    # Galera refuses a suspicion that is longer than the other timeout, so that is at its longest meanwhile.
    return [
        ("inactive_timeout", LARGE.inactive_s),
        ("suspect_timeout", timeouts.suspect_s),
        ("inactive_timeout", timeouts.inactive_s),
        ("keepalive_period", timeouts.keepalive_s),
        ("join_retrans_period", timeouts.again_s),
    ]
