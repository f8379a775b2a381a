"""Run folders: one per run, named by its UTC start, never used twice."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

__all__ = ["new_folder"]


def new_folder(parent: Path) -> Path:
    """Make a folder for a run that starts now.

    Args:
        parent: The cluster's folder of runs.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        folder = parent / f"{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # another run began in the same second
            continue
        return folder
    raise FileExistsError(parent / stamp)
