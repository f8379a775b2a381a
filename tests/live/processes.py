"""What a kernel has started, here and on the machines of a lab."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["helpers_of"]

#: sshd's own: those of a login (the last one for the message of the day), and what waits between transfers.
_NOT_OURS = ("unix_chkpwd", "sftp-server", "sh")


def helpers_of(kernel: int, machines: set[int]) -> list[tuple[int, str]]:
    """What a kernel has started: its children, and the commands that the machines' sshd runs for it.

    Looked up from above, child by child: a look at all of /proc takes longer than most of them live.
    """
    found, todo = [(child, _name(child)) for child in _children(kernel)], list(machines)
    while todo:
        pid = todo.pop()
        for child in _children(pid):
            if (name := _name(child)).startswith("sshd"):
                todo.append(child)
            elif name and name not in _NOT_OURS and pid not in machines:
                found.append((child, name))
    return found


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
