"""What a run tells of itself: the ledger's events from the first to the last, then the manifest and its signature."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import pwd
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmbook import __version__
from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import SwarmbookError, WorldError
from swarmbook.base.files import write_atomic
from swarmbook.model.ledger import FORMAT, Ledger
from swarmbook.model.plan import FILE as PLAN_FILE
from swarmbook.model.plan import Approval, Plan
from swarmbook.record import environment
from swarmbook.record.journal import Journal
from swarmbook.record.links import link_to_last
from swarmbook.record.manifest import seal
from swarmbook.record.resume import Parent
from swarmbook.record.signing import Signing

if TYPE_CHECKING:
    from swarmbook.model.results import Chapter, ChapterRecord, RunResult, StepRecord

__all__ = ["Evidence", "circumstances", "user"]


def circumstances(root: Path) -> dict[str, Any]:
    """Return who runs what, from where, with which versions.

    Args:
        root: The book's folder.
    """
    return {
        "user": user(),
        "sudo_user": os.environ.get("SUDO_USER"),
        "hostname": socket.gethostname(),
        "command": shlex.join(sys.argv),
        "swarmbook": __version__,
        "git": _git(root),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "platform": platform.platform(),
        "packages": _packages(),
    }


def user() -> str:
    """Return who runs this, by name; by number where the system knows no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container that was given any number
        return str(os.getuid())


def _git(root: Path) -> dict[str, Any] | None:
    def ask(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
        return done.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):  # no git, no repository, or another user's
        return None


def _packages() -> dict[str, str]:
    try:
        needed = metadata.requires("swarmbook") or []
    except metadata.PackageNotFoundError:
        needed = []
    found = {}
    for requirement in needed:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if "extra ==" not in requirement:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
    return dict(sorted(found.items()))


class Evidence:
    """Writes the ledger of one run, as the runner sees it, and seals the run's folder at its end.

    A ledger that cannot be written does not stop the run; it is said once, and such a folder is never sealed.

    Args:
        folder: The run's folder.
        cluster: Whose run it is; None for notebooks that belong to none.
        signing: Signs the manifest; None leaves it unsigned.
        parent: The run that this one resumes.
        note: What every reader of the record must see, such as that it is one of a rehearsal.
    """

    def __init__(
        self,
        folder: Path,
        cluster: Cluster | None = None,
        signing: Signing | None = None,
        parent: Parent | None = None,
        note: str = "",
    ) -> None:
        self.folder, self.cluster, self.signing, self.parent, self.note = (
            folder.absolute(),
            cluster,
            signing,
            parent,
            note,
        )
        self.ledger = Ledger(self.folder)
        self.trouble: SwarmbookError | None = None
        self._nodes: dict[str, dict[str, str]] = {"host_keys": {}, "addresses": {}}
        self._existed = False

    def _tell(self, event: str, **fields: Any) -> None:
        if self.trouble is None:
            try:
                self.ledger.append(event, **fields)
            except WorldError as error:
                self.trouble = error

    def _new_nodes(self) -> dict[str, Any]:
        """Return the nodes' host keys and addresses, where they are not those that were recorded last."""
        try:
            nodes = self.cluster.nodes if self.cluster else []
            if self.cluster:
                self.cluster.register_secrets()  # what was generated since: the mask has to know it
        except (SwarmbookError, OSError):
            return {}
        found = {
            "host_keys": {node.name: node.host_key for node in nodes},
            "addresses": {node.name: node.private_address for node in nodes},
        }
        changed, self._nodes = found != self._nodes, found
        return dict(found) if changed else {}

    def _note_head(self) -> None:
        """Note in the cluster's journal how far the ledger is: so that another one put in its place is noticed."""
        if self.cluster is not None and self.trouble is None:
            Journal(self.cluster.root, self.cluster.name).note(self.folder.name, self.ledger.head)

    # -- the run, in the order it happens --------------------------------------------------------------------------

    def began(self, chapters: Sequence[Chapter], parameters: Mapping[str, Any]) -> None:
        sources = [
            {"number": c.number, "name": c.name, "notebook": c.notebook, "sha256": _source(c.path)} for c in chapters
        ]
        root = self.cluster.root if self.cluster else Path.cwd()
        self._existed = self.cluster is not None and self.cluster.exists()
        about: dict[str, Any] = {
            "format": FORMAT,
            "run": self.folder.name,
            "cluster": self.cluster.name if self.cluster else "",
        }
        if self.note:
            about["note"] = self.note
        if self.cluster is not None:
            about["before"] = link_to_last(self.folder)
        if self.parent is not None:
            about["parent"] = asdict(self.parent.link())
        self._tell(
            "run",
            **about,
            **circumstances(root),
            parameters=parameters,
            chapters=sources,
            **{"host_keys": {}, "addresses": {}, **self._new_nodes()},
        )
        self._note_head()
        with contextlib.suppress(OSError):  # the ledger reports a folder that cannot be written
            write_atomic(self.folder / environment.FILE, environment.python_sbom())

    def planned(self, plan: Plan | None, approvals: Sequence[Approval]) -> None:
        """Record the plan that the run is held to, which is kept beside the ledger, and who approved what."""
        if plan is not None:
            plan.save(self.folder / PLAN_FILE)
            self._tell("plan", digest=plan.digest, file=PLAN_FILE, changes=len(plan.changes), partial=plan.partial)
        for approval in approvals:
            self._tell("approval", **asdict(approval), **({"digest": plan.digest} if plan is not None else {}))

    def chapter_began(self, chapter: Chapter) -> None:
        self._tell("chapter", number=chapter.number, name=chapter.name, status="running")

    def step_began(self, chapter: Chapter, title: str) -> None:
        self._tell("step", number=chapter.number, chapter=chapter.name, title=title, status="running")

    def step_ended(self, step: StepRecord) -> None:
        counts = {"hosts": step.hosts, "changes": step.changes, "checks": step.checks, "failed": step.failed}
        self._tell(
            "step",
            number=step.number,
            chapter=step.chapter,
            title=step.title,
            status=step.status,
            seconds=step.seconds,
            **counts,
        )

    def chapter_ended(self, record: ChapterRecord) -> None:
        new = self._new_nodes()
        if record.error is not None and record.status != "interrupted":
            code = {"code": record.error["code"]} if "code" in record.error else {}
            said = {"lines": list(record.lines)} if record.lines else {}
            self._tell(
                "failure",
                number=record.number,
                status=record.status,
                what=record.error["ename"],
                detail=record.error["evalue"],
                **code,
                **said,
            )
        proof = {"proof": record.proof} if record.proof else {}
        self._tell(
            "chapter",
            number=record.number,
            name=record.name,
            status=record.status,
            seconds=record.seconds,
            changes=record.changes,
            **proof,
            **new,
        )
        self._note_head()

    def interrupted(self, signal: str) -> None:
        self._tell("interruption", signal=signal)

    def ended(self, result: RunResult) -> str:
        """Write the last event, the manifest and the signature.

        Returns:
            One line: what the record of this run is worth.
        """
        self._tell(
            "end", status=result.status, exit_code=result.exit_code, seconds=result.seconds, changes=result.changes
        )
        self._note_head()
        if self.trouble is None:
            try:
                said = seal(self.folder, self.cluster.name if self.cluster else "", self.signing)
                if self.signing and self.cluster and self._existed and not self.cluster.exists():
                    self.signing.retire()
                return said
            except OSError as error:
                self.trouble = WorldError(
                    "the manifest could not be written", where=str(self.folder), seen=error.strerror or repr(error)
                )
        return f"no complete record: {self.trouble}"


def _source(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # reported when its turn comes
        return None
