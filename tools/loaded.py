"""Builds labs on a computer that is kept busy, one after the other: slow is not broken.

Usage: python tools/loaded.py [--nodes 7] [--managers 3] [--runs 10] [--busy 1]

Each round is the whole book on a lab of its own, with the time limits that params/lab.yaml has, while stress-ng keeps some cores
busy from the first machine to the last check. Nothing is tried twice: a round that fails is a failure, whatever the load was.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.bench import Failed, a_lab, columns, interrupt, managers_for


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep some cores busy."""
    if not cores:
        yield
        return
    load = subprocess.Popen(["stress-ng", "--cpu", str(cores), "--quiet"], start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(load.pid, signal.SIGTERM)
        load.wait()


def round_of(nodes: int, managers: int) -> tuple[float | None, str]:
    """Build one lab and take it away; return the seconds, or why it failed."""
    with a_lab(nodes) as lab:
        given = yaml.safe_load(lab.params.read_text("utf-8"))
        lab.params.write_text(yaml.safe_dump({**given, "swarm_managers": managers}, sort_keys=False), "utf-8")
        try:
            return lab.run().wall_seconds, ""
        except Failed as failure:
            return None, str(failure)


def main(arguments: Sequence[str]) -> int:
    """Run the rounds, and say how each ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=7, metavar="N", help="size of each lab (default: 7)")
    parser.add_argument("--managers", type=int, metavar="N", help="how many of them are managers (default: 3)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="how many labs (default: 10)")
    parser.add_argument("--busy", type=int, default=1, metavar="N", help="cores that stress-ng keeps busy (default: 1)")
    options = parser.parse_args(arguments)
    managers = options.managers or managers_for(options.nodes)
    signal.signal(signal.SIGTERM, interrupt)
    rows, took, failed = [["round", "seconds", "load", "result"]], [], 0
    try:
        with busy(options.busy):
            for number in range(1, options.runs + 1):
                seconds, why = round_of(options.nodes, managers)
                if seconds is None:
                    failed += 1
                    print(why, file=sys.stderr)
                else:
                    took.append(seconds)
                shown = "-" if seconds is None else f"{seconds:.1f}"
                rows.append([str(number), shown, f"{os.getloadavg()[0]:.1f}", "FAILED" if why else "verified"])
                print(f"round {number}: {rows[-1][3]}, {shown} s, load {rows[-1][2]}", flush=True)
    except KeyboardInterrupt:
        return 130
    print(columns(rows, left=(3,)))
    middle = f", median {statistics.median(took):.1f} s, worst {max(took):.1f} s" if took else ""
    print(
        f"{options.nodes} nodes, {managers} managers, {options.busy} of {os.cpu_count()} cores kept busy: {len(took)} of {options.runs} verified{middle}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
