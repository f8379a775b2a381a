"""Whether a kernel is still at the cell that it was given: it may have lost it, and would be waited for without end.

An interrupt that meets a kernel on the way from one cell to the next ends the handling of a request, not the process: the request, or
the answer to it, is lost, and the kernel waits for the next one (seen under fire with ipykernel 7.4). Requests are handled in their order,
so a kernel that answers what it was asked after the cell is through with the cell.
"""

from __future__ import annotations

import contextlib
import time
from queue import Empty
from typing import Any

from jupyter_client.session import Session

from swarmbook.runner.kernels import Kernel

__all__ = ["Pulse", "never_asleep"]

EVERY_S = 10.0
#: What an answer that was sent may take to be read.
GRACE_S = 15.0


#: How long one look at a channel goes on.
LOOK_S = 0.25


def never_asleep(channel: Any) -> None:
    """Have a channel looked at again and again while a message of it is waited for.

    A widget that shows output makes nbclient send to the kernel while it waits for the kernel's answer, on the same socket and
    behind its back (jupyter_client's session sends by a shadow of it). ZeroMQ tells of a message once, and that sending
    swallows it: the answer is there and no thread wakes up (seen in one of seven runs of a cell with four such widgets).
    """
    get = channel.get_msg

    async def look_again(timeout: float | None = None) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LOOK_S if deadline is None else min(LOOK_S, max(0.0, deadline - time.monotonic()))
            try:
                return await get(timeout=left)
            except Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    raise

    channel.get_msg = look_again


class Pulse:
    """Asks a kernel from time to time, over a connection of its own, from the moment on at which a cell is sent."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._client: Any = None
        self._asked = time.monotonic()
        self._idle_since: float | None = None

    async def lost(self) -> bool:
        """Tell whether the kernel has been idle for a while, as far as it says."""
        now = time.monotonic()
        if self._idle_since is not None:
            return now - self._idle_since > GRACE_S
        if self._client is not None:
            with contextlib.suppress(Empty):
                await self._client.get_shell_msg(timeout=0)
                self._idle_since = now
        if now - self._asked > EVERY_S:  # more than once: this request may be lost too
            self._asked = now
            if self._client is None:
                self._client = self._kernel.km.client()
                ours = self._kernel.km.session
                # By the id of its session a kernel tells its clients apart: with ours it would send the cell's answer here.
                self._client.session = Session(key=ours.key, signature_scheme=ours.signature_scheme)
                self._client.start_channels(iopub=False, stdin=False, hb=False, control=False)
            self._client.is_complete("1")
        return False

    def close(self) -> None:
        if self._client is not None:
            self._client.stop_channels()
            self._client = None
