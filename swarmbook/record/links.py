"""Which run a record is of, and which run was recorded before it: the chain over the runs of a cluster."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.model import ledger
from swarmbook.model.ledger import BrokenChain, Chain, read_chain
from swarmbook.record.journal import Journal
from swarmbook.record.misfit import Misfit
from swarmbook.record.policy import Policy
from swarmbook.record.runs import STAMP, runs_in

__all__ = ["identity_fits", "link_to_last", "names_run_before", "run_before_fits", "seen_here"]


def link_to_last(folder: Path) -> dict[str, str] | None:
    """Return what the first event of a new run says of the run before it: its id, and the head of its ledger now.

    A run that was killed counts. Of a ledger that does not hold together, the hash of the whole file stands for the head.

    Args:
        folder: The new run's folder, in its cluster's folder of runs.

    Returns:
        None for the first run.
    """
    others = [path for path in runs_in(folder.parent) if path.name != folder.name]
    if not others:
        return None
    return {"run": others[-1].name, **_end_of(others[-1])}


def _end_of(folder: Path) -> dict[str, str]:
    try:
        data = (folder / ledger.FILE).read_bytes()
    except OSError:
        data = b""
    try:
        return {"head": read_chain(data).head}
    except BrokenChain:
        return {"sha256": hashlib.sha256(data).hexdigest()}


def identity_fits(chain: Chain, policy: Policy) -> None:
    """Hold a run's own word on which run of which cluster it is against what it has to be.

    Raises:
        Misfit: It is another cluster's, or another run.
    """
    run, cluster = str(chain.run.get("run", "")), str(chain.run.get("cluster", ""))
    if policy.cluster and cluster != policy.cluster:
        raise Misfit(
            f"a run of another cluster: the record says {cluster or '(none)'}, and it is held to {policy.cluster}",
            code=Code.RECORD_OF_ANOTHER_CLUSTER,
        )
    if run != policy.run:
        raise Misfit(
            f"the record of another run: it says {run}, and it is held to {policy.run}: a folder that was copied or renamed",
            code=Code.RECORD_REPLAYED,
            next="" if policy.in_place else f"if you renamed the copy: swarmbook audit RUN --run {run[:40]}",
        )


def seen_here(chain: Chain, policy: Policy) -> Chain | None:
    """Return the part of a ledger that this computer saw being recorded: up to the head that was noted last.

    Returns:
        None where this computer knows nothing of the run.

    Raises:
        Misfit: This computer saw another run of that name.
    """
    head = Journal(policy.root, policy.cluster).heads().get(policy.run) if policy.in_place else None
    if head is None:
        return None
    if (seen := chain.up_to(head)) is None:
        raise Misfit(
            f"{ledger.FILE} is not the one that this computer recorded: it was written again, or lacks its end",
        )
    return seen


def names_run_before(chain: Chain) -> dict[str, Any] | None:
    """Return what a run says of the one before it; None for the first, and for one of a swarmbook that did not say."""
    before = chain.run.get("before")
    return before if isinstance(before, dict) else None


def run_before_fits(folder: Path, chain: Chain, policy: Policy) -> str:
    """Hold the run before it against what a run says of it.

    Returns:
        What was found, for people; empty where the run is too old to say.

    Raises:
        Misfit: It is not there, or is not the one that it was.
    """
    if "before" not in chain.run:
        return ""
    before = names_run_before(chain)
    if before is None:
        return "none: the first run of its cluster"
    name = str(before.get("run"))
    if not policy.in_place:
        return f"{name}, which is not here to be compared"
    if not STAMP.fullmatch(name) or not (folder.resolve().parent / name).is_dir():
        raise Misfit(f"the run before it is missing: {name}", code=Code.RUN_BEFORE_MISSING)
    other = folder.resolve().parent / name
    found = _end_of(other)
    if "head" in before and "head" in found:
        fits = read_chain((other / ledger.FILE).read_bytes()).up_to(str(before["head"])) is not None
    else:
        fits = found == {key: value for key, value in before.items() if key != "run"}
    if not fits:
        raise Misfit(
            f"the run before it, {name}, is not the one that it was: another ledger lies there, or a part of it",
            code=Code.RUN_BEFORE_DIFFERS,
        )
    same = "head" not in found or found["head"] == before.get("head")
    return f"{name}, as it was then" if same else f"{name}, as it was then; lines were added to it since"
