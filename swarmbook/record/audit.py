"""Holding a run's folder against its own record, offline: the first thing that does not fit is named."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.words import many, subject
from swarmbook.model import ledger
from swarmbook.model.ledger import RUN_FORMAT, BrokenChain, Chain, read_chain
from swarmbook.record import envelope, links, manifest
from swarmbook.record.misfit import CHANGED, UNREAD, UNVOUCHED, Misfit
from swarmbook.record.policy import Policy, policy_for
from swarmbook.record.reader import from_chain
from swarmbook.record.signing import BadSignature, fingerprint, verify

__all__ = ["Report", "audit"]

_HEADS = {CHANGED: "does not fit", UNREAD: "cannot be audited", UNVOUCHED: "fits, but nothing vouches for it"}


@dataclass(frozen=True)
class Report:
    """What became of an audit.

    Args:
        folder: The run's folder.
        exit_code: 0 all fits and an allowed signer vouches for it, 1 something does not, 2 this is no run that can be audited,
            3 there is no ssh-keygen, 4 all fits and nothing vouches for it.
        finding: The first thing that does not fit, or why nothing vouches for it; empty if all is well.
        code: What programs know the finding by; empty if there is none.
        run: Its id.
        cluster: Its cluster.
        status: How the run ended, by its ledger.
        events: How many there are in the ledger.
        files: How many the manifest names.
        signature: Who signed, and whether that was checked.
        before: The run before it.
        envelope: What the in-toto envelope is worth.
        next: What to do about the finding.
        notes: What is odd, and explained.
    """

    folder: str
    exit_code: int = 0
    finding: str = ""
    code: str = ""
    run: str = ""
    cluster: str = ""
    status: str = ""
    events: int = 0
    files: int = 0
    signature: str = ""
    before: str = ""
    envelope: str = ""
    next: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {"ok": self.exit_code == 0, **asdict(self)}

    def to_text(self) -> str:
        """Render the report for people."""
        notes = [f"  note:      {note}" for note in self.notes]
        advice = [f"  next:      {self.next}"] if self.next else []
        if self.exit_code not in (0, UNVOUCHED):
            head = _HEADS.get(self.exit_code, "could not be audited")
            return "\n".join([f"{self.folder}: {head}: {self.finding}", *notes, *advice])
        verdict = f"{_HEADS[UNVOUCHED]}: {self.finding}" if self.exit_code else "unchanged since it was recorded"
        lines = [
            f"{self.folder}: {verdict}",
            f"  run:       {self.run} of cluster {self.cluster or '(none)'}: {self.status}",
            f"  ledger:    {self.events} events, the chain holds",
            f"  files:     {self.files}, each as the manifest has it",
            f"  signature: {self.signature}",
            *([f"  before:    {self.before}"] if self.before else []),
            *([f"  in-toto:   {self.envelope}"] if self.envelope else []),
        ]
        return "\n".join([*lines, *notes, *advice])


def audit(
    folder: Path, root: Path, named: str | None = None, *, cluster: str | None = None, run: str | None = None
) -> Report:
    """Audit a run's folder; it may be a copy, anywhere.

    Example:
        >>> kept, signers = Path("tests/unit/kept/run-format-1"), "tests/unit/kept/run-format-1.allowed_signers"
        >>> audit(kept, Path("."), signers, run="2026-11-25T09-00-00Z").exit_code
        0

    Args:
        folder: The run's folder.
        root: The book's folder: where its runs and its lists of signers lie.
        named: The allowed_signers file to use.
        cluster: Whose run it has to be; the folder's place says it otherwise.
        run: Which run it has to be; the folder's name says it otherwise.

    Raises:
        UsageError: The named allowed_signers file is not there, or the folder is another cluster's.
    """
    policy = policy_for(folder, root, signers=named, cluster=cluster, run=run)
    facts: dict[str, Any] = {"folder": str(folder)}
    try:
        _audit(folder, policy, facts)
    except Misfit as misfit:
        facts.update(finding=str(misfit), exit_code=misfit.exit_code, code=misfit.code.value, next=misfit.next)
    except OSError as error:
        finding = f"{error.filename or folder} cannot be read: {error.strerror}"
        facts.update(finding=finding, exit_code=UNREAD, code=Code.RECORD_NOT_READ.value)
    return Report(**facts)


def _audit(folder: Path, policy: Policy, facts: dict[str, Any]) -> None:
    if not folder.is_dir():
        raise Misfit("there is no such folder", UNREAD)
    path = folder / ledger.FILE
    if not path.is_file():
        raise Misfit(f"this is not a run folder: no {ledger.FILE} in it", UNREAD)
    data = path.read_bytes()
    if not data:
        raise Misfit(f"{ledger.FILE} is empty: truncated", UNREAD)
    _refuse_newer(ledger.format_of(data), ledger.FILE)
    if left := sorted(path.name for path in folder.rglob(".*") if path.is_file()):
        facts["notes"] = (
            f"{', '.join(left)}: as a save leaves it that is cut short; the file it was to replace is whole, and nothing reads this one",
        )
    signed, raw, key = None, b"", ""
    if (folder / manifest.FILE).is_file():
        raw = (folder / manifest.FILE).read_bytes()
        signed = _manifest(folder, raw)
        facts.update(run=signed["run"] or "", cluster=signed["cluster"], files=len(signed["files"]))
        key = _signature_fits(folder, raw, signed)
        _files_fit(folder, signed, data)
    chain = _chain(data)
    facts.update(events=len(chain.events), run=str(chain.run.get("run", "")), cluster=str(chain.run.get("cluster", "")))
    _torn(chain, facts)
    links.identity_fits(chain, policy)
    if signed is None:
        links.seen_here(chain, policy)
    _ledger_fits(chain, signed, facts)
    assert signed is not None
    _results_fit(folder, chain)
    facts["signature"] = "unsigned"
    if key:
        facts["signature"] = f"signed by {key}, not checked against any allowed_signers"
        facts["signature"] = _trusted(folder, raw, signed, chain, policy) or facts["signature"]
    elif policy.signers:
        lists = ", ".join(map(str, policy.signers))
        raise Misfit(f"unsigned, where a signature by one of {lists} is wanted", code=Code.RECORD_UNSIGNED)
    facts["envelope"] = envelope.fits(folder, raw, signed, key)
    links.seen_here(chain, policy)
    facts["before"] = links.run_before_fits(folder, chain, policy)
    _vouched(key, policy)


def _vouched(key: str, policy: Policy) -> None:
    if not key:
        what = "unsigned, and there is no list of keys to hold it to: anyone who can write to the folder can have made all of it"
        raise Misfit(what, UNVOUCHED, Code.RECORD_NOT_VOUCHED)
    if not policy.signers:
        raise Misfit(
            f"signed by {key}, and there is no list that knows this key",
            UNVOUCHED,
            Code.RECORD_NOT_VOUCHED,
            "compare the key with the signer's, then: swarmbook audit RUN --allowed-signers FILE; or once --remember",
        )


def _refuse_newer(found: object, name: str) -> None:
    if refusal := replace(RUN_FORMAT, what=name).refusal(found):
        raise Misfit(refusal, UNREAD)


def _manifest(folder: Path, raw: bytes) -> dict[str, Any]:
    broken = (folder / manifest.SIGNATURE).is_file()
    try:
        data = json.loads(raw)
        if isinstance(data, dict):
            _refuse_newer(data.get("format"), manifest.FILE)
        fits = manifest.canonical(data) == raw and data.keys() == {
            "format",
            "cluster",
            "run",
            "signer",
            "files",
            "ledger",
        }
        fits = fits and data["ledger"].keys() == {"head", "lines"}
        fits = fits and all(entry.keys() == {"path", "sha256", "size"} for entry in data["files"])
        fits = fits and all(isinstance(data[name], str) for name in ("cluster", "run"))
    except (ValueError, RecursionError) as error:
        if broken:
            raise Misfit(f"{manifest.FILE} was changed: it is not as swarmbook writes it") from None
        raise Misfit(f"{manifest.FILE} is truncated, or not JSON: {error}", UNREAD) from None
    except (AttributeError, KeyError, TypeError):
        fits = False
    if not fits:
        raise Misfit(f"{manifest.FILE} was changed: it is not as swarmbook writes it")
    return dict(data)


def _signature_fits(folder: Path, raw: bytes, signed: dict[str, Any]) -> str:
    """Return the fingerprint of the key that signed, if one did.

    This comes first of all: a forged manifest says nothing about files.
    """
    path, claimed = folder / manifest.SIGNATURE, signed["signer"]
    if not path.is_file():
        if claimed:
            raise Misfit(f"{manifest.SIGNATURE} is missing: the manifest says that {claimed} signs it")
        return ""
    try:
        verdict = verify(raw, path, ())
    except BadSignature as error:
        raise Misfit(
            f"{manifest.FILE} or {manifest.SIGNATURE} was changed: the signature does not fit ({error})"
        ) from None
    except WorldError:  # no ssh-keygen: said when all else has been looked at
        return claimed or ""
    if verdict.key != claimed:
        raise Misfit(
            f"a foreign signature: by {verdict.key}, where the manifest says {claimed or 'unsigned'}",
            code=Code.RECORD_FOREIGN_KEY,
        )
    return verdict.key


def _files_fit(folder: Path, signed: dict[str, Any], data: bytes) -> None:
    wanted = {entry["path"]: entry for entry in signed["files"]}
    found = dict(manifest.files_of(folder))
    for name in sorted({*wanted, *found}):
        if name not in found:
            raise Misfit(f"{name} is missing")
        if name not in wanted:
            raise Misfit(f"{name} was added: the manifest does not name it")
        if found[name].is_symlink() or not found[name].is_file():
            raise Misfit(f"{name} was replaced: it is no regular file")
        if manifest.hash_of(found[name]) != (wanted[name]["sha256"], wanted[name]["size"]):
            raise Misfit(f"{name} was changed{_where_in_ledger(data, signed) if name == ledger.FILE else ''}")


def _where_in_ledger(data: bytes, signed: dict[str, Any]) -> str:
    """Say where the ledger was changed: where it breaks its own chain, that line can be named."""
    try:
        chain = read_chain(data)
    except BrokenChain as error:
        return f": {error}"
    lines = signed["ledger"]["lines"]
    return (
        f": {chain.lines} lines where the manifest has {lines}"
        if chain.lines != lines
        else f": its last line, or all of it, was written again (line {lines})"
    )


def _chain(data: bytes) -> Chain:
    try:
        return read_chain(data)
    except BrokenChain as error:
        raise Misfit(f"{ledger.FILE}: {error}") from None


def _torn(chain: Chain, facts: dict[str, Any]) -> None:
    if chain.torn:
        lines = ", ".join(map(str, chain.torn))
        facts["notes"] = (
            *facts.get("notes", ()),
            f"{ledger.FILE}: line {lines} is torn: a process was stopped while it wrote it; nothing else is missing there",
        )
    if not chain.run:
        raise Misfit(f"{ledger.FILE}: line 1 does not say which run this is")


def _ledger_fits(chain: Chain, signed: dict[str, Any] | None, facts: dict[str, Any]) -> None:
    run = chain.run
    if chain.end is None:
        raise Misfit(
            f"the run ended without an end: killed, or still going on. Its {many(len(chain.events), 'event')} fit, the last one at {chain.events[-1]['time']}",
            code=Code.RECORD_UNFINISHED,
        )
    facts["status"] = str(chain.end.get("status", ""))
    if signed is None:
        raise Misfit(
            f"{manifest.FILE} is missing, though the ledger comes to its end: killed before it was written, or removed",
            code=Code.RECORD_UNFINISHED,
        )
    for name, here in (
        ("run", run.get("run")),
        ("cluster", run.get("cluster")),
        ("ledger", {"head": chain.head, "lines": chain.lines}),
    ):
        if signed[name] != here:
            raise Misfit(f"{manifest.FILE}: its {name} is not that of the ledger: {signed[name]}, {here}")


def _load(folder: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise Misfit(f"{name} is missing, though the ledger reports it") from None
    except (ValueError, RecursionError):
        raise Misfit(f"{name} is not JSON") from None
    if not isinstance(data, dict):
        raise Misfit(f"{name} is not what swarmbook writes")
    return data


def _results_fit(folder: Path, chain: Chain) -> None:
    """Compare summary and notebooks with the ledger: they tell the same story."""
    end = chain.end or {}
    try:
        reported = {chapter.number: chapter.status for chapter in from_chain(folder, chain).reached}
        summary = _load(folder, "summary.json")
        for name in ("status", "exit_code"):
            if summary[name] != end.get(name):
                raise Misfit(f"summary.json: {name} {summary[name]}, the ledger says {end.get(name)}")
        for chapter in summary["chapters"]:
            number, status = chapter["number"], chapter["status"]
            if status != reported.pop(number, "not-run"):
                raise Misfit(f"summary.json: {number} {chapter['name']} is {status}, which is not what the ledger says")
            if (
                chapter["notebook"]
                and status != "not-run"
                and (chapter["error"] is None or (folder / chapter["notebook"]).exists())
            ):
                shown = _load(folder, chapter["notebook"])["metadata"]["papermill"]["status"]
                if shown != status and not (chapter["error"] and shown in ("completed", "running")):
                    raise Misfit(f"{chapter['notebook']} is {shown}, the ledger says {status}")
        if reported:
            raise Misfit(
                f"summary.json: {subject(sorted(reported), 'is', 'are')} missing, though the ledger reports it"
            )
    except (LookupError, TypeError, ValueError, AttributeError):
        raise Misfit("summary.json, a notebook or the ledger is not what swarmbook writes") from None


def _trusted(folder: Path, raw: bytes, signed: dict[str, Any], chain: Chain, policy: Policy) -> str:
    """Say who signed, by the lists that count; nothing where there is no list."""
    cluster = policy.cluster or signed["cluster"]
    try:
        when = datetime.strptime((chain.end or {})["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
        verdict = verify(raw, folder / manifest.SIGNATURE, policy.signers, when, cluster)
    except (KeyError, ValueError):
        raise Misfit(f"{ledger.FILE}: its end has no time") from None
    except WorldError as error:
        raise Misfit(f"all else fits, but {error.what}", error.exit_code, Code.RECORD_NOT_READ) from None
    if verdict.who:
        return f"by {verdict.who}, {verdict.key}, as {verdict.file} allows"
    if policy.signers:
        known = f"the key of {verdict.elsewhere}, which signs for that cluster alone, and " if verdict.elsewhere else ""
        raise Misfit(
            f"a foreign signature: {verdict.key} is {known}not among the allowed signers of {', '.join(map(str, policy.signers))}",
            code=Code.RECORD_FOREIGN_KEY,
            next=f"if it is to count, and the key is known to be the signer's: add it to {policy.signers[-1]}",
        )
    signer = folder / manifest.SIGNER
    if signer.is_file() and fingerprint(signer.read_text("utf-8")) != verdict.key:
        raise Misfit(f"{manifest.SIGNER} is not the key that signed", code=Code.RECORD_FOREIGN_KEY)
    return ""
