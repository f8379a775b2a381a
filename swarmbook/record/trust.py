"""What a run may build on: a record to resume, and a plan to be held to, by the policy of an audit.

What nothing vouches for is not believed. It may still say which notebooks to run, where the person who asks gives the
parameters, and nothing is taken away: then nothing of it reaches a host.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_atomic
from swarmbook.base.words import typed
from swarmbook.model.ledger import Chain, read_run
from swarmbook.model.phases import PHASES
from swarmbook.model.plan import FILE as PLAN_FILE
from swarmbook.model.plan import Plan
from swarmbook.record import links, manifest
from swarmbook.record.audit import audit
from swarmbook.record.journal import Journal
from swarmbook.record.misfit import UNVOUCHED, Misfit
from swarmbook.record.policy import named_list, policy_for
from swarmbook.record.signing import CLUSTER_KEY, BadSignature, Signing, allowed_signers, remember, verify

__all__ = ["SIGNATURE", "remember_signer", "require_believed_plan", "require_believed_run", "sign_plan"]

#: What the file of a plan's signature ends with.
SIGNATURE = ".sig"
_AGAIN = "swarmbook plan PARAMS --out FILE"


def require_believed_run(folder: Path, root: Path, numbers: Iterable[str], cluster: str | None = None) -> Chain:
    """Refuse to resume a run that is not what it claims to be, or that nothing vouches for.

    This computer's own journal vouches for a run that was killed; a signature that an audit accepts, for one that came to
    its end, here or elsewhere.

    Args:
        folder: The run's folder.
        root: The book's folder.
        numbers: Of the notebooks it would have run.
        cluster: Whose parameters were given beside it; None if none were.

    Returns:
        The part of its ledger that is believed. Of a killed run, that is what this computer noted: the rest anyone can have
        added.

    Raises:
        UsageError: It is not believed.
    """
    policy = policy_for(folder, root, cluster=cluster)
    chain = read_run(folder)
    try:
        links.identity_fits(chain, policy)
        if (seen := links.seen_here(chain, policy)) is not None:
            return seen
    except Misfit as misfit:
        raise _refused("the run", folder, str(misfit), misfit.code, f"swarmbook audit {typed(folder)}") from None
    if (folder / manifest.FILE).exists():
        report = audit(folder, root, cluster=cluster)
        if report.exit_code == 0:
            return chain
        if report.exit_code != UNVOUCHED:
            raise _refused("the run", folder, report.finding, Code(report.code), f"swarmbook audit {typed(folder)}")
        why = report.finding
    else:
        why = "it was killed before it was signed, and this computer did not see it begin"
    if cluster is None or _takes_away(numbers):
        raise _refused("the run", folder, why, Code.RECORD_NOT_VOUCHED, _beside(f"--resume {folder}", cluster))
    return chain


def require_believed_plan(file: Path, plan: Plan, root: Path, *, given: bool, digest: bool) -> None:
    """Refuse a plan that nothing vouches for: it holds the parameters that a run goes by.

    Args:
        file: The plan's file.
        plan: The same, read.
        root: The book's folder.
        given: The parameters were given beside it, and are the same.
        digest: Its digest was given beside it; that it is this one is looked at before anything is done.

    Raises:
        UsageError: It is not believed.
    """
    signature = file.with_name(file.name + SIGNATURE)
    if digest and not signature.exists():
        return
    if file.name == PLAN_FILE and (file.parent / manifest.FILE).exists():
        report = audit(file.parent, root)
        if report.exit_code == 0:
            return
        if report.exit_code != UNVOUCHED:
            raise _refused("the plan", file, report.finding, Code(report.code), f"swarmbook audit {file.parent}")
        why = report.finding
    elif signature.exists():
        lists = allowed_signers(root, plan.cluster, named_list())
        try:
            verdict = verify(file.read_bytes(), signature, lists, cluster=plan.cluster)
        except BadSignature as error:
            raise _refused(
                "the plan", signature, f"the signature does not fit the plan ({error})", Code.RECORD_CHANGED, _AGAIN
            ) from None
        if verdict.who or digest:
            return
        known = f", by {', '.join(map(str, lists))}" if lists else ": there is none"
        why = f"signed by {verdict.key}, which is no allowed signer of cluster {plan.cluster}{known}"
        if lists:
            raise _refused("the plan", file, why, Code.RECORD_FOREIGN_KEY, _AGAIN)
    else:
        why = "unsigned"
    if not given or _takes_away(plan.notebooks):
        next = f"read it (less {file}), then: swarmbook run --plan {file} --approve {plan.digest}"
        raise _refused("the plan", file, why, Code.RECORD_NOT_VOUCHED, next)


def sign_plan(file: Path, signing: Signing) -> str:
    """Sign a plan's file, beside it.

    Returns:
        One line that says so.

    Raises:
        Unsigned: The key, or the agent, does not sign.
    """
    write_atomic(file.with_name(file.name + SIGNATURE), signing.sign(file.read_bytes()))
    return f"signed by {signing.fingerprint()} ({signing.source})"


def remember_signer(folder: Path, root: Path, cluster: str | None = None) -> None:
    """Let the key that signed a run count from now on for its cluster: who asks has compared it with the signer's.

    Args:
        folder: The run's folder, which an audit found to fit.
        root: The book's folder.
        cluster: The cluster; by default the folder's place says it.

    Raises:
        UsageError: It is unsigned, does not bring the key that signed it, or nothing says whose run it is.
    """
    policy, signer = policy_for(folder, root, cluster=cluster), folder / manifest.SIGNER
    if not (folder / manifest.SIGNATURE).is_file() or not signer.is_file():
        raise UsageError(
            "there is no key to remember",
            where=str(folder),
            wanted=f"{manifest.SIGNATURE} and {manifest.SIGNER}",
            seen="an unsigned run",
            next=f"swarmbook audit {typed(folder)}",
        )
    try:
        list_ = Journal(root, policy.cluster).signers
    except ValueError as error:
        raise UsageError(
            "the key would be remembered for no cluster",
            where=str(folder),
            seen=str(error),
            next="swarmbook audit RUN --cluster NAME --remember",
        ) from None
    remember(list_, f"{CLUSTER_KEY}{policy.cluster}", signer.read_text("utf-8"))


def _takes_away(numbers: Iterable[str]) -> bool:
    return any(number in PHASES and PHASES[number].removes for number in numbers)


def _beside(option: str, cluster: str | None) -> str:
    if cluster is not None:
        return "what takes a cluster away is not resumed from such a run: swarmbook destroy PARAMS"
    return f"name its parameters, which are then yours and not the record's: swarmbook run PARAMS {option}"


def _refused(what: str, where: Path, why: str, code: Code, next: str) -> UsageError:
    return UsageError(
        f"{what} is not believed",
        where=str(where),
        wanted="a record or a plan that an allowed signer, this computer's own journal, or a digest vouches for",
        seen=why,
        next=next,
        code=code,
    )
