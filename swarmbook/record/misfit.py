"""The first thing in a run's folder that does not fit, on its way to the report of an audit."""

from __future__ import annotations

from swarmbook.base.codes import Code

__all__ = ["CHANGED", "UNREAD", "UNVOUCHED", "Misfit"]

#: Exit codes of an audit: something does not fit; no run that can be audited; all fits, and nothing vouches for it.
CHANGED, UNREAD, UNVOUCHED = 1, 2, 4


class Misfit(Exception):
    """What does not fit.

    Args:
        finding: One sentence.
        exit_code: Of the audit.
        code: What programs know it by; by default that something was changed, or could not be read.
        next: What to do about it.
    """

    def __init__(self, finding: str, exit_code: int = CHANGED, code: Code | None = None, next: str = "") -> None:
        super().__init__(finding)
        self.exit_code, self.next = exit_code, next
        self.code = code or (Code.RECORD_NOT_READ if exit_code == UNREAD else Code.RECORD_CHANGED)
