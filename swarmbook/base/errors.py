"""Every error a user can meet, as one tree.

::

    SwarmbookError                 exit 3
    ├── CheckFailed                exit 1   a verification row is not as wanted
    ├── UsageError                 exit 2   what was asked for is wrong
    │   ├── ParameterError                  a parameter file or a parameter
    │   ├── ConfirmationMissing             a destructive step was not confirmed
    │   └── OutOfOrder                      a notebook run before the one it stands on
    ├── WorldError                 exit 3   the world is not as expected
    │   ├── EngineUnavailable               no Docker Engine, or one that does not start
    │   ├── HostUnreachable                 SSH or the engine's API does not answer
    │   │   └── LoginRefused                it answers, and does not let us in
    │   ├── HostKeyMismatch                 the host is not the one met before
    │   ├── CommandFailed                   a command on a host exited non-zero
    │   ├── ForeignData                     a disk, a folder or a name belongs to somebody else
    │   ├── ProviderError                   who rents out machines says no, or does not answer
    │   ├── OrderUncertain                  something was sent there, and nobody knows whether it was done
    │   ├── LockHeld                        another run works on this cluster
    │   ├── PlanMismatch                    the world is no longer as it was when the plan was made
    │   └── WaitTimeout                     a bounded wait ran out
    └── Interrupted                exit 130 SIGINT or SIGTERM

Messages say what, where, seen against wanted, and the next command; what is known of it (:mod:`swarmbook.base.known`) they add themselves.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CheckFailed",
    "CommandFailed",
    "ConfirmationMissing",
    "EngineUnavailable",
    "ForeignData",
    "HostKeyMismatch",
    "HostUnreachable",
    "Interrupted",
    "LockHeld",
    "LoginRefused",
    "OrderUncertain",
    "OutOfOrder",
    "ParameterError",
    "PlanMismatch",
    "ProviderError",
    "SwarmbookError",
    "UsageError",
    "WaitTimeout",
    "WorldError",
    "exit_code_for",
]


class SwarmbookError(Exception):
    """Base of all errors of this library.

    Args:
        what: One sentence: what is wrong.
        where: Host, file or object it is about.
        wanted: What was expected.
        seen: What was found instead.
        next: The command to type, or the mend, in one line.
    """

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        wanted: str | None = None,
        seen: str | None = None,
        next: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.wanted = wanted
        self.seen = seen
        self.next = next

    def __str__(self) -> str:
        from swarmbook.base.known import find  # here, since most processes never show an error

        failure = find(f"{self.what}\n{self.seen or ''}")
        told = {
            "where": self.where,
            "wanted": self.wanted,
            "seen": self.seen,
            "means": failure and failure.means,
            "next": self.next,
        }
        if failure is not None:
            told["more"] = f"swarmbook explain {failure.name}"
        lines = [self.what]
        for label, value in told.items():
            if value:
                head, *rest = str(value).rstrip().splitlines() or [""]
                lines.append(f"  {label + ':':<8}{head}")
                lines.extend(f"          {line}" for line in rest)
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:  # kept whole when it crosses a process border
        return (_rebuild, (type(self), self.what, self.where, self.wanted, self.seen, self.next))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the message, which says what to do."""
        import os
        import traceback

        if os.environ.get("SWARMBOOK_DEBUG"):
            return traceback.format_exception(self)
        return f"{type(self).__name__}: {self}".splitlines()


def _rebuild(
    cls: type[SwarmbookError], what: str, where: str | None, wanted: str | None, seen: str | None, next: str | None
) -> SwarmbookError:
    return cls(what, where=where, wanted=wanted, seen=seen, next=next)


class CheckFailed(SwarmbookError):
    """A verification table holds a row that is not as wanted."""

    exit_code = 1


class UsageError(SwarmbookError, ValueError):
    """What was asked for is wrong; nothing was touched."""

    exit_code = 2


class ParameterError(UsageError):
    """One or more mistakes in parameters; the message lists them all."""


class ConfirmationMissing(UsageError):
    """A step that destroys or spends was not confirmed."""


class OutOfOrder(UsageError):
    """A notebook was run before the one it stands on."""


class WorldError(SwarmbookError, RuntimeError):
    """The world is not as expected."""


class EngineUnavailable(WorldError):
    """No Docker Engine is within reach, or it does not start."""


class HostUnreachable(WorldError):
    """A host does not answer, or does not let us in."""


class LoginRefused(HostUnreachable):
    """A host answers over SSH, and does not let us in."""


class HostKeyMismatch(WorldError):
    """A host shows another key than the one pinned at first contact."""


class CommandFailed(WorldError):
    """A command on a host exited non-zero."""


class ForeignData(WorldError):
    """Something that would be overwritten is not ours."""


class ProviderError(WorldError):
    """Who rents out machines says no, or does not answer."""


class OrderUncertain(WorldError):
    """A call that is not done twice was sent, and its answer was lost."""


class LockHeld(WorldError):
    """Another run holds this cluster's lock."""


class PlanMismatch(WorldError):
    """A step would do something else than the plan says."""


class WaitTimeout(WorldError, TimeoutError):
    """A bounded wait ran out; carries the last thing seen."""


class Interrupted(SwarmbookError):
    """The run was interrupted by SIGINT or SIGTERM."""

    exit_code = 130


def exit_code_for(name: str) -> int:
    """Exit code for an error known by class name only, as a notebook's output carries it.

    Args:
        name: A class name, such as ``CheckFailed``.

    Returns:
        The exit code of that class; 3 for any name that is not in the tree.
    """
    found = globals().get(name)
    if isinstance(found, type) and issubclass(found, SwarmbookError):
        return found.exit_code
    return SwarmbookError.exit_code
