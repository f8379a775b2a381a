"""The fire: runs a command up to a moment, kills something there, and looks at what is claimed afterwards."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import nbformat

from swarmbook.model.ledger import FILE, read_chain
from swarmbook.record.audit import audit

from .conftest import BOUND_S, SOON_S, Done, Lab, Running, until
from .identity import Identity
from .kills import DISK, HELPER, KERNEL, LIMIT, RUNNER, Kill, traced_cells
from .processes import helpers_of
from .truth import Line, Trace, leftovers, steps_of, untruths

__all__ = ["Fire", "Outcome"]

_LOOK_S = 0.002
_BETWEEN_S = 0.03
#: Seconds that cells take on two nodes where they have work to do. What comes too late meets the cell at its end, where it is held.
_WORK_S = {
    "01:8": 2.0, "02:6": 0.3, "03:4": 2.0, "03:6": 1.0, "03:8": 6.0, "04:4": 5.0, "05:6": 1.0, "06:4": 0.4, "06:6": 1.0, "07:4": 8.0, "90:6": 3.0, "91:6": 2.0,
}  # fmt: skip
#: A cell that is sooner through than this is held at its first line instead.
_SHORT_S = 0.1
#: Exit codes that are true of what happened. A helper may be one whose end changes nothing, or a check may see what its end did.
_EXITS = {
    (RUNNER, "SIGKILL"): {-9}, (RUNNER, "SIGTERM"): {130}, (RUNNER, "SIGINT"): {130}, (RUNNER, DISK): {3},
    (KERNEL, "SIGKILL"): {3}, (KERNEL, "SIGTERM"): {3}, (KERNEL, "SIGINT"): {0, 3}, (KERNEL, LIMIT): {3},
    **{(HELPER, way): {0, 1, 3} for way in ("SIGKILL", "SIGTERM", "SIGINT")},
}  # fmt: skip


@dataclass
class Outcome:
    """What became of one kill; the table's line."""

    kill: Kill
    journey: str
    hit: str = ""
    exit_code: int | None = None
    audit: int | None = None
    untruths: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    resumed: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        what = "; ".join(text.strip().partition("\n")[0] for text in self.untruths) or "true"
        left = f"  (left: {', '.join(self.leftovers)})" if self.leftovers else ""
        return f"{self.kill!s:<56}  exit {self.exit_code!s:>4}  audit {self.audit}  {self.resumed or 'NOT RESUMED':<11}  {self.seconds:5.1f} s  {self.hit}: {what}{left}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Fire:
    """One lab whose notebooks are traced.

    Args:
        lab: Two nodes, the first one a manager.
        keep: Where the runs go that claim what is not true.
    """

    def __init__(self, lab: Lab, keep: Path) -> None:
        self.lab, self.keep = lab, keep
        self.outcomes: list[Outcome] = []
        self.usual: dict[str, float] = {}
        self.identity = Identity(lab)
        self._count = 0
        self.sources = {path.name[:2]: path for path in sorted((lab.home / "notebooks").glob("*.ipynb"))}
        shutil.copy(Path(__file__).with_name("tracer.py"), lab.home / "fire_tracer.py")
        for number, path in self.sources.items():
            nb = nbformat.read(path, as_version=4)
            for index in traced_cells(nb):
                nb.cells[
                    index
                ].source = f'__import__("fire_tracer").begin("{number}:{index}")\n{nb.cells[index].source}'
            nbformat.write(nb, path)
        self.runs = lab.home / "runs"
        self.runs.mkdir()
        # A file system of its own, so that it can be full without anything else being so.
        self.mounted = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=48m,mode=755", "fire", str(self.runs)],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        )

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.runs)], check=True)

    # -- one command ---------------------------------------------------------------------------------------------------

    def start(self, gate: str, verb: str, *arguments: str, log: Path | None = None) -> tuple[Running, Trace, Path]:
        self._count += 1
        trace, fifo = self.lab.home / f"trace-{self._count}", self.lab.home / f"gate-{self._count}"
        os.mkfifo(fifo)
        env = {"FIRE_TRACE": str(trace), "FIRE_FIFO": str(fifo), "FIRE_GATE": gate, "PYTHONPATH": str(self.lab.home)}
        return self.lab.start(verb, *arguments, env=env, log=log), Trace(trace), fifo

    def run(self, verb: str, *arguments: str) -> Done:
        """A command to its good end, itself held against its trace."""
        running, trace, _ = self.start("", verb, *arguments)
        done = running.wait().expect(0)
        folder = self.lab.runs[-1]
        found = self.claims(folder, trace, done)
        assert not found, f"{found}{done}"
        report = audit(folder, self.lab.home)
        assert (report.exit_code, report.status) == (0, "completed"), report
        self._learn(trace)
        return done

    def claims(self, folder: Path, trace: Trace, done: Done) -> list[str]:
        ran = {
            number: path for number, path in self.sources.items() if set(steps_of(path)) & trace.places("begin")
        } or self.sources
        return untruths(folder, trace, {**self.sources, **ran}, done.code, done.said)

    def _learn(self, trace: Trace) -> None:
        """How long each cell takes that finds nothing to do."""
        begun = {line.place: line.time for line in trace.lines() if line.word == "begin"}
        for line in trace.lines():
            if line.word == "end" and line.place in begun:
                self.usual[line.place] = min(self.usual.get(line.place, 60.0), line.time - begun[line.place])

    def _lasts(self, kill: Kill, works: bool) -> float:
        seen = self.usual.get(kill.place, 0.0)
        return max(_WORK_S.get(kill.place, seen), seen) if works else seen

    def _gate(self, kill: Kill, works: bool) -> str:
        """Where the witness holds the cell."""
        if kill.moment == "before":
            return f"begin {kill.place}"
        short = kill.moment == "inside" and kill.victim != HELPER and self._lasts(kill, works) < _SHORT_S
        return f"{'inside' if short else 'end'} {kill.place}"

    # -- one kill ------------------------------------------------------------------------------------------------------

    def shoot(self, kill: Kill, journey: str, works: bool, verb: str, *arguments: str) -> Outcome:
        """Run a command, kill at the kill's moment, look at what is claimed.

        Args:
            kill: What to do.
            journey: Its name, for the table.
            works: Whether this cell has work to do here, and so takes longer.
            verb: The command; its arguments follow.
        """
        outcome = Outcome(kill, journey)
        self.outcomes.append(outcome)
        began = time.monotonic()
        try:
            self._shoot(outcome, works, verb, *arguments)
        except Exception as error:  # one kill that goes wrong must not hide the others
            outcome.untruths += (f"{type(error).__name__}: {error}",)
        outcome.seconds = round(time.monotonic() - began, 1)
        self.tell()
        return outcome

    def tell(self) -> None:
        """All that is known so far, for anyone who cannot wait for the end."""
        (self.keep / "fire.json").write_text(
            json.dumps([outcome.to_json() for outcome in self.outcomes], indent=1) + "\n"
        )

    def _shoot(self, outcome: Outcome, works: bool, verb: str, *arguments: str) -> None:
        kill = outcome.kill
        gate = self._gate(kill, works)
        before = len(self.lab.runs)
        if kill.way == LIMIT:
            # As short as the cells on the way allow.
            arguments = (*arguments, "--cell-timeout", "4" if works else "2")
        # What the run says goes where its record goes, as with a person's `swarmbook run ... > runs/log`.
        running, trace, fifo = self.start(gate, verb, *arguments, log=self.runs / "log" if kill.way == DISK else None)
        # Where a cell stays at its gate, and what is hit does not end it there, it must be let go on.
        lets_go = kill.victim == HELPER or kill.way == DISK or (kill.victim == KERNEL and kill.way != LIMIT)
        ballast = None
        try:
            if kill.way == LIMIT:
                outcome.hit = "cell at its time limit"
            else:
                line = self._moment(kill, running, trace, fifo, works, gate)
                if kill.way == DISK:
                    ballast = self._fill(running.process.pid, line.pid)
                    outcome.hit = "no space left under runs/" if self.mounted else "no process may write files"
                else:
                    pid, outcome.hit = self._victim(kill, running, trace, line, works)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.Signals[kill.way])
                outcome.hit += f", {trace.lines()[-1].word} {trace.lines()[-1].place}"
            done = self._end(running, fifo if lets_go else None)
        finally:
            if ballast is not None:
                ballast.unlink()
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        outcome.exit_code = done.code
        self._learn(trace)
        assert len(self.lab.runs) == before + 1, f"{len(self.lab.runs) - before} run folders were made:{done}"
        found = tuple(self._judge(kill, trace, done, outcome))
        outcome.untruths = found
        if found:
            self._keep(kill, trace, done)

    def _moment(self, kill: Kill, running: Running, trace: Trace, fifo: Path, works: bool, gate: str) -> Line:
        """Waits for the kill's moment; gives the trace's line with the kernel's process."""
        if kill.moment == "before":
            found: Line = running.until(lambda: trace.find("at-begin", kill.place), pause=_LOOK_S)
        elif kill.moment == "inside":
            found = running.until(lambda: trace.find("begin", kill.place), pause=_LOOK_S)
            if gate.startswith("inside"):
                running.until(lambda: trace.find("at-inside", kill.place), pause=_LOOK_S)
            elif kill.victim != HELPER:
                at = found.time + kill.share * self._lasts(kill, works)
                running.until(lambda: time.time() >= at or trace.find("at-end", kill.place), pause=_LOOK_S)
        else:
            found = running.until(lambda: trace.find("at-end", kill.place), pause=_LOOK_S)
            if kill.moment == "between":
                until(lambda: _open(fifo), pause=_LOOK_S)
                at = time.time() + kill.share * _BETWEEN_S
                until(lambda: time.time() >= at, pause=0.0005)
        return found

    def _victim(self, kill: Kill, running: Running, trace: Trace, line: Line, works: bool) -> tuple[int, str]:
        if kill.victim == RUNNER:
            return running.process.pid, "the runner"
        if kill.victim == KERNEL:
            return line.pid, "the kernel"
        machines = self._machines()
        # The first that is there, or the second, as the seed says; a cell that finds nothing to do may have just one.
        wanted = 1 + int(kill.share * 2) if works else 1
        seen: dict[int, str] = {}

        def look() -> bool:
            seen.update(helpers_of(line.pid, machines))
            return len(seen) >= wanted or trace.find("at-end", kill.place) is not None

        running.until(look, pause=0)
        for pid in reversed(seen):
            if Path(f"/proc/{pid}").exists():
                return pid, f"helper: {seen[pid]}"
        return line.pid, f"{'no longer a' if seen else 'no'} helper in this cell, so the kernel"

    def _machines(self) -> set[int]:
        """The first processes of the machines that are there."""
        found = set()
        for node in self.lab.params["nodes"]:
            with contextlib.suppress(Exception):  # no machine yet, or no longer
                found.add(int(self.lab.machine(node).inspect()["State"]["Pid"]))
        return found - {0}

    def _fill(self, *pids: int) -> Path | None:
        """No byte more can be written into the run's folder."""
        if not self.mounted:
            for pid in pids:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
            return None
        ballast = self.runs / "ballast"
        with ballast.open("wb", buffering=0) as sink:
            for size in (1 << 20, 1 << 12):
                try:
                    while sink.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
        return ballast

    def _end(self, running: Running, fifo: Path | None) -> Done:
        limit = time.monotonic() + BOUND_S
        while running.process.poll() is None and time.monotonic() < limit:
            if fifo is not None:
                _open(fifo)
            time.sleep(0.005)
        return running.wait(1)

    def _judge(self, kill: Kill, trace: Trace, done: Done, outcome: Outcome) -> Iterator[str]:
        folder = self.lab.runs[-1]
        yield from self.claims(folder, trace, done)
        wanted = _EXITS[kill.victim, kill.way]
        if kill.moment == "between" and wanted != {-9}:  # behind the last cell there may be nothing left to stop
            wanted = {0, *wanted}
        if done.code not in wanted:
            yield f"exit {done.code}, wanted one of {sorted(wanted)}"
        if "Traceback" in done.said:
            yield "a traceback on the terminal"
        report = audit(folder, self.lab.home)
        outcome.audit = report.exit_code
        status = {
            0: ("completed",),
            130: ("interrupted",),
            3: ("failed", "kernel-died", "timeout"),
            1: ("failed",),
        }.get(done.code, ())
        if done.code == -9 or kill.way == DISK:
            if report.exit_code != 1 or not report.finding:
                yield f"audit of what was cut short: {report.exit_code} {report.finding}"
        elif (report.exit_code, report.status in status) != (0, True):
            yield f"audit of a run that ended in good order: {report.exit_code} {report.status} {report.finding}"
        try:
            until(lambda: not self.lab.kernels(), timeout=SOON_S, pause=0.02)
        except AssertionError:
            yield f"kernels left behind: {self.lab.kernels()}"
        lock = self.lab.folder / "lock"
        if lock.exists():
            try:
                filelock.FileLock(lock).acquire(timeout=0).lock.release()
            except filelock.Timeout:
                yield "the cluster's lock is held"
        outcome.leftovers = tuple(leftovers(folder))

    def _keep(self, kill: Kill, trace: Trace, done: Done) -> None:
        target = self.keep / f"kill-{kill.number:03}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.lab.runs[-1], target / "run")
        shutil.copy(trace.path, target / "trace")
        (target / "said.txt").write_text(str(done))

    # -- after a kill --------------------------------------------------------------------------------------------------

    def again(self, verb: str, *arguments: str) -> tuple[str, ...]:
        """The command that goes on from the run that was just killed: the one place that knows how.

        A run that was killed before it could write a line, and one that has completed all it had to take away, leave nothing to
        resume: then the same command again.
        """
        folder = self.lab.runs[-1]
        path = folder / FILE
        chain = read_chain(path.read_bytes()) if path.exists() else None
        if chain is None or not chain.run:
            return (verb, *arguments)
        reported = {event["number"]: event["status"] for event in chain.events if event["event"] == "chapter"}
        if all(
            chapter["number"] >= "90" and reported.get(chapter["number"]) == "completed"
            for chapter in chain.run["chapters"]
        ):
            return (verb, *arguments)
        return ("run", "--resume", str(folder.relative_to(self.lab.home)), "--yes")

    def after(self, outcome: Outcome, what: Callable[[], object]) -> None:
        """What has to hold after a kill; noted with it, so that the next kill has its turn."""
        try:
            what()
            outcome.resumed = "resumed"
        except Exception as error:
            outcome.untruths += (f"afterwards: {type(error).__name__}: {error}",)
        self.tell()

    def same_cluster(self) -> None:
        """The cluster that was there before: verified by the book, and from outside it."""
        self.run("verify")
        self.identity.same()

    def nothing_to_change(self) -> None:
        self.run("run")
        assert self.lab.summary()["changes"] == 0, self.lab.summary()

    def sweep(self) -> None:
        """Old runs go: their file system is small."""
        for folder in self.lab.runs[:-1]:
            shutil.rmtree(folder)


def _open(fifo: Path) -> bool:
    """Opens the gate for the one that waits there; False when no one does."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO, error
        return False
    return True
