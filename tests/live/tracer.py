"""Put into a home as ``fire_tracer.py`` and called first in every cell: an independent witness of what began and what ended.

It writes to a file of its own, which nothing of swarmbook knows, and can hold a cell ahead of its begin, at its first line, or at its end until someone
opens a gate: the border between two cells lasts too short a time to be met otherwise. What the cell shows stays as it is, since
a hook that runs behind the last expression reports the end.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any


def _note(word: str, place: str) -> None:
    sink = os.open(os.environ["FIRE_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(sink, f"{word} {place} {os.getpid()} {time.time()}\n".encode())
    finally:
        os.close(sink)


def _stand(border: str, place: str) -> None:
    if os.environ.get("FIRE_GATE") == f"{border} {place}":
        _note(f"at-{border}", place)
        with open(os.environ["FIRE_FIFO"], "rb") as gate:
            gate.read()


def begin(place: str) -> None:
    """This cell begins; its end is reported if it succeeds."""
    from IPython import get_ipython

    events = get_ipython().events  # type: ignore[no-untyped-call, union-attr]

    def end(result: Any) -> None:
        events.unregister("post_run_cell", end)
        if result.success:
            _note("end", place)
            with contextlib.suppress(KeyboardInterrupt):  # the cell is through: there is nothing to interrupt
                _stand("end", place)

    _stand("begin", place)
    events.register("post_run_cell", end)
    _note("begin", place)
    _stand("inside", place)
