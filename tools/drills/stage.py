"""A lab as a stage: who plays which part, and what can be done to machines and members from outside."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmbook.base.errors import UsageError
from swarmbook.book.book import Book
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import member_name, service_name
from swarmbook.phases.support.preconditions import require_swarm

__all__ = ["Stage"]

#: All that a machine sends and receives, also what it passes on for its containers: as if its cable were pulled.
_IN = "iptables -w -t raw -{verb} PREROUTING -i eth0 -j DROP"
_OUT = "iptables -w -t mangle -{verb} POSTROUTING -o eth0 -j DROP"
_FILL = "swarmbook-drill-fill"


class Stage:
    """A lab, and what can be done to it: through the engine of this computer, which needs none of the lab's own ways.

    Args:
        book: The open book of a lab that is whole.
        params: The lab's parameter file, for the command line.
        rng: Draws what is left open, from the drill's seed.

    Raises:
        UsageError: It is no lab.
    """

    def __init__(self, book: Book, params: Path, rng: random.Random) -> None:
        if book.params.provider != "lab":
            raise UsageError(
                "a drill breaks machines on purpose, so it is for labs only",
                where=f"cluster {book.cluster.name}",
                wanted="provider: lab",
                seen=f"provider: {book.params.provider}",
                next="make drills",
            )
        self.book, self.file, self.rng = book, params, rng
        self.nodes = list(book.params.members())
        node_of = {member_name(book.params, node): node for node in self.nodes}
        self.writer = node_of[writer_now(book)]
        self.other = rng.choice([node for node in self.nodes if node != self.writer])
        self.third = next(node for node in self.nodes if node not in (self.writer, self.other))
        managers = self.inside(
            require_swarm(book), "docker node ls --format '{{.Hostname}} {{.ManagerStatus}}' | sed -n 's/ Leader$//p'"
        )
        self.leader = managers.strip()

    # -- machines ----------------------------------------------------------------------------------------------

    def machine(self, verb: str, *nodes: str) -> None:
        """Do something to machines: this computer's engine knows them as containers."""
        names = [f"swarmbook-{self.book.cluster.name}-{node}" for node in nodes]
        subprocess.run(["docker", verb, *names], check=True, stdout=subprocess.DEVNULL)

    def inside(self, node: str, script: str, check: bool = True) -> str:
        """Run a script in a machine, as root."""
        command = ["docker", "exec", f"swarmbook-{self.book.cluster.name}-{node}", "sh", "-c", script]
        return subprocess.run(command, check=check, capture_output=True, text=True).stdout

    @contextmanager
    def cut(self, node: str, inwards: bool = True, outwards: bool = True) -> Iterator[None]:
        """Pull a machine's cable, or one of its two wires."""
        rules = [rule for rule, wanted in ((_IN, inwards), (_OUT, outwards)) if wanted]
        self.inside(node, "; ".join(rule.format(verb="I") for rule in rules))
        try:
            yield
        finally:
            self.inside(node, "; ".join(rule.format(verb="D") for rule in rules))

    @contextmanager
    def full(self, node: str) -> Iterator[None]:
        """Fill the disk that a member's data lies on, to the last MiB."""
        folder = f"$(dirname {shlex.quote(data_folder(self.book.params))})"
        sizes = " ".join(f"{2**power}M" for power in range(16, -1, -1))
        self.inside(
            node,
            f"cd {folder} && mkdir -p {_FILL} && n=0; for s in {sizes}; do "
            f"while n=$((n + 1)); fallocate -l $s {_FILL}/$n 2>/dev/null; do :; done; rm -f {_FILL}/$n; done",
        )
        try:
            yield
        finally:
            self.inside(node, f"cd {folder} && rm -rf {_FILL}")

    # -- members -----------------------------------------------------------------------------------------------

    def containers(self, node: str, service: str) -> str:
        """Say how a machine's shell lists the containers of a service that run."""
        return f"$(docker ps -q --filter label=com.docker.swarm.service.name={shlex.quote(service)})"

    def member(self, verb: str, node: str) -> None:
        """Do something to the container of a member; one that is not there is left alone."""
        listed = self.containers(node, service_name(self.book.params, node))
        self.inside(node, f'c={listed}; [ -z "$c" ] || docker {verb} $c >/dev/null')

    def consul(self, verb: str, node: str) -> None:
        """Do something to all containers of Consul on a node."""
        self.inside(node, f'c=$(docker ps -q --filter name=consul); [ -z "$c" ] || docker {verb} $c >/dev/null')

    def sql(self, node: str, sql: str) -> str:
        """Execute SQL in a member, as its root; in the database of applications."""
        listed = self.containers(node, service_name(self.book.params, node))
        words = shlex.quote(sql)
        return self.inside(
            node, f"docker exec {listed} mariadb -u root -N -B {self.book.params.mariadb_database} -e {words}"
        )

    def empty(self, node: str) -> None:
        """Kill a member and take its data away: it comes back by a state transfer of everything."""
        folder = shlex.quote(data_folder(self.book.params))
        listed = self.containers(node, service_name(self.book.params, node))
        self.inside(node, f"docker kill {listed} >/dev/null; find {folder}/data -mindepth 1 -delete")

    def swarmbook(self, verb: str, *options: str) -> None:
        """Type a command of the book, as a person would."""
        program = Path(sys.executable).with_name("swarmbook")
        subprocess.run([str(program), verb, str(self.file), *options], check=True, stdout=subprocess.DEVNULL)

    # -- moments -----------------------------------------------------------------------------------------------

    def rest(self, seconds: float) -> None:
        """Let a fault last."""
        time.sleep(seconds)

    def until(self, what: Callable[[], bool], most_s: float) -> bool:
        """Wait for a moment, for so long at most; say whether it came."""
        ends = time.monotonic() + most_s
        while not (there := what()) and time.monotonic() < ends:
            time.sleep(0.1)
        return there

    def transfer_begun(self, node: str) -> bool:
        """Whether a state transfer into a member is under way."""
        folder = shlex.quote(data_folder(self.book.params))
        marks = f"{folder}/data/.sst {folder}/data/sst_in_progress"
        return bool(self.inside(node, f"ls -d {marks} 2>/dev/null", check=False))

    def donor(self) -> str:
        """Return the member that gives its data just now; nothing where none does."""
        for node in (self.writer, self.third, self.other):
            if "Donor" in self.sql_or_nothing(node, "SHOW STATUS LIKE 'wsrep_local_state_comment'"):
                return node
        return ""

    def sql_or_nothing(self, node: str, sql: str) -> str:
        """Execute SQL where that can be done just now."""
        try:
            return self.sql(node, sql)
        except subprocess.CalledProcessError:
            return ""

    def sql_until(self, node: str, sql: str, most_s: float) -> None:
        """Execute SQL as soon as that can be done; it may be that it never can."""

        def tried() -> bool:
            try:
                self.sql(node, sql)
            except subprocess.CalledProcessError:
                return False
            return True

        self.until(tried, most_s)

    def background(self, act: Callable[[], object]) -> None:
        """Do something meanwhile."""
        threading.Thread(target=act, daemon=True).start()
