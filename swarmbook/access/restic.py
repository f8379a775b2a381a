"""restic on this computer: the repository of the backups. This module is the only one that calls it.

The password comes by a pipe that restic reads, so it stands on no command line, in no environment and in no file of ours that
was not there before. How restic fails is known by its exit code, and in versions before 0.17 by its words.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from swarmbook.base.activity import doing
from swarmbook.base.border import border
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.secrets import Secret, mask
from swarmbook.base.words import typed
from swarmbook.model import archive
from swarmbook.model.archive import Piece, read_pieces
from swarmbook.model.snapshots import MARK, Snapshot, keep_options, read_snapshots

__all__ = ["Intake", "Restic"]

T = TypeVar("T")

#: What would lead restic elsewhere than the parameters say.
_NOT_OURS = ("RESTIC_PASSWORD", "RESTIC_PASSWORD_COMMAND", "RESTIC_PASSWORD_FILE", "RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE")  # fmt: skip
#: Exit code (from 0.17 on), words, code of ours, what that is, what to do.
_FAILURES = (
    (12, r"wrong password|no key found", Code.REPOSITORY_PASSWORD, "the password is not that of the repository",
     "give the one that it was made with: backup_password: file:PATH"),
    (11, r"already locked|unable to create lock", Code.REPOSITORY_LOCKED, "the repository is locked: another restic works on it, or one was killed",
     "wait for it; where none works on it any more: restic -r REPOSITORY unlock"),
    (10, r"no such file or directory|does not exist|specified key does not exist|404 Not Found|unable to open config file|NoSuchBucket",
     Code.REPOSITORY_NOT_THERE, "the repository is not there", "correct backup_repository, or mount or start what holds it"),
)  # fmt: skip
#: Nothing but the word that the file is not there: a number in an id, say, is no such word.
_NO_CONFIG = re.compile(
    r"unable to open config file:.*(no such file or directory|does not exist|\b404 Not Found)|repository does not exist",
    re.S,
)
_PIECE = 1 << 20
#: Seconds in which restic may clean up before it is killed.
_GRACE_S = 10
_SAID = 2000


class Restic:
    """One repository.

    Args:
        repository: As restic names it.
        password: Its password.
        timeout_s: Seconds that one call may take.
    """

    def __init__(self, repository: str, password: Secret, timeout_s: float) -> None:
        self.repository = repository
        self._password = password
        self._timeout_s = timeout_s

    # -- what is there -------------------------------------------------------------------------------------------

    def version(self) -> str:
        """Return the program's version.

        Raises:
            WorldError: It is not on this computer.
        """
        with border("restic does not run", where="restic version"):
            try:
                done = subprocess.run(["restic", "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
            except FileNotFoundError:
                raise WorldError(
                    "restic is not on this computer",
                    where="here",
                    wanted="the program restic, 0.14 or newer",
                    seen="no such program",
                    next="sudo apt-get install restic",
                    code=Code.RESTIC_NOT_HERE,
                ) from None
        found = re.search(r"restic ([0-9][0-9.]*)", done.stdout)
        return found[1] if found else "unknown"

    def exists(self) -> bool:
        """Tell whether there is a repository.

        Raises:
            WorldError: Its place cannot be reached, or the password is another one's.
        """
        code, _, said = self._call("cat", "config", "--no-lock")
        if code == 0:
            return True
        if code == 10 or (code == 1 and _NO_CONFIG.search(said)):
            return False
        raise self._failed("it cannot be opened", code, said)

    def snapshots(self) -> list[Snapshot]:
        """List the snapshots that are ours, the oldest first; those that are not complete, too."""
        return self._listed(MARK, read_snapshots)

    def pieces(self) -> list[Piece]:
        """List the pieces of the archive of binary logs, the oldest first; those that are not complete, too."""
        return self._listed(archive.MARK, read_pieces)

    def _listed(self, mark: str, read: Callable[[Any], list[T]]) -> list[T]:
        out = self._done("snapshots", "--no-lock", "--json", "--tag", mark)
        try:
            return read(json.loads(out))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise self._failed("its list of snapshots is not understood", 0, str(error)) from None

    # -- what is done --------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Make the repository."""
        if ":" not in self.repository:
            with border("the folder of the repository cannot be made", where=self.repository):
                Path(self.repository).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._done("init")

    def forget(self, ids: Sequence[str]) -> None:
        """Forget snapshots by their ids."""
        if ids:
            self._done("forget", *ids)

    def keep(self, policy: str, cluster: str, database: str) -> None:
        """Forget what a policy keeps no longer, and remove what no snapshot needs.

        Args:
            policy: ``7 daily, 4 weekly``; empty for all.
            cluster: Whose.
            database: Whose.
        """
        whose = f"{MARK},cluster={cluster},database={database},state=complete"
        if options := keep_options(policy):
            self._done("forget", "--group-by", "", "--tag", whose, *options, "--prune")

    def check(self) -> str:
        """Have restic check its repository; return what is wrong, nothing where all is well."""
        code, _, said = self._call("check")
        if code == 0:
            return ""
        if any(code == known for known, *_ in _FAILURES) or re.search(f"{_FAILURES[0][1]}|{_FAILURES[1][1]}", said):
            raise self._failed("it could not be checked", code, said)
        return said[-_SAID:] or f"exit code {code}"

    def retag(self, name: str, tags: Sequence[str]) -> None:
        """Give a snapshot other tags; its id becomes another one."""
        self._done("tag", "--set", ",".join(tags), name)

    @contextlib.contextmanager
    def intake(self, cluster: str, tags: Sequence[str], file: str) -> Iterator[Intake]:
        """Take in a stream as a new snapshot.

        It becomes one by :meth:`Intake.commit` alone: left without that, by an error, restic is ended before it sees the end
        of the stream, and there is no snapshot.

        Args:
            cluster: Whose it is.
            tags: Those of one that is not complete.
            file: The name of its one file.
        """
        words = ["backup", "--stdin", "--stdin-filename", file, "--host", cluster, "--json", "--quiet"]
        tagged = [word for tag in tags for word in ("--tag", tag)]
        with self._started([*words, *tagged], stdin=subprocess.PIPE) as (process, out, err):
            taking = Intake(process, lambda: self._failed("it does not take the backup in", process.poll() or 1, _read(err)))  # fmt: skip
            yield taking
            if taking.committed:
                if process.returncode != 0:
                    raise self._failed("it did not take the backup in", process.returncode, _read(err))
                taking.id = _snapshot_id(_read(out))

    def stream(self, name: str, file: str) -> Iterator[bytes]:
        """Give the content of a snapshot's file, in pieces.

        Args:
            name: The snapshot's id.
            file: The file's name.

        Raises:
            WorldError: It is not whole.
        """
        with self._started(["dump", name, f"/{file}"], stdout=subprocess.PIPE) as (process, _, err):
            assert process.stdout is not None
            while piece := process.stdout.read(_PIECE):
                yield piece
            if (code := self._ended(process)) != 0:
                raise self._failed("the snapshot cannot be read to its end", code, _read(err), Code.SNAPSHOT_DAMAGED)

    # -- within --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _started(
        self, words: Sequence[str], stdin: int = subprocess.DEVNULL, stdout: int | None = None
    ) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
        self.version()
        with contextlib.ExitStack() as stack:
            with border("restic does not start", where="here"):
                out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                read, write = os.pipe()
                try:
                    os.write(write, self._password.reveal().encode() + b"\n")
                finally:
                    os.close(write)
                try:
                    process = subprocess.Popen(
                        ["restic", "-r", self.repository, "--password-file", f"/dev/fd/{read}", *words],
                        stdin=stdin, stdout=stdout or out, stderr=err, pass_fds=[read], env=_environment(),
                    )  # fmt: skip
                finally:
                    os.close(read)
            stack.callback(_end, process)
            # Reading from it and writing to it wait without a limit: a place that hangs must not keep them for ever.
            watch = threading.Timer(self._timeout_s + _GRACE_S, process.kill)
            stack.callback(watch.cancel)
            watch.daemon = True
            watch.start()
            stack.enter_context(doing("here", f"restic {words[0]}"))
            yield process, out, err

    def _ended(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            raise WorldError(
                "restic takes too long; it was ended",
                where=self.repository,
                wanted=f"an answer within {self._timeout_s:g} s",
                seen="none",
                next="run it again; or give it more time: backup_timeout",
                code=Code.REPOSITORY_FAILED,
            ) from None

    def _call(self, *words: str) -> tuple[int, str, str]:
        with self._started(words) as (process, out, err):
            code = self._ended(process)
            return code, _read(out, 64 << 20), _read(err)

    def _done(self, *words: str) -> str:
        code, out, said = self._call(*words)
        if code != 0:
            raise self._failed(f"restic {words[0]} failed", code, said)
        return out

    def _failed(self, what: str, exit_code: int, said: str, code: Code = Code.REPOSITORY_FAILED) -> WorldError:
        next_ = "read what restic says; restic -r REPOSITORY check looks at all of it"
        for number, words, known, meant, then in _FAILURES:
            if exit_code == number or (exit_code == 1 and code is Code.REPOSITORY_FAILED and re.search(words, said)):
                code, what, next_ = known, meant, then
                break
        return WorldError(
            f"{what}; nothing was done with it" if code is Code.SNAPSHOT_DAMAGED else what,
            where=f"the repository {self.repository}",
            wanted="restic ends well",
            seen=mask(said.strip()[-_SAID:]) or f"exit code {exit_code}",
            next=next_.replace("REPOSITORY", typed(self.repository)),
            code=code,
        )


class Intake:
    """A stream on its way into a repository.

    Args:
        process: restic.
        failed: Makes the error where it has ended before the stream has.
    """

    def __init__(self, process: subprocess.Popen[bytes], failed: Callable[[], WorldError]) -> None:
        self._process, self._failed = process, failed
        self.committed = False
        #: Of the snapshot, once it is there.
        self.id = ""

    def write(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            WorldError: restic has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(piece)
        except OSError:
            self._process.wait(_GRACE_S)
            raise self._failed() from None

    def commit(self, timeout_s: float) -> None:
        """Say that the stream was whole, and wait until the snapshot is there.

        Args:
            timeout_s: Seconds that it may take.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout_s)
        except (OSError, subprocess.TimeoutExpired):
            raise self._failed() from None
        self.committed = True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End restic where it still runs: before its standard input is closed, which it would take for the end of the stream."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # it takes its lock away
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _environment() -> dict[str, str]:
    """Return what restic is given: credentials for a place are the caller's affair, the repository is not."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    return {**kept, "RESTIC_PROGRESS_FPS": "0.01", "LC_ALL": "C"}


def _read(file: IO[bytes], most: int = 1 << 20) -> str:
    file.seek(0)
    return file.read(most).decode(errors="replace")


def _snapshot_id(said: str) -> str:
    for line in reversed(said.splitlines()):
        with contextlib.suppress(ValueError):
            row: Any = json.loads(line)
            if isinstance(row, dict) and re.fullmatch("[0-9a-f]{8,64}", str(row.get("snapshot_id", ""))):
                return str(row["snapshot_id"])
    return ""
