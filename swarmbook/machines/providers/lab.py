"""The lab provider: machines as containers on a Docker Engine of this computer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from swarmbook.access.docker_api import local_engine
from swarmbook.access.fleet import fan_out
from swarmbook.access.node import Node
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.machines.host_engine import engine_outlook, ensure_engine
from swarmbook.machines.images import Recipe, ensure_image, node_image
from swarmbook.machines.lab.machines import Machines
from swarmbook.machines.providers.base import Found, Offer
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check
from swarmbook.model.health import MachineState

__all__ = ["LabProvider"]

#: What a lab machine shows on 127.0.0.1: SSH, the engine's API, Consul's HTTPS API, MariaDB.
_SSH, _DOCKER, _CONSUL, _MARIADB = 22, 2376, 8501, 3306


class LabProvider:
    """See :class:`swarmbook.machines.providers.base.Provider`."""

    name = "lab"

    def __init__(self, book: Book) -> None:
        self._book = book

    @cached_property
    def _machines(self) -> Machines:
        return Machines(ensure_engine(), self._book.cluster.name, self._book.cluster.folder)

    def _there(self) -> Machines | None:
        """Return the machines, or None when no engine runs that could hold any: none is started to find that out."""
        engine = local_engine()
        return None if engine is None else Machines(engine, self._book.cluster.name, self._book.cluster.folder)

    def prerequisites(self) -> list[Check]:
        return [engine_outlook()]

    def offers(self, names: Sequence[str]) -> list[Offer]:
        disk = self._book.params.lab_disk_gb
        cost = self._book.params.lab_hourly_cost
        return [Offer(name, f"container with systemd, second disk {disk} GiB (sparse)", cost) for name in names]

    def machines(self) -> list[Found]:
        there = self._there()
        if there is None:
            # Without an engine there is no way to look: the machines of the inventory may still exist.
            note = "no Docker Engine runs here"
            return [
                Found(node.name, node.id, MachineState.UNKNOWN, node.private_address, node.public_address, note)
                for node in self._book.cluster.nodes
            ]
        public = self._book.cluster.key_file.with_suffix(".pub")
        key = public.read_text() if public.exists() else ""
        machines = {m.name: m for m in there.all()}
        keyless = fan_out(
            lambda m: m.state is MachineState.RUNNING and bool(key) and not there.lets_in(m.name, key),
            machines,
        )
        return [
            Found(
                m.name,
                m.id,
                MachineState.KEYLESS if keyless[m.name] else m.state,
                m.private_address,
                m.private_address,
            )
            for m in machines.values()
        ]

    def states(self) -> dict[str, str]:
        engine = local_engine()
        if engine is None:
            return {"": "no Docker Engine runs here, so no machine does"}
        machines = Machines(engine, self._book.cluster.name, self._book.cluster.folder).all()
        return {machine.name: f"container {machine.id} is {machine.state}" for machine in machines}

    def plan(self, names: Sequence[str], found: Sequence[Found]) -> list[Change]:
        there = {machine.name: machine for machine in found}
        changes = []
        for name in names:
            if name not in there:
                changes.append(Change(name, Action.CREATE))
            elif there[name].state is MachineState.KEYLESS:
                changes.append(Change(name, Action.PUT_KEY))
            elif there[name].state is not MachineState.RUNNING:
                changes.append(Change(name, Action.START_MACHINE, because=f"was {there[name].word}"))
        return changes

    def provision(self, changes: Sequence[Change]) -> None:
        params = self._book.params
        blind = self._there() is None and any(change.action is Action.START_MACHINE for change in changes)
        image, _ = ensure_image(self._machines.engine, Recipe("node", params.lab_base_image))
        if blind:  # with the engine up, it can be seen which of them are there
            there = {machine.name for machine in self._machines.all()}
            if gone := sorted(change.host for change in changes if change.host not in there):
                raise WorldError(
                    f"the engine of this computer has no machine for {', '.join(gone)}; nothing was made",
                    where="this computer",
                    wanted=f"containers of the cluster {self._book.cluster.name}",
                    seen=", ".join(sorted(there)) or "none",
                    next="swarmbook plan PARAMS says what a run would do now",
                )
        key = self._book.cluster.key_file.with_suffix(".pub").read_text()
        self._machines.ensure_network()
        addresses = self._machines.addresses([c.host for c in changes if c.action is Action.CREATE])

        def one(change: Change) -> None:
            if change.action is Action.CREATE:
                self._machines.create(
                    change.host,
                    addresses[change.host],
                    image,
                    params.lab_disk_gb,
                    key,
                    dict.fromkeys([_SSH, _DOCKER, _CONSUL, _MARIADB]),
                )
            else:
                self._machines.start(change.host, key)  # a machine that runs takes the key and goes on running

        fan_out(one, {change.host: change for change in changes})

    def wait(self, names: Sequence[str]) -> list[Node]:
        timeout_s = self._book.params.wait_timeout
        return list(fan_out(lambda name: self._machines.node(name, timeout_s), {name: name for name in names}).values())

    def doomed(self) -> list[str]:
        machines = self._there()
        return [] if machines is None else machines.parts()

    def destroy(self) -> list[str]:
        machines = self._there()
        if machines is None:
            return []
        return machines.destroy(node_image(machines.engine))
