"""What changes of a running cluster cost an application: restarts, more nodes and fewer, and the endpoint itself; in figures.

Usage: python -m tools.operate [--repeat 5] [--only roll scale proxy calm] [--seconds 3600] [--busy 28] [--out bench-results/]

On a lab of its own, which it takes away. The application of 09 works meanwhile, and every commit that was acknowledged is looked for
afterwards. Writes OUT/operate.json after each change. How long something takes is no failure; a commit that is missing is one. What faults
do (a writer killed, a machine lost, a writer that hands over) is measured by `make drills`. `calm`, only where it is named, changes nothing:
for an hour it keeps the computer at a load of about 30, and counts how often members left each other behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import yaml

from swarmbook.access.commands import sh
from swarmbook.access.pki import Purpose, operator
from swarmbook.application.tally import Seen
from swarmbook.base.errors import SwarmbookError
from swarmbook.base.files import write_atomic
from swarmbook.book.book import Book
from swarmbook.params import load_params
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.members import member_name, of_service, service_name
from swarmbook.phases.use.doors import login_of
from swarmbook.phases.use.folder import claimed
from swarmbook.phases.use.step import clean, held, run_it
from tools.bench import Failed, Lab, a_lab, columns, interrupt, machine
from tools.loaded import busy

WHAT = ("roll", "scale", "proxy", "calm")
_NODES = [f"sw{number}" for number in range(1, 8)]
_PORTS = {"with_endpoint": True, "endpoint_writer_port": 3307, "endpoint_reader_port": 3308, "mariadb_port": 3306}
#: Seconds of the application before a change begins and after its end; and the most that it works in all.
_BEFORE_S, _AFTER_S, _MOST_S = 4.0, 4.0, 1800.0
#: Seconds of sysbench by each way; its connections, tables and rows.
_SYSBENCH_S, _THREADS, _TABLES, _ROWS = 20, 4, 2, 10_000


@dataclass(frozen=True)
class Change:
    """One change under load.

    Args:
        what: In words.
        seconds: The command's wall time.
        gap_s: Longest time without a commit, seconds.
        acknowledged: Commits that were acknowledged.
        again: ... at a second try.
        undone: Transfers that failed twice.
        wrong: What did not hold, in words.
        groups: How often the group of members became another one.
    """

    what: str
    seconds: float
    gap_s: float
    acknowledged: int
    again: int
    undone: int
    wrong: tuple[str, ...]
    groups: int = 0


def under_load(lab: Lab, what: str, act: Callable[[], float], most_s: float = _MOST_S) -> Change:
    """Make a change while the application works.

    Args:
        lab: Where.
        what: In words.
        act: Makes it, and returns its seconds.
        most_s: The application works for this long at most.

    Raises:
        Failed: The command of the change did.
    """
    took: list[float] = []
    failed: list[Exception] = []
    ended = [float("inf")]

    def change() -> None:
        try:
            took.append(act())
        except (Failed, OSError) as error:
            failed.append(error)
        ended[0] = time.monotonic()

    acting = threading.Thread(target=change)

    def heard(seen: Seen) -> None:
        if seen.seconds >= _BEFORE_S and acting.ident is None:
            acting.start()
        if time.monotonic() > ended[0] + _AFTER_S:
            raise KeyboardInterrupt  # as a person ends it

    with contextlib.closing(Book("", load_params(lab.params))) as book, claimed(book.cluster.name):
        try:
            ran = run_it(book, most_s, heard, stoppable=True)
            interrupted = ended[0] == float("inf")  # by a person: not by us, after the change
        finally:
            if acting.ident is not None:
                acting.join()
    if interrupted:
        raise KeyboardInterrupt
    if failed:
        raise failed[0]
    with contextlib.closing(Book("", load_params(lab.params))) as book:  # its nodes may be other ones by now
        checks = held(book, ran.folder)
        if not checks.failed:
            clean(book)
    wrong = tuple(f"{one.host}, {one.name}: wanted {one.wanted}, seen {one.seen}" for one in checks.failed)
    found = ran.figures
    return Change(what, took[0], found.gap_s, found.acknowledged, found.again, found.undone, wrong)


def sized(lab: Lab, nodes: int) -> float:
    """Have the cluster run on so many nodes, by editing the parameters; return the seconds of the run."""
    data = yaml.safe_load(lab.params.read_text("utf-8"))
    lab.params.write_text(yaml.safe_dump({**data, "nodes": _NODES[:nodes]}, sort_keys=False), "utf-8")
    return lab.command("run", "--yes")


def group_number(lab: Lab) -> int:
    """Return the number of the members' present group: each one that comes or goes adds one."""
    ask = "docker exec $(@!{running} -q | head -n 1) mariadb -u root -N -B -e \"SHOW GLOBAL STATUS LIKE 'wsrep_cluster_conf_id'\""
    with contextlib.closing(Book("", load_params(lab.params))) as book:
        node = book.params.members()[0]
        said = book.fleet[node].run(sh(ask, running=of_service(service_name(book.params, node))))
    return int(said.stdout.split()[-1])


