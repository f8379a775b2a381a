"""What ``sl_endpoint: rehearsal`` stands for: the service rehearsed in this process, with lab machines for instances.

The account lies in ``rehearsal/`` beside ``clusters/``, the machines with this computer's engine: so every command of ours, and
``slcli`` by way of ``swarmbook rehearse --serve``, meets the same account, and no process has to stay for it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from swarmbook.machines.rehearsal import AccountFile, Cloud, Fault, Rehearsal
from swarmbook.machines.rehearsal.door import kept_key
from swarmbook.machines.rehearsal.instances import LabInstances

__all__ = ["endpoint", "lab_name", "rehearse", "set_up"]

#: Seconds that an instance takes to come up, unless set otherwise: long enough to see how waiting looks.
UP_S = 20.0


def _file(home: Path) -> AccountFile:
    return AccountFile(home / "rehearsal" / "account.json", UP_S)


def lab_name(home: Path) -> str:
    """Return the name of the lab that an account's instances make up: two folders are two accounts, on one engine."""
    return f"rehearsal-{hashlib.sha256(str(home).encode()).hexdigest()[:6]}"


def rehearse(home: Path, base_image: str, port: int = 0) -> Rehearsal:
    """Build the service, which runs while it is entered.

    Args:
        home: Where ``clusters/`` lies.
        base_image: Base of the machines' image.
        port: Where to listen on 127.0.0.1; 0: any free port.
    """
    return Rehearsal(Cloud(LabInstances(lab_name(home), home, base_image), file=_file(home)), port)


def endpoint(named: str, home: Path, base_image: str) -> tuple[str, str]:
    """Return the URL that ``sl_endpoint`` stands for, and the key of the rehearsal that answers there.

    The URL is itself, or that of a rehearsal in this process; the key is empty where no rehearsal of this folder is known.

    Args:
        named: What ``sl_endpoint`` says.
        home: Where ``clusters/`` lies.
        base_image: Base of the machines' image.
    """
    if named != "rehearsal":
        return named, kept_key(home, named)
    begun = _begun(home, base_image)
    return begun.xmlrpc, begun.key


@functools.cache
def _begun(home: Path, base_image: str) -> Rehearsal:
    """Start, once, a rehearsal that runs until the process ends."""
    return rehearse(home, base_image).__enter__()


def set_up(
    home: Path, *, up_s: float | None = None, faults: Iterable[Fault] = (), behave: bool = False
) -> tuple[float, list[str]]:
    """Say how the service is to be from now on, for every process.

    Args:
        home: Where ``clusters/`` lies.
        up_s: Seconds that an instance takes to come up.
        faults: How it is to misbehave, besides how it does.
        behave: No more misbehaving as before.

    Returns:
        Seconds that an instance takes, and how the service will misbehave.
    """
    with _file(home).held() as account:
        if up_s is not None:
            account.up_s = up_s
        if behave:
            account.faults.clear()
        for fault in faults:
            account.faults.add(fault)
        lines = [
            f"{fault.kind} on {fault.on}, {f'{left} more times' if left else 'always'}"
            for fault, left in account.faults.left()
        ]
        return account.up_s, lines
