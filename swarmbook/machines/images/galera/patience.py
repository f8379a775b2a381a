"""How long a member may be silent before this one goes on without it: patient while the group changes, quick once it is settled.

Until the others have given up a silent member, nothing is committed anywhere, so they are to be quick about it. But a member that sends or
receives all data, or starts beside others that do, stands still for seconds on a machine that is busy: quick ones leave it behind, its
transfer breaks off, it begins again, and the next one is left behind in turn. So it is a matter of what goes on.

This file runs in the member's container (Python 3 alone, no package), and is imported by the book's tests.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PATIENT", "QUICK", "SETTLED_S", "Patience", "Timeouts", "as_options", "statements"]


@dataclass(frozen=True)
class Timeouts:
    """Seconds after which a silent member is suspected, and is left behind even if others still hear it."""

    suspect_s: float
    inactive_s: float


#: While the group changes; upstream's defaults.
PATIENT = Timeouts(5.0, 15.0)
#: Once it is settled, by the parameter ``galera_network``. Between sites, both are left as they are.
QUICK = {"lan": Timeouts(2.0, 6.0), "fast": Timeouts(1.0, 4.0)}
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

    def due(self, view: str, calm: bool, now: float) -> Timeouts | None:
        """Tell what is to be set now; None where nothing is.

        Args:
            view: The group's present view: another one after each change.
            calm: Whether this member is Synced: it neither gives nor takes data, and lags behind no one.
            now: Seconds of a clock that only grows.
        """
        if self._quick is None:
            return None
        if view != self._view or not calm:
            self._view, self._since = view, now
        wanted = self._quick if now - self._since >= SETTLED_S else PATIENT
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
    """Build the SQL that sets them: never one that is refused because the other is still too small.

    Args:
        timeouts: What is to be set.
    """
    suspect = f"SET GLOBAL wsrep_provider_evs_suspect_timeout = {timeouts.suspect_s:g};"
    inactive = f"SET GLOBAL wsrep_provider_evs_inactive_timeout = {timeouts.inactive_s:g};"
    return [inactive, suspect] if timeouts == PATIENT else [suspect, inactive]


def as_options(timeouts: Timeouts) -> list[str]:
    """Build the SQL that sets them on a server that has no variables for them, as MariaDB 10.11: the provider takes them in one string.

    Args:
        timeouts: What is to be set.
    """
    suspect, inactive = (
        f"evs.suspect_timeout=PT{timeouts.suspect_s:g}S",
        f"evs.inactive_timeout=PT{timeouts.inactive_s:g}S",
    )
    first, second = (inactive, suspect) if timeouts == PATIENT else (suspect, inactive)
    return [f"SET GLOBAL wsrep_provider_options = '{first};{second}';"]
