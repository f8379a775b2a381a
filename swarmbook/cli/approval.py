"""Asking for what costs or destroys: by a typed word, by a plan's digest, or not at all."""

from __future__ import annotations

import socket
import sys

import click

from swarmbook.base.codes import Code
from swarmbook.base.errors import ConfirmationMissing, UsageError
from swarmbook.base.words import many
from swarmbook.cli.common import say
from swarmbook.model.change import Word, typed
from swarmbook.model.plan import Approval, Plan
from swarmbook.record.evidence import user
from swarmbook.show.changes import sentence

__all__ = ["approve"]

_HEADS = {
    Word.ORDER: "This will be ordered, and costs money from then on:",
    Word.LOSE: "This will be lost, for good:",
    Word.PROMOTE: "This cluster takes the writes from then on, in the place of the one that it follows:",
    Word.RESTORE: "This will be replaced by what the snapshot holds:",
}
_HEAD = "This will be removed, for good:"


def approve(plan: Plan, *, yes: bool, digest: str | None, err: bool = False) -> list[Approval]:
    """Ask for approval of everything in a plan that needs it; list it first.

    Args:
        plan: What would be done.
        yes: Do not ask.
        digest: The digest of the plan, if it was approved elsewhere.
        err: Name it on standard error.

    Raises:
        UsageError: The digest is another plan's.
        ConfirmationMissing: The word was not typed, or there is no terminal to type it on.
    """
    if digest is not None and not plan.approved_by(digest):
        short = " (at least 16 characters of it are wanted)" if len(digest.removeprefix("sha256:")) < 16 else ""
        raise UsageError(
            "the approval is for another plan; nothing was touched",
            where=f"cluster {plan.cluster}",
            wanted=plan.digest,
            seen=digest + short,
            next="swarmbook plan PARAMS; read the new plan, and approve its digest",
            code=Code.APPROVED_ANOTHER_PLAN,
        )
    approvals = []
    for word, changes in plan.words().items():
        things = [f"{change.host}: {sentence(change)}" for change in changes]
        say(_HEADS.get(word, _HEAD), err=err)
        for thing in things:
            say(f"  {thing}", err=err)
        if word is Word.ORDER:
            new = [cost for cost in plan.costs if cost.new]
            monthly = sum(cost.monthly for cost in new)
            say(
                f"  {many(len(new), 'machine')}, "
                + (f"{monthly:.2f} a month" if monthly else f"{sum(cost.hourly for cost in new):.3f} an hour"),
                err=err,
            )
        approvals.append(
            Approval(
                word,
                f"{user()}@{socket.gethostname()}",
                _how(plan, word, typed(word, changes), yes, digest),
                tuple(things),
            )
        )
    return approvals


def _how(plan: Plan, word: Word, wanted: str, yes: bool, digest: str | None) -> str:
    if digest is not None:
        return f"--approve {digest}"
    counts = word is Word.LOSE  # what is lost is said yes to by its number, or not at all
    if yes and not counts:
        return "--yes"
    if not sys.stdin.isatty():
        raise ConfirmationMissing(
            "not confirmed; nothing was touched",
            where=f"cluster {plan.cluster}",
            wanted=f"{wanted} typed on a terminal, or {'' if counts else '--yes, or '}--approve DIGEST of the plan",
            next=f"the same command on a terminal, or with --approve {plan.digest}"
            if counts
            else "the same command with --yes; or swarmbook plan PARAMS, and --approve its digest",
        )
    if click.prompt(f"Type {wanted} to go on", default="", show_default=False).strip() != wanted:
        raise ConfirmationMissing(
            "not confirmed; nothing was touched",
            where=f"cluster {plan.cluster}",
            wanted=wanted,
            next="run it again and type that",
        )
    return "typed"
