"""A lab as a stage: who plays which part, and what can be done to machines and members from outside."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from swarmbook.access.commands import Script, lines, sh
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, EngineUnavailable, OutOfOrder
from swarmbook.base.plain import plain
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.machines.lab.machines import Machines
from swarmbook.machines.providers.lab import LabProvider
from swarmbook.model.health import MachineState
from swarmbook.phases.endpoint.ways import writer_now
from swarmbook.phases.support.member_data import data_folder
from swarmbook.phases.support.members import member_name, of_service, service_name
from swarmbook.phases.support.preconditions import labs_only, require_swarm

__all__ = ["Stage"]

T = TypeVar("T")

#: What fills a disk lies beside the data folder, under its name and this.
_FILL = "swarmbook-drill"
#: In the data folder: the data of a member that a drill has it be sent again, until all members serve.
_ASIDE = "data.drill"


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
        self._end_earlier()
        if len(self.nodes) < 2:
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
        listed = book.engine(require_swarm(book)).swarm_nodes()
        self.leader = next((node.name for node in listed if node.manager == "leader"), book.params.nodes[0])

    def _end_earlier(self) -> None:
        """End what a drill that was killed has left: cut cables, full disks, members that stand still."""
        for machine in self._machines.all():
            if machine.name in self.book.params.nodes and machine.state is MachineState.RUNNING:
                self.asked(machine.name, _wires("-D"))
                self.asked(machine.name, sh("rm -rf @{folder}", folder=self._fill))
                self.asked(machine.name, sh("docker ps -q --filter status=paused | xargs -r docker unpause"))

    @property
    def _fill(self) -> str:
        return f"{data_folder(self.book.params)}.{_FILL}"

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

        try:
            self.inside(node, lines(sh("set -e"), _wires("-I", inwards=inwards, outwards=outwards)))
            yield
        finally:
            self.asked(node, _wires("-D", inwards=inwards, outwards=outwards))

    @contextmanager
    def full(self, node: str) -> Iterator[None]:
        """Fill the disk that a member's data lies on, to the last MiB."""
        script = sh(
            """mkdir -p @{folder} && n=0
for size in @{sizes}; do
  while n=$((n + 1)); fallocate -l "$size" @{folder}/$n 2>/dev/null; do :; done
  rm -f @{folder}/$n
done""",
            folder=self._fill,
            sizes=[f"{2**power}M" for power in range(16, -1, -1)],
        )
        try:
            self.inside(node, script)
            yield
        finally:
            self.inside(node, sh("rm -rf @{folder}", folder=self._fill))

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
        """Kill a member and move its data aside: it comes back by a state transfer of everything."""
        script = sh(
            "rm -rf @{aside} && docker kill $(@!{running} -q) >/dev/null && mv -T @{data} @{aside}",
            running=of_service(service_name(self.book.params, node)),
            data=f"{data_folder(self.book.params)}/data",
            aside=f"{data_folder(self.book.params)}/{_ASIDE}",
        )
        self.inside(node, script)

    def forget_aside(self) -> None:
        """Remove data that was moved aside: all members serve, so each has its own again."""
        for node in self.nodes:
            self.inside(node, sh("rm -rf @{aside}", aside=f"{data_folder(self.book.params)}/{_ASIDE}"))

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

    def until(self, what: str, probe: Callable[[], tuple[bool, T]], most_s: float = 90.0) -> T:
        """Wait for the moment in which a fault is to be done.

        Raises:
            WaitTimeout: It did not come, so the fault was not done.
        """
        return wait_for(
            what, probe, timeout_s=most_s, where=", ".join(self.nodes), next="swarmbook status PARAMS", slowest_s=0.5
        )

    def meanwhile(self, node: str, sql: str) -> None:
        """Execute SQL in a member and go on; what becomes of it does not matter."""
        threading.Thread(target=self.asked, args=(node, self._sql(node, sql)), daemon=True).start()

    def sql_at_last(self, node: str, sql: str) -> None:
        """Execute SQL as soon as a member lets it.

        Raises:
            WaitTimeout: It never does.
        """

        def tried() -> tuple[bool, str]:
            try:
                return True, self.sql(node, sql)
            except CommandFailed as error:
                return False, error.seen or ""

        self.until(f"the member on {node} takes a statement again", tried)

    def transfer_begun(self, node: str) -> None:
        """Wait until a state transfer into a member is under way."""
        data = f"{data_folder(self.book.params)}/data"
        script = sh("[ -e @{data}/.sst ] || [ -e @{data}/sst_in_progress ] && echo yes", data=data)
        self.until(
            f"a state transfer into the member on {node}", lambda: ((said := self.asked(node, script)) != "", said)
        )

    def donor(self) -> str:
        """Wait until a member gives its data; return its node."""
        sql = "SHOW STATUS LIKE 'wsrep_local_state_comment'"

        def giving() -> tuple[bool, str]:
            found = (node for node in self.nodes if "Donor" in self.asked(node, self._sql(node, sql)))
            return (node := next(found, "")) != "", node

        return self.until("a member gives its data", giving)


def _wires(verb: str, *, inwards: bool = True, outwards: bool = True) -> Script:
    """Build the command that pulls a machine's cable (``-I``), or plugs it in again (``-D``): also for what it passes on."""
    into = sh("iptables -w -t raw @{verb} PREROUTING -i eth0 -j DROP", verb=verb)
    out = sh("iptables -w -t mangle @{verb} POSTROUTING -o eth0 -j DROP", verb=verb)
    return lines(*([into] if inwards else []), *([out] if outwards else []))
