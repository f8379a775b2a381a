"""How far a wait has come, and what a step is at, in a notebook: one line that changes."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from swarmbook.base import activity
from swarmbook.base.plain import plain
from swarmbook.base.secrets import mask
from swarmbook.base.words import cut
from swarmbook.model.rundir import RunFolder
from swarmbook.show.widgets import somebody_watches

__all__ = ["AtWork", "Progress"]

_LONGEST = 150


class Progress:
    """A line in the notebook's cell that says how far a wait has come; outside of a notebook it shows nothing. Safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._handle: Any = None
        self._shown: str | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep what was shown last when it ends badly; clear it when all is well: the step's table says it then."""
        if error is None and self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)

    def show(self, text: str) -> None:
        """Show this in place of what was shown before."""
        with self._guard:
            if text == self._shown:
                return
            self._shown = text
            with contextlib.suppress(ImportError):
                from IPython import get_ipython
                from IPython.display import display

                if get_ipython() is None:
                    return
                data = {"text/plain": mask(plain(text))}
                if self._handle is None:
                    self._handle = display(data, raw=True, display_id=True)
                else:
                    self._handle.update(data, raw=True)


class AtWork:
    """A line below a cell that says every second how long its step has been at work, and at what; gone when the step ends.

    In the notebook only where it is being watched: a saved line would be different every time. In a run it goes into a file of the run's
    folder, for the terminal.

    Args:
        every_s: Seconds between two lines.
    """

    def __init__(self, every_s: float = 1.0) -> None:
        self._every_s = every_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._progress = Progress()
        self._run: RunFolder | None = None

    def __enter__(self) -> AtWork:
        self._run = RunFolder.of_this_process()
        if self._run is not None:
            self._thread = threading.Thread(target=self._write, args=(self._run.at_work,), daemon=True)
            self._thread.start()
        elif somebody_watches():
            self._thread = threading.Thread(target=self._tell, args=(time.monotonic(),), daemon=True)
            # At once, and not when there is something to tell: what a step shows has to be the same every time.
            self._progress.show("")
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._progress.show("")
        if self._run is not None:
            self._run.at_work.unlink(missing_ok=True)

    def _write(self, path: Path) -> None:
        while not self._over.wait(self._every_s):
            with contextlib.suppress(
                OSError
            ):  # the folder may be gone, or the disk full: the step says so, this does not
                path.write_text(work(), encoding="utf-8")

    def _tell(self, began: float) -> None:
        while not self._over.wait(self._every_s):
            self._progress.show(line(time.monotonic() - began))


def line(seconds: float) -> str:
    """Say in one line what is being done now, and for how long."""
    return f"{seconds:.0f} s · {work()}"


def work() -> str:
    """Say in one line what is being done now."""
    at_work = [mask(f"{where}: {what}" if where else what) for where, what in activity.now()]
    text = "; ".join(" ".join(words.split()) for words in at_work) or "at work"
    # Masked first, cut then: half a secret would not be known as one.
    return cut(text, _LONGEST)
