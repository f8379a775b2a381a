"""The folder of the run that a process belongs to: the one place that reads ``SWARMBOOK_RUN_DIR``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from swarmbook.base.files import write_atomic

__all__ = ["RunFolder"]

_VARIABLE = "SWARMBOOK_RUN_DIR"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, as the run and its kernels use it while they write.

    Args:
        path: Where it is.
    """

    path: Path

    @classmethod
    def of_this_process(cls) -> RunFolder | None:
        """Return the folder of the run that started this process; None in a notebook that a person runs."""
        path = os.environ.get(_VARIABLE)
        return cls(Path(path)) if path else None

    def environment(self) -> dict[str, str]:
        """Return what a kernel's environment needs, so that it finds this folder."""
        return {_VARIABLE: str(self.path)}

    @property
    def at_work(self) -> Path:
        """Where a kernel says what it is at, for the terminal; there as long as a step is at work."""
        return self.path / ".at-work"

    def keep(self, name: str, content: str) -> None:
        """Write a file into the folder.

        Args:
            name: Its name.
            content: What is in it; nothing masks it.
        """
        write_atomic(self.path / name, content)
