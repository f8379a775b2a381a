"""What this computer saw being recorded: the heads of a cluster's runs, and the keys that signed them, away from the runs.

It lies in ``clusters/``, which is as private as the keys to the nodes, and outlives the cluster: so a run that was begun
here and killed is not mistaken for one that was put there, and the newest run cannot be deleted unseen.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

__all__ = ["Journal"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Journal:
    """The heads that the runs of one cluster went through, as they were written.

    Args:
        root: The book's folder.
        cluster: Name of the cluster.

    Raises:
        ValueError: The name could lead out of the folder.
    """

    def __init__(self, root: Path, cluster: str) -> None:
        if not _NAME.fullmatch(cluster):
            raise ValueError(f"no name of a cluster: {cluster!r}")
        self.folder = root / "clusters" / ".records" / cluster
        self._file = self.folder / "runs.jsonl"

    @property
    def signers(self) -> Path:
        """The keys that signed this cluster's runs here, and those that an audit was asked to remember."""
        return self.folder / "allowed_signers"

    def note(self, run: str, head: str) -> None:
        """Note where a run's ledger is now; without a disk to write on, nothing is noted and the run goes on."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.parent.chmod(0o700)
            file = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # A line of its own even behind one that a full disk cut short.
                os.write(file, b"\n" + json.dumps({"run": run, "head": head}).encode() + b"\n")
                os.fdatasync(file)
            finally:
                os.close(file)

    def heads(self) -> dict[str, str]:
        """Return the last head that was noted of each run, in the order in which they began."""
        found: dict[str, str] = {}
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError:
            return found
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut short
                entry = json.loads(line)
                found[str(entry["run"])] = str(entry["head"])
        return found
