"""What is being waited for, in a notebook: one line that changes."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any

from .secrets import mask

__all__ = ["Progress"]


class Progress:
    """A line in the notebook's cell that says how far a wait has come; outside of a notebook it shows nothing. Safe to use from several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._handle: Any = None
        self._shown = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """What was shown last stays when it ends badly, and goes when all is well: the step's table says it then."""
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
                data = {"text/plain": mask(text)}
                if self._handle is None:
                    self._handle = display(data, raw=True, display_id=True)
                else:
                    self._handle.update(data, raw=True)
