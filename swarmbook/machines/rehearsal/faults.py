"""How the rehearsal misbehaves, as data."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["CALL_KINDS", "KINDS", "Fault", "FaultPlan", "HttpFailure", "ServiceError", "refusal"]

Kind = Literal[
    "slow", "lost-answer", "http-500", "rate-limit", "bad-credentials", "quota", "unknown-datacenter", "refused", "cancel-refused", "never-up", "no-private-address"
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
#: Those that meet a call; the others meet a machine.
CALL_KINDS = tuple(kind for kind in KINDS if kind not in ("never-up", "no-private-address"))


class ServiceError(Exception):
    """What the service refuses, in its own words.

    Args:
        code: The exception's name, as in XML-RPC's ``faultCode``. REST has it as ``code``, and the client drops it there.
        message: What it says.
        status: HTTP status over REST.
    """

    def __init__(self, code: str, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class HttpFailure(Exception):
    """An answer that is no answer of the API: a bare HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True)
class Fault:
    """One way to misbehave.

    Args:
        kind: ``slow``: the answer comes after ``seconds``, and the call is only then carried out. ``lost-answer``: it is
            carried out at once, and the answer comes after ``seconds``, when the client may have given up. ``http-500``: a bare
            HTTP error, nothing is done. ``rate-limit``, ``bad-credentials``, ``quota``, ``unknown-datacenter``,
            ``cancel-refused``, ``refused``: the service says no; nothing is done. ``never-up`` and ``no-private-address`` meet a
            machine when it is ordered.
        on: The call, as ``Virtual_Guest::createObject``, or the hostname of the machine; ``*``: any.
        times: How often; 0: always.
        seconds: For ``slow`` and ``lost-answer``.
        text: What the service says, where the usual words will not do.
    """

    kind: Kind
    on: str = "*"
    times: int = 0
    seconds: float = 0.0
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Parse a fault as typed: ``KIND[,on=CALL or HOSTNAME][,times=N][,seconds=S][,text=WORDS]``.

        Raises:
            ValueError: It is none.
        """
        kind, *rest = text.split(",")
        given = dict(part.split("=", 1) for part in rest if "=" in part)
        unknown = given.keys() - {field.name for field in dataclasses.fields(cls)} | given.keys() & {"kind"}
        if kind not in KINDS or unknown or len(given) != len(rest):
            raise ValueError(
                f"{text!r}: wanted KIND[,on=NAME][,times=N][,seconds=S], where KIND is one of {', '.join(KINDS)}"
            )
        return cls(
            kind,  # type: ignore[arg-type]
            given.get("on", "*"),
            int(given.get("times", 0)),
            float(given.get("seconds", 0)),
            given.get("text", ""),
        )


#: Code and words of each refusal. The rate limit's are the real ones (softlayer-python issue 884), and the client looks for
#: "Invalid API token."; the others are made up.
_REFUSALS: dict[str, tuple[str, str, int]] = {
    "rate-limit": (
        "SoftLayer_Exception_WebService_RateLimitExceeded",
        "Rate limit of 50 requests for every 1 second(s) exceeded.",
        429,
    ),
    "bad-credentials": ("SoftLayer_Exception_InvalidApiToken", "Invalid API token.", 401),
    "quota": ("SoftLayer_Exception_Public", "REHEARSAL: the account has reached its limit of virtual servers.", 500),
    "unknown-datacenter": ("SoftLayer_Exception_Public", "REHEARSAL: there is no such datacenter.", 500),
    "refused": ("SoftLayer_Exception_Public", "REHEARSAL: refused.", 500),
    "cancel-refused": (
        "SoftLayer_Exception_Public",
        "REHEARSAL: the server cannot be cancelled while a transaction is active.",
        500,
    ),
}


class FaultPlan:
    """The faults that are still to come; safe to use from several threads."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._guard = threading.Lock()
        self._left: list[tuple[Fault, int | None]] = [(fault, fault.times or None) for fault in faults]

    def add(self, fault: Fault, left: int | None = None) -> None:
        """Add a fault.

        Args:
            fault: Which.
            left: How often it is still to come; by default as often as it says.
        """
        with self._guard:
            self._left.append((fault, left or fault.times or None))

    def left(self) -> list[tuple[Fault, int | None]]:
        """List the faults still to come, and how often; None: always."""
        with self._guard:
            return list(self._left)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultPlan) and self.left() == other.left()

    __hash__ = None  # type: ignore[assignment]

    def clear(self) -> None:
        """Remove all faults: from now on, the cloud behaves."""
        with self._guard:
            self._left.clear()

    def take(self, kinds: Iterable[str], on: str) -> Fault | None:
        """Take the next fault of these kinds for a call or a machine, counted off; None if there is none."""
        wanted = tuple(kinds)
        with self._guard:
            for at, (fault, left) in enumerate(self._left):
                if (
                    fault.kind not in wanted
                    or fault.on not in ("*", on)
                    or (fault.kind == "cancel-refused" and not on.endswith("::deleteObject"))
                ):
                    continue
                if left is not None:
                    if left == 1:
                        del self._left[at]
                    else:
                        self._left[at] = (fault, left - 1)
                return fault
        return None


def refusal(fault: Fault) -> Exception:
    """Return the error that a fault raises in place of an answer."""
    if fault.kind == "http-500":
        return HttpFailure(500)
    code, words, status = _REFUSALS[fault.kind]
    return ServiceError(code, fault.text or words, status)
