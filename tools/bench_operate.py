"""What an application notices of faults and of changes: the longest time without a commit, for each, and whether all was kept.

Usage: python tools/bench_operate.py [--repeat 5] [--only NAME...] [--out bench-results/]

On a lab of its own, of three nodes, the application of notebook 09 works at the endpoint. Meanwhile something happens to the cluster.
Afterwards every acknowledged commit is looked for on every member. Writes OUT/operate.json. A target that is missed is reported
and is no failure; a commit that is missing is one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from swarmbook.access.commands import sh
from swarmbook.application.tally import Seen
from swarmbook.base.errors import SwarmbookError
from swarmbook.base.files import write_atomic
from swarmbook.book.book import Book
from swarmbook.params import load_params
from swarmbook.phases.endpoint.switch import switch_writer
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.members import member_name, of_service, service_name
from swarmbook.phases.use.folder import claimed
from swarmbook.phases.use.step import clean, held, run_it
from tools.bench import Lab, a_lab, columns, interrupt, machine

#: Seconds after which it happens.
_BEGUN_S = 6.0


class Stage:
    """The lab, and what can be done to it.

    Args:
        lab: It.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.book = Book("", load_params(lab.params))
        params = self.book.params
        node_of = {member_name(params, node): node for node in params.members()}
        self.writer = node_of[writer_now(self.book)]
        self.other = next(node for node in params.members() if node != self.writer)

    def docker(self, verb: str, *nodes: str) -> None:
        """Do something to machines: the engine of this computer knows them as containers."""
        names = [f"swarmbook-{self.lab.name}-{node}" for node in nodes]
        subprocess.run(["docker", verb, *names], check=True, stdout=subprocess.DEVNULL)

    def member(self, verb: str) -> None:
        """Do something to the container of the writer."""
        running = of_service(service_name(self.book.params, self.writer))
        self.book.fleet[self.writer].run(sh("docker @{verb} $(@!{running} -q | head -n 1)", verb=verb, running=running))


def _paused(stage: Stage) -> None:
    stage.member("pause")
    time.sleep(8)
    stage.member("unpause")


def _machine_killed(stage: Stage) -> None:
    stage.docker("kill", stage.writer)
    time.sleep(20)
    stage.docker("start", stage.writer)


def _power_cut(stage: Stage) -> None:
    nodes = stage.book.params.nodes
    stage.docker("kill", *nodes)
    stage.docker("start", *nodes)


@dataclass(frozen=True)
class Event:
    """Something that happens to the cluster.

    Args:
        what: In words.
        act: Makes it happen.
        seconds: For how long the application works.
        wanted_s: The longest time without a commit that is wanted; None where none is stated.
    """

    what: str
    act: Callable[[Stage], object]
    seconds: float
    wanted_s: float | None = None


EVENTS: Mapping[str, Event] = {
    "switch": Event("the writer hands over", lambda stage: switch_writer(stage.book, stage.other), 20, 0.5),
    "stop": Event("the writer's container is stopped cleanly", lambda stage: stage.member("stop"), 30),
    "kill": Event("the writer's container is killed", lambda stage: stage.member("kill"), 30, 2.5),
    "pause": Event("the writer's container is paused for 8 s", _paused, 40),
    "roll": Event("all members restart, one by one", lambda stage: stage.lab.command("roll", "members"), 90, 0.5),
    "machine": Event("the writer's machine loses its power for 20 s", _machine_killed, 60, 8.0),
    "power": Event("all machines lose their power, and come back", _power_cut, 100),
}


@dataclass(frozen=True)
class Happened:
    """What one event did.

    Args:
        event: Its name.
        gap_s: Longest time without a commit, seconds.
        acknowledged: Commits that were acknowledged.
        again: ... at a second try.
        failed: Transfers that failed twice, or of which no one knows what became of them.
        stale: Reads that missed an acknowledged commit.
        kept: Whether every acknowledged commit is there once, on every member, and the total holds.
    """

    event: str
    gap_s: float
    acknowledged: int
    again: int
    failed: int
    stale: int
    kept: bool


def happen(lab: Lab, name: str) -> Happened:
    """Let one event happen while the application works.

    Args:
        lab: The lab, whole.
        name: Of the event.
    """
    event, stage = EVENTS[name], Stage(lab)
    threads: list[threading.Thread] = []
    wrong: list[SwarmbookError] = []

    def act() -> None:
        try:
            event.act(stage)
        except SwarmbookError as error:
            wrong.append(error)

    def heard(seen: Seen) -> None:
        if not threads and seen.seconds >= _BEGUN_S:
            threads.append(threading.Thread(target=act))
            threads[0].start()

    try:
        with claimed(stage.book.cluster.name):
            ran = run_it(stage.book, event.seconds, heard, stoppable=False)
            for thread in threads:
                thread.join()
            checks = held(stage.book, ran.folder)
            clean(stage.book)
    finally:
        stage.book.close()
    for error in wrong:
        print(f"{event.what}: {error}", file=sys.stderr)
    for check in checks.failed:
        print(f"{event.what}: {check.host}, {check.name}: wanted {check.wanted}, seen {check.seen}", file=sys.stderr)
    figures = ran.figures
    lost = figures.unknown + figures.undone
    return Happened(
        name, figures.gap_s, figures.acknowledged, figures.again, lost, figures.stale, not checks.failed and not wrong
    )


def shown(found: Sequence[Happened]) -> str:
    """Render the events for a terminal: median and worst of each."""
    rows = [
        [
            "event",
            "tries",
            "gap, median",
            "worst",
            "wanted",
            "commits",
            "at a second try",
            "failed",
            "stale reads",
            "kept",
        ]
    ]
    for name, event in EVENTS.items():
        tries = [one for one in found if one.event == name]
        if not tries:
            continue
        gaps = [one.gap_s for one in tries]
        rows.append([
            event.what, str(len(tries)), f"{statistics.median(gaps):.2f} s", f"{max(gaps):.2f} s", f"{event.wanted_s:g} s" if event.wanted_s else "-",
            *(str(sum(getattr(one, key) for one in tries)) for key in ("acknowledged", "again", "failed", "stale")),
            "all" if all(one.kept for one in tries) else "NOT ALL",
        ])  # fmt: skip
    return columns(rows)


def main(arguments: Sequence[str]) -> int:
    """Build a lab, let everything happen, and say what was seen.

    Returns:
        0 where everything was kept, else 1.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="tries of each (default: 5)")
    parser.add_argument(
        "--only", nargs="+", choices=list(EVENTS), default=list(EVENTS), metavar="NAME", help=f"of {', '.join(EVENTS)}"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bench-results"), metavar="FOLDER", help="where operate.json goes"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    found: list[Happened] = []
    with a_lab(3) as lab:
        own = {"with_endpoint": True, "endpoint_writer_port": 3307, "endpoint_reader_port": 3308}
        lab.params.write_text(
            yaml.safe_dump({**yaml.safe_load(lab.params.read_text("utf-8")), **own}, sort_keys=False), "utf-8"
        )
        lab.command("run")
        os.environ["SWARMBOOK_HOME"] = str(lab.home)
        for turn in range(options.repeat):
            for name in options.only:
                found.append(happen(lab, name))
                print(f"{name} ({turn + 1} of {options.repeat}): {json.dumps(asdict(found[-1]))}", flush=True)
    data = {"machine": machine(), "events": [asdict(one) for one in found]}
    write_atomic(options.out / "operate.json", json.dumps(data, indent=2) + "\n")
    print(shown(found))
    return 0 if all(one.kept for one in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
