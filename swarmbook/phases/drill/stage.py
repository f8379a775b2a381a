"""A lab as a stage: who plays which part, and what can be done to machines and members from outside."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from swarmbook.access.commands import Script, lines, sh
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, EngineUnavailable, OutOfOrder
from swarmbook.base.plain import plain
from swarmbook.book.book import Book
from swarmbook.machines.lab.machines import Machines
from swarmbook.machines.providers.lab import LabProvider
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import member_name, of_service, service_name
from swarmbook.phases.support.preconditions import labs_only, require_swarm

__all__ = ["Stage"]

_FILL = "swarmbook-drill"
#: Most members that a drill deals with by name: two that are hit, and one that looks on.
_PARTS = 2


def machines_of(book: Book) -> Machines:
    """Return the machines of a lab.

    Args:
        book: The open book.

    Raises:
        UsageError: It is no lab.
        EngineUnavailable: No engine answers that has them.
    """
    labs_only(book.params)
    machines = LabProvider(book).existing()
    if machines is None:
        raise EngineUnavailable(
            "no engine answers that has the lab's machines",
            where="this computer",
            wanted="the engine on which they were made",
            next="swarmbook run PARAMS",
            code=Code.ENGINE_NOT_THERE,
        )
    return machines


class Stage:
    """A lab, and what can be done to it: through the engine of this computer, which needs none of the lab's own ways.

    Args:
        book: The open book of a lab that is whole, with its endpoint.
        rng: Draws what is left open, from the drill's seed.

    Raises:
        UsageError: It is no lab.
        EngineUnavailable: No engine answers that has the machines.
        OutOfOrder: There is no swarm or no endpoint; there is no writer; there are too few members.
    """

    def __init__(self, book: Book, rng: random.Random) -> None:
        self._machines = machines_of(book)
        self.book, self.rng = book, rng
        self.nodes = list(book.params.members())
        if len(self.nodes) < _PARTS:
            raise OutOfOrder(
                "a drill needs members that go on when one is hit",
                where=f"cluster {book.cluster.name}",
                wanted="two members at least, better three",
                seen=f"{len(self.nodes)}",
                next="swarmbook init, then swarmbook run PARAMS",
            )
        node_of = {member_name(book.params, node): node for node in self.nodes}
        writer = writer_now(book)
        if writer not in node_of:
            raise OutOfOrder(
                "no member is the writer, so the cluster is not whole",
                where=f"cluster {book.cluster.name}",
                wanted="one writer",
                seen=writer or "none",
                next="swarmbook status PARAMS",
            )
        self.writer = node_of[writer]
        others = [node for node in self.nodes if node != self.writer]
        self.other = rng.choice(others)
        self.third = next((node for node in others if node != self.other), self.other)
        said = self.inside(require_swarm(book), sh("docker node ls --format '{{.Hostname}} {{.ManagerStatus}}'"))
        leaders = [line.split()[0].lower() for line in said.splitlines() if line.endswith(" Leader")]
        self.leader = next((node for node in book.params.nodes if node.lower() in leaders), book.params.nodes[0])

    # -- machines ----------------------------------------------------------------------------------------------

    def power_off(self, *nodes: str) -> None:
        """Cut the power of machines."""
        for node in nodes:
            self._machines.power_off(node)

    def power_on(self, *nodes: str) -> None:
        """Give machines their power back."""
        for node in nodes:
            self._machines.power_on(node)

    def inside(self, node: str, script: Script) -> str:
        """Run a script in a machine, as root, by the engine of this computer.

        Raises:
            CommandFailed: It did not succeed.
        """
        done = self._machines.run(node, ["sh", "-c", script])
        if not done.ok:
            raise CommandFailed(
                f"a script failed in the machine {node}",
                where=node,
                seen=plain(done.output)[-500:],
                next="swarmbook status PARAMS",
            )
        return plain(done.output)

    def asked(self, node: str, script: Script) -> str:
        """Return what a script says in a machine; nothing where it does not succeed."""
        try:
            return self.inside(node, script)
        except CommandFailed:
            return ""

    @contextmanager
    def cut(self, node: str, *, inwards: bool = True, outwards: bool = True) -> Iterator[None]:
        """Pull a machine's cable, or one of its two wires: also for what it passes on for its containers."""

        def rules(verb: str) -> Script:
            into = sh("iptables -w -t raw @{verb} PREROUTING -i eth0 -j DROP", verb=verb)
            out = sh("iptables -w -t mangle @{verb} POSTROUTING -o eth0 -j DROP", verb=verb)
            return lines(*([into] if inwards else []), *([out] if outwards else []))

        self.inside(node, rules("-I"))
        try:
            yield
        finally:
            self.inside(node, rules("-D"))

    @contextmanager
    def full(self, node: str) -> Iterator[None]:
        """Fill the disk that a member's data lies on, to the last MiB."""
        folder = f"{data_folder(self.book.params)}.{_FILL}"
        script = sh(
            """mkdir -p @{folder} && n=0
for size in @{sizes}; do
  while n=$((n + 1)); fallocate -l "$size" @{folder}/$n 2>/dev/null; do :; done
  rm -f @{folder}/$n
done""",
            folder=folder,
            sizes=[f"{2**power}M" for power in range(16, -1, -1)],
        )
        try:
            self.inside(node, script)
            yield
        finally:
            self.inside(node, sh("rm -rf @{folder}", folder=folder))

    def engine_killed(self, node: str) -> None:
        """Kill a machine's engine; systemd starts it again."""
        self.inside(node, sh("systemctl kill -s KILL docker"))

    # -- members -----------------------------------------------------------------------------------------------

    def member(self, verb: str, node: str) -> None:
        """Do something to the container of a member; one that is not there is left alone."""
        running = of_service(service_name(self.book.params, node))
        self.inside(
            node, sh('c=$(@!{running} -q); [ -z "$c" ] || docker @{verb} $c >/dev/null', running=running, verb=verb)
        )

    def consul_killed(self, node: str) -> None:
        """Kill the containers of Consul on a machine."""
        self.inside(node, sh('c=$(docker ps -q --filter name=consul); [ -z "$c" ] || docker kill $c >/dev/null'))

    def emptied(self, node: str) -> None:
        """Kill a member and take its data away: it comes back by a state transfer of everything."""
        script = sh(
            "docker kill $(@!{running} -q) >/dev/null; find @{data} -mindepth 1 -delete",
            running=of_service(service_name(self.book.params, node)),
            data=f"{data_folder(self.book.params)}/data",
        )
        self.inside(node, script)

    def sql(self, node: str, sql: str) -> str:
        """Execute SQL in a member, as its root, in the database of applications.

        Raises:
            CommandFailed: It did not succeed.
        """
        return self.inside(node, self._sql(node, sql))

    def _sql(self, node: str, sql: str) -> Script:
        return sh(
            "docker exec $(@!{running} -q) mariadb -u root -N -B -D @{database} -e @{sql}",
            running=of_service(service_name(self.book.params, node)),
            database=self.book.params.mariadb_database,
            sql=sql,
        )

    # -- moments -----------------------------------------------------------------------------------------------

    def rest(self, seconds: float) -> None:
        """Let a fault last."""
        time.sleep(seconds)

    def until(self, what: Callable[[], bool], most_s: float) -> bool:
        """Wait for a moment that may not come, for so long at most; say whether it came."""
        ends, pause = time.monotonic() + most_s, 0.05
        while not (there := what()) and time.monotonic() < ends:
            time.sleep(pause)
            pause = min(0.5, pause * 1.2)
        return there

    def meanwhile(self, node: str, sql: str) -> None:
        """Execute SQL in a member and go on; what becomes of it does not matter."""
        threading.Thread(target=self.asked, args=(node, self._sql(node, sql)), daemon=True).start()

    def sql_at_last(self, node: str, sql: str, most_s: float) -> None:
        """Execute SQL as soon as a member lets it; it may be that it never does."""

        def tried() -> bool:
            try:
                self.sql(node, sql)
            except CommandFailed:
                return False
            return True

        self.until(tried, most_s)

    def transfer_begun(self, node: str) -> bool:
        """Tell whether a state transfer into a member is under way."""
        data = f"{data_folder(self.book.params)}/data"
        return bool(
            self.asked(node, sh("[ -e @{data}/.sst ] || [ -e @{data}/sst_in_progress ] && echo yes", data=data))
        )

    def donor(self) -> str:
        """Return the member that gives its data just now; nothing where none does."""
        sql = "SHOW STATUS LIKE 'wsrep_local_state_comment'"
        return next((node for node in self.nodes if "Donor" in self.asked(node, self._sql(node, sql))), "")
