"""Why a moment cannot be had, for a person; said before anything is touched."""

from __future__ import annotations

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.model.moments import Moment, Refusal, Why

__all__ = ["out_of_reach"]


def out_of_reach(refusal: Refusal, moment: Moment, owner: str, repository: str) -> UsageError:
    """Build the error for a moment that cannot be had.

    Args:
        refusal: Why not.
        moment: The moment.
        owner: Whose.
        repository: Where the archive is.
    """
    if refusal.why is Why.GAP:
        return UsageError(
            f"the moment {moment} is behind a gap in the archive; nothing was touched",
            where=repository,
            wanted=f"every transaction of {owner} from the backup before it on",
            seen=f"missing: GTID {refusal.gap}",
            next=f"the latest moment before the gap: {refusal.latest}: swarmbook restore PARAMS --to MOMENT",
            code=Code.MOMENT_BEHIND_GAP,
        )
    near = refusal.earliest if refusal.why in (Why.NO_BACKUP, Why.NO_GTID) else refusal.latest
    which = "earliest" if near == refusal.earliest else "latest"
    return UsageError(
        f"the moment {moment} is outside the archive; nothing was touched",
        where=repository,
        wanted=f"a moment of {owner} between a backup and the end of the archive",
        seen=refusal.why.value,
        next=f"the {which} moment that can be had: {near}: swarmbook restore PARAMS --to MOMENT"
        if near
        else "swarmbook backup PARAMS",
        code=Code.MOMENT_OUTSIDE,
    )