def calm(lab: Lab, seconds: float, cores: int) -> Change:
    """Keep the computer busy, touch nothing, and count how often members leave each other behind.

    Args:
        lab: Where.
        seconds: For how long.
        cores: How many processes of stress-ng compete for the computer's.
    """

    def wait() -> float:
        with busy(cores):
            threading.Event().wait(seconds)  # what is measured is what happens by itself meanwhile
        return seconds

    before = group_number(lab)
    change = under_load(lab, f"untouched, {cores} processes beside", wait, seconds + 300)
    return replace(change, groups=group_number(lab) - before)


def per_second(said: str) -> float:
    """Read sysbench's transactions per second.

    Example:
        >>> per_second("    transactions:                        1234   (61.66 per sec.)")
        61.66

    Args:
        said: What it printed.
    """
    found = re.search(r"transactions:\s+\d+\s+\((\d+(?:\.\d+)?) per sec", said)
    if found is None:
        raise ValueError(f"sysbench does not say how many transactions it made: {said[-500:]!r}")
    return float(found[1])


def proxy(lab: Lab, repeat: int) -> dict[str, list[float]]:
    """Measure oltp_read_write by the endpoint and at the writer itself, in turns.

    Args:
        lab: Where; both are published.
        repeat: How many turns.

    Returns:
        Transactions per second, by way.
    """
    with contextlib.closing(Book("", load_params(lab.params))) as book:
        nodes = {member_name(book.params, node.name): node for node in book.nodes}
        writer = nodes[writer_now(book)]
        login, authority = login_of(book), book.authority(Purpose.DATABASE)
        ours = operator(authority)
        ways = {
            "endpoint": writer.reach(_PORTS["endpoint_writer_port"]),
            "member": writer.reach(_PORTS["mariadb_port"]),
        }
    folder = Path(tempfile.mkdtemp(prefix="swarmbook-sysbench-"))
    try:
        files = {}
        # It wants a certificate of its own, by these names in its folder, though the server asks for none.
        for name, content in (("cacert.pem", authority.bundle), ("client-cert.pem", ours.certificate), ("client-key.pem", ours.key)):  # fmt: skip
            (folder / name).write_bytes(content)
        for way, end in ways.items():
            # By a file, which only we can read: a command line shows.
            files[way] = folder / way
            files[way].touch(0o600)
            options = {
                "mysql-host": end.host, "mysql-port": end.port, "mysql-user": login.user, "mysql-password": login.password.reveal(),
                "mysql-db": login.database, "mysql-ssl": "REQUIRED", "tables": _TABLES, "table-size": _ROWS, "threads": _THREADS,
                "time": _SYSBENCH_S, "mysql-ignore-errors": "1213,1205,1020",
            }  # fmt: skip
            files[way].write_text("".join(f"{key}={value}\n" for key, value in options.items()))
        _sysbench(files["member"], "prepare")
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeat):
            for way, file in files.items():
                found[way].append(per_second(_sysbench(file, "run")))
        _sysbench(files["member"], "cleanup")
        return found
    finally:
        shutil.rmtree(folder)


