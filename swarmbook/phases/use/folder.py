"""Where an application on a cluster keeps its journals and figures: outside the cluster, in the book's folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swarmbook.access.cluster import home
from swarmbook.base.errors import LockHeld, OutOfOrder
from swarmbook.base.files import write_atomic
from swarmbook.record.stamp import new_folder

__all__ = ["FIGURES", "claimed", "figures_of", "keep_figures", "last", "made"]

FIGURES = "figures.json"


def _of(cluster: str) -> Path:
    return home() / "use" / cluster


def made(cluster: str) -> Path:
    """Make a folder for an application that begins now.

    Args:
        cluster: The cluster's name.
    """
    return new_folder(_of(cluster))


def last(cluster: str) -> Path:
    """Return the folder of the application that ran last.

    Args:
        cluster: The cluster's name.

    Raises:
        OutOfOrder: None has run to its end.
    """
    found = sorted(path.parent for path in _of(cluster).glob(f"*/{FIGURES}"))
    if not found:
        raise OutOfOrder(
            "no application has run on this cluster, so there is nothing to hold against it",
            where=str(_of(cluster)),
            wanted="the journals of an application",
            next="run the cell before this one, or: swarmbook use PARAMS",
        )
    return max(found, key=lambda folder: ((folder / FIGURES).stat().st_mtime_ns, folder.name))


def keep_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Keep the figures beside the journals."""
    write_atomic(folder / FIGURES, json.dumps(figures, indent=2) + "\n")


def figures_of(folder: Path) -> dict[str, Any]:
    """Read them back."""
    found: dict[str, Any] = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return found


@contextlib.contextmanager
def claimed(cluster: str) -> Iterator[None]:
    """Hold the application's tables, of which a cluster has one set: by a file's lock, which goes with this process.

    Args:
        cluster: The cluster's name.

    Raises:
        LockHeld: Another application of this computer is at work there.
    """
    folder = _of(cluster)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockHeld(
                f"the application is at work on cluster {cluster} already; both would use the same tables",
                where=str(folder),
                wanted="one application at a time",
                next="end that one with Ctrl-C, or wait for its end; then: swarmbook use PARAMS",
            ) from None
        yield
