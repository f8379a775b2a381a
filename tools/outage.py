"""How long a cluster takes to serve again after all its machines lost their power, or were stopped; in figures.

Usage: python -m tools.outage [--nodes 3] [--repeat 5] [--out bench-results/]

On a lab of its own, which it takes away. `power`: machines come back in an order that is drawn, and what counts begins with the answer
of the last engine, since a machine's own start is not the book's. `recover`: after a clean stop of all, what `swarmbook recover` takes.
Writes OUT/outage.json after each try. How long something takes is no failure; a row that is missing afterwards is one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from swarmbook.access.commands import Script, sh
from swarmbook.base.errors import SwarmbookError
from swarmbook.base.files import write_atomic
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.machines.lab.machines import Machines
from swarmbook.params import load_params
from swarmbook.phases.drill.stage import machines_of
from swarmbook.phases.support.members import of_service, service_name
from tools.bench import Failed, Lab, a_lab, columns, interrupt, machine

#: Seconds that machines may take to serve again.
_MOST_S = 600.0


@contextlib.contextmanager
def opened(lab: Lab) -> Iterator[tuple[Book, Machines]]:
    """Open the book of a lab, and have its machines in hand."""
    with contextlib.closing(Book("", load_params(lab.params))) as book:
        yield book, machines_of(book)


def in_member(book: Book, node: str, command: str) -> Script:
    """Build what runs a command of the member's container, on its machine."""
    return sh(
        "docker exec $(@!{running} -q | head -n 1) sh -c @{command}",
        running=of_service(service_name(book.params, node)),
        command=command,
    )


def first(machines: Machines, node: str, script: Script, right: Callable[[str], bool], what: str) -> float:
    """Return the moment at which a machine first answers as it should."""

    def look() -> tuple[bool, str]:
        done = machines.run(node, ["sh", "-c", script])
        return done.ok and right(done.output), done.output[-300:]

    wait_for(what, look, timeout_s=_MOST_S, where=node, slowest_s=0.2)
    return time.monotonic()


def each(names: Sequence[str], ask: Callable[[str], float]) -> dict[str, float]:
    """Ask for each node at the same time; an error of one is the error of all."""
    found: dict[str, float] = {}
    errors: list[SwarmbookError] = []

    def one(name: str) -> None:
        try:
            found[name] = ask(name)
        except SwarmbookError as error:
            errors.append(error)

    asking = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    if errors:
        raise errors[0]
    return found


def serves(book: Book, machines: Machines) -> float:
    """Return the moment at which the last member is Synced in a primary component of all."""
    nodes = book.params.members()

    def right(said: str) -> bool:
        try:
            seen = json.loads(said)
        except ValueError:
            return False
        return bool(seen.get("state_comment") == "Synced" and seen.get("cluster_status") == "Primary" and seen.get("cluster_size") == len(nodes))  # fmt: skip

    found = each(
        nodes, lambda node: first(machines, node, in_member(book, node, "galera-status"), right, f"{node} serves")
    )
    return max(found.values())


def power(lab: Lab, rng: random.Random) -> tuple[float, float]:
    """Cut the power of all machines, give it back in any order; return the seconds to serve, from the last engine on and from the power on."""
    with opened(lab) as (book, machines):
        order = rng.sample(book.params.nodes, len(book.params.nodes))
        for node in order:
            machines.power_off(node)
        begun = time.monotonic()
        for node in order:
            machines.power_on(node)
        engines = each(
            order, lambda node: first(machines, node, sh("docker version"), lambda _: True, f"{node}'s engine answers")
        )
        last = serves(book, machines)
    return last - max(engines.values()), last - begun


def recover(lab: Lab) -> float:
    """Stop all members cleanly, and the machines, start them; return what ``swarmbook recover`` takes, until all serve."""
    with opened(lab) as (book, machines):
        nodes = book.params.nodes
        each(nodes, lambda node: first(machines, node, sh("systemctl stop docker docker.socket"), lambda _: True, f"{node} stops"))  # fmt: skip
        each(nodes, lambda node: first(machines, node, sh("systemctl start docker"), lambda _: True, f"{node} starts"))
    begun = time.monotonic()
    lab.command("recover")
    with opened(lab) as (book, machines):
        return serves(book, machines) - begun


def rows(lab: Lab) -> int:
    """Write one row, and count all of them, at the first member."""
    sql = "CREATE TABLE IF NOT EXISTS test.kept (id SERIAL); INSERT INTO test.kept VALUES (); SELECT COUNT(*) FROM test.kept"
    with opened(lab) as (book, machines):
        node = book.params.members()[0]
        database = "CREATE DATABASE IF NOT EXISTS test;"
        done = machines.run(node, ["sh", "-c", in_member(book, node, f"mariadb -u root -N -e '{database} {sql}'")])
    return int(done.output.split()[-1])


def main(arguments: Sequence[str]) -> int:
    """Measure, and say what was found.

    Returns:
        0, or 1 where a row is missing or a command failed.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.outage", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="size of the lab (default: 3)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="tries of each (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    rng, wanted, lost = random.Random(1), 0, 0
    found: dict[str, list[float]] = {"power, from the last engine": [], "power, from the power": [], "recover": []}
    try:
        with a_lab(options.nodes) as lab:
            lab.command("run")
            for turn in range(options.repeat):
                wanted += 1
                lost += wanted - rows(lab)
                engine_s, power_s = power(lab, rng)
                found["power, from the last engine"].append(engine_s)
                found["power, from the power"].append(power_s)
                wanted += 1
                lost += wanted - rows(lab)
                found["recover"].append(recover(lab))
                print(f"{turn + 1}: {engine_s:.1f} s, {power_s:.1f} s, {found['recover'][-1]:.1f} s", flush=True)
                date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
                about = {"date": date, "machine": machine(), "nodes": options.nodes, "seconds": found, "lost": lost}
                write_atomic(options.out / "outage.json", json.dumps(about, indent=1) + "\n")
    except (SwarmbookError, Failed) as error:
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    table = [
        [what, str(len(values)), f"{statistics.median(values):.1f}", f"{max(values):.1f}"]
        for what, values in found.items()
    ]
    print(columns([["outage", "tries", "seconds", "worst"], *table]))
    if lost:
        print(f"rows that are missing: {lost}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
