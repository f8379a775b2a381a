"""The verifier's policy: which run of which cluster a folder has to hold, and whose signature counts.

All of it comes from who asks, and from where the folder lies; nothing from the record that is being doubted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from swarmbook.base.errors import UsageError
from swarmbook.record.signing import allowed_signers

__all__ = ["Policy", "named_list", "policy_for"]


@dataclass(frozen=True)
class Policy:
    """What a run's folder is held to.

    Args:
        root: The book's folder.
        run: Id of the run that it has to be.
        cluster: Whose run it has to be; empty where neither the folder's place nor an option says it.
        in_place: It lies in ``runs/CLUSTER``, where the run before it has to lie as well.
        signers: The lists of keys that count; empty where there is none.
    """

    root: Path
    run: str
    cluster: str = ""
    in_place: bool = False
    signers: tuple[Path, ...] = ()


def policy_for(
    folder: Path, root: Path, *, signers: str | None = None, cluster: str | None = None, run: str | None = None
) -> Policy:
    """Return the policy for a run's folder.

    Args:
        folder: The run's folder.
        root: The book's folder.
        signers: The list of keys that counts, alone; by default SWARMBOOK_ALLOWED_SIGNERS, or else git's, the cluster's, and
            the one that outlives the cluster.
        cluster: Whose run it has to be; by default that of ``runs/CLUSTER``.
        run: Which run it has to be; by default that of the folder's name.

    Raises:
        UsageError: The named list is not there.
    """
    here = folder.resolve()
    in_place = here.parent.parent == (root / "runs").resolve()
    name = cluster or (here.parent.name if in_place else "")
    if in_place and cluster and cluster != here.parent.name:
        raise UsageError(
            "the folder is another cluster's",
            where=str(folder),
            wanted=cluster,
            seen=here.parent.name,
            next="leave --cluster out, or name a run of that cluster",
        )
    return Policy(root, run or here.name, name, in_place, tuple(allowed_signers(root, name, signers or named_list())))


def named_list() -> str | None:
    """Return the list of signers that the environment names, if it names one."""
    return os.environ.get("SWARMBOOK_ALLOWED_SIGNERS") or None
