"""Every error a user can meet, as one tree.

::

    SwarmbookError                 exit 3
    ├── CheckFailed                exit 1   a verification row is not as wanted
    ├── UsageError                 exit 2   what was asked for is wrong
    │   ├── ParameterError                  a parameter file or a parameter
    │   ├── ConfirmationMissing             a destructive step was not confirmed
    │   └── OutOfOrder                      a notebook ran before the one it depends on
    ├── WorldError                 exit 3   the world is not as expected
    │   ├── EngineUnavailable               no Docker Engine, or one that does not start
    │   ├── HostUnreachable                 SSH or the engine's API does not answer
    │   │   └── LoginRefused                it answers, and refuses our login
    │   ├── HostKeyMismatch                 the host shows another key than before
    │   ├── CommandFailed                   a command on a host exited non-zero
    │   ├── ForeignData                     a disk, a folder or a name that is not ours
    │   ├── ProviderError                   the provider of machines refuses, or does not answer
    │   ├── OrderUncertain                  a request was sent there; whether it was done is unknown
    │   ├── LockHeld                        another run works on this cluster
    │   ├── PlanMismatch                    the cluster changed after the plan was made
    │   └── WaitTimeout                     a bounded wait ran out
    └── Interrupted                exit 130 SIGINT or SIGTERM

Messages say what, where, seen against wanted, and the next command. Nothing reads them back: programs, known failures
(:mod:`swarmbook.base.known`) and tests go by an error's :class:`~swarmbook.base.codes.Code`.
"""

from __future__ import annotations

import contextlib
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.base.plain import plain

__all__ = [
    "ERROR_MIME",
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


#: An error as data, in the outputs of the cell that it ended.
ERROR_MIME = "application/vnd.swarmbook.error+json"


class SwarmbookError(Exception):
    """Base of all errors of this library.

    Args:
        what: One sentence: what is wrong.
        where: Host, file or object it is about.
        wanted: What was expected.
        seen: What was found instead.
        next: The command to type, or the fix, in one line.
        code: What programs know it by; by default that of its class.

    Example:
        >>> raise WorldError("the disk of n1 is full", where="n1", code=Code.DISK_FULL)
        Traceback (most recent call last):
        swarmbook.base.errors.WorldError: the disk of n1 is full...
    """

    exit_code = 3
    code: Code = Code.FAILED

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        wanted: str | None = None,
        seen: str | None = None,
        next: str | None = None,
        code: Code | None = None,
    ) -> None:
        super().__init__(what)
        # Much of it is what a host, an engine or a service has said.
        self.what = plain(what)
        self.where, self.wanted, self.seen, self.next = (text and plain(text) for text in (where, wanted, seen, next))
        if code is not None:
            self.code = Code(code)

    def __str__(self) -> str:
        from swarmbook.base.known import find  # here, since most processes never show an error

        failure = find(self.code, self.seen)
        fields = {
            "where": self.where,
            "wanted": self.wanted,
            "seen": self.seen,
            "means": failure and failure.means,
            "next": self.next,
        }
        if failure is not None:
            fields["more"] = f"swarmbook explain {failure.name}"
        lines = [self.what]
        for label, value in fields.items():
            if value:
                head, *rest = str(value).rstrip().splitlines() or [""]
                lines.append(f"  {label + ':':<8}{head}")
                lines.extend(f"          {line}" for line in rest)
        return plain("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:  # whole when it crosses a process border
        return (_rebuild, (type(self), self.what, self.where, self.wanted, self.seen, self.next, self.code))

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message in place of a traceback, and the run its code: a cell's error holds words only."""
        import os
        import traceback

        _show_as_data(self)
        if os.environ.get("SWARMBOOK_DEBUG"):
            return traceback.format_exception(self)
        return f"{type(self).__name__}: {self}".splitlines()


def _show_as_data(error: SwarmbookError) -> None:
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import display

        if getattr(get_ipython(), "kernel", None) is not None:
            display({ERROR_MIME: {"code": error.code.value}}, raw=True)


def _rebuild(
    cls: type[SwarmbookError],
    what: str,
    where: str | None,
    wanted: str | None,
    seen: str | None,
    next: str | None,
    code: Code,
) -> SwarmbookError:
    return cls(what, where=where, wanted=wanted, seen=seen, next=next, code=code)


class CheckFailed(SwarmbookError):
    """A verification table holds a row that is not as wanted."""

    exit_code = 1
    code = Code.CHECK_FAILED


class UsageError(SwarmbookError, ValueError):
    """What was asked for is wrong; nothing was touched."""

    exit_code = 2
    code = Code.USAGE


class ParameterError(UsageError):
    """One or more mistakes in parameters; the message lists them all."""

    code = Code.PARAMETERS_WRONG


class ConfirmationMissing(UsageError):
    """A step that destroys or spends was not confirmed."""

    code = Code.NOT_CONFIRMED


class OutOfOrder(UsageError):
    """A notebook ran before the one it depends on."""

    code = Code.OUT_OF_ORDER


class WorldError(SwarmbookError, RuntimeError):
    """The world is not as expected."""

    code = Code.UNEXPECTED


class EngineUnavailable(WorldError):
    """No Docker Engine is within reach, or it does not start."""

    code = Code.ENGINE_UNAVAILABLE


class HostUnreachable(WorldError):
    """A host does not answer, or refuses our login."""

    code = Code.HOST_UNREACHABLE


class LoginRefused(HostUnreachable):
    """A host answers over SSH, and refuses our login."""

    code = Code.LOGIN_REFUSED


class HostKeyMismatch(WorldError):
    """A host shows another key than the one pinned at first contact."""

    code = Code.HOST_KEY_CHANGED


class CommandFailed(WorldError):
    """A command on a host exited non-zero."""

    code = Code.COMMAND_FAILED


class ForeignData(WorldError):
    """Something that would be overwritten is not ours."""

    code = Code.FOREIGN_DATA


class ProviderError(WorldError):
    """The provider of machines refuses, or does not answer."""

    code = Code.PROVIDER_FAILED


class OrderUncertain(WorldError):
    """A request that must not be repeated was sent, and its answer was lost."""

    code = Code.ORDER_UNCERTAIN


class LockHeld(WorldError):
    """Another run holds this cluster's lock."""

    code = Code.LOCK_HELD


class PlanMismatch(WorldError):
    """A step would do something other than the plan."""

    code = Code.PLAN_MISMATCH


class WaitTimeout(WorldError, TimeoutError):
    """A bounded wait ran out; carries the last thing seen."""

    code = Code.WAIT_TIMEOUT


class Interrupted(SwarmbookError):
    """The run was interrupted by SIGINT or SIGTERM."""

    exit_code = 130
    code = Code.INTERRUPTED


def exit_code_for(name: str) -> int:
    """Return the exit code of an error known by class name only, as a notebook's output carries it.

    Args:
        name: A class name, such as ``CheckFailed``.

    Returns:
        The exit code of that class; 3 for any name that is not in the tree.
    """
    found = globals().get(name)
    if isinstance(found, type) and issubclass(found, SwarmbookError):
        return found.exit_code
    return SwarmbookError.exit_code