def _sysbench(file: Path, verb: str) -> str:
    done = subprocess.run(
        ["sysbench", f"--config-file={file}", "oltp_read_write", verb],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"sysbench oltp_read_write {verb}", done.returncode, done.stdout + done.stderr)
    return done.stdout


def summary(changes: Sequence[Change], ways: dict[str, list[float]]) -> str:
    """Put all into a table: the median, and the worst."""
    rows = [
        ["change", "tries", "seconds", "worst", "longest gap", "commits", "at a second try", "failed twice", "groups"]
    ]
    for what in dict.fromkeys(one.what for one in changes):
        tries = [one for one in changes if one.what == what]
        seconds = [one.seconds for one in tries]
        rows.append([
            what, str(len(tries)), f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}", f"{max(one.gap_s for one in tries):.1f} s",
            str(sum(one.acknowledged for one in tries)), str(sum(one.again for one in tries)), str(sum(one.undone for one in tries)),
            str(sum(one.groups for one in tries)),
        ])  # fmt: skip
    text = columns(rows) if len(rows) > 1 else ""
    if ways:
        middle = {way: statistics.median(values) for way, values in ways.items()}
        cost = 1 - middle["endpoint"] / middle["member"]
        text += f"\noltp_read_write, transactions per second: {middle['member']:.1f} at the member, {middle['endpoint']:.1f} by the endpoint: it costs {cost:.1%}"
    return text


def _write(out: Path, changes: Sequence[Change], ways: Mapping[str, Sequence[float]]) -> None:
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    about = {"date": date, "machine": machine(), "changes": [asdict(one) for one in changes], "transactions": ways}
    write_atomic(out / "operate.json", json.dumps(about, indent=1) + "\n")


def main(arguments: Sequence[str]) -> int:
    """Measure, and say what was found.

    Returns:
        0, or 1 where an acknowledged commit is missing or a command failed.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.operate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="tries of each (default: 5)")
    parser.add_argument("--only", nargs="+", choices=WHAT, default=WHAT[:3], metavar="WHAT", help=", ".join(WHAT))
    parser.add_argument("--seconds", type=float, default=3600, metavar="N", help="how long it is calm (default: 3600)")
    parser.add_argument(
        "--busy", type=int, default=28, metavar="N", help="processes of stress-ng meanwhile (default: 28)"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-results"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    changes: list[Change] = []
    ways: dict[str, list[float]] = {}
    try:
        with a_lab(3) as lab:
            data = {**yaml.safe_load(lab.params.read_text("utf-8")), **_PORTS}
            lab.params.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
            lab.command("run")
            os.environ["SWARMBOOK_HOME"] = str(lab.home)
            if "proxy" in options.only:
                ways = proxy(lab, options.repeat)
                print(f"transactions per second: {ways}", flush=True)
                _write(options.out, changes, ways)
            if "calm" in options.only:
                changes.append(calm(lab, options.seconds, options.busy))
                print(changes[-1], flush=True)
                _write(options.out, changes, ways)
            for turn in range(options.repeat):
                if "roll" in options.only:
                    changes.append(under_load(lab, "each of 3 restarted", lambda: lab.command("roll", "members")))
                    print(f"{turn + 1}: {changes[-1]}", flush=True)
                    _write(options.out, changes, ways)
                if "scale" in options.only:
                    for before, after in ((3, 5), (5, 7), (7, 3)):
                        changes.append(under_load(lab, f"{before} to {after} nodes", partial(sized, lab, after)))
                        print(f"{turn + 1}: {changes[-1]}", flush=True)
                        _write(options.out, changes, ways)
    except (SwarmbookError, Failed) as error:
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    print(summary(changes, ways))
    wrong = [each for one in changes for each in one.wrong]
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
