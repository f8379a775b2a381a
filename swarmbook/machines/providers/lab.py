"""The lab provider: machines as containers on a Docker Engine of this computer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from swarmbook.access.ambient import own_environment
from swarmbook.access.docker_api import Engine, local_engine
from swarmbook.access.fleet import fan_out
from swarmbook.access.node import Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable, WorldError
from swarmbook.base.files import write_atomic
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.machines.host_engine import engine_outlook, engine_there, ensure_engine
from swarmbook.machines.images import Recipe, ensure_image, node_image
from swarmbook.machines.lab.machines import Machines
from swarmbook.machines.providers.base import Found, Offer
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check
from swarmbook.model.health import MachineState

__all__ = ["LabProvider"]

#: What a lab machine shows on 127.0.0.1: SSH, the engine's API, Consul's HTTPS API, MariaDB.
#: Published even where no member is: it may be later, and a machine's ports are chosen when it is made.
_MARIADB = 3306
_SSH = 22

#: What 03 says of an engine; see :mod:`swarmbook.phases.engine.settings`.
_NODE_LABELS = frozenset({"dc", "instance_type"})


class LabProvider:
    """See :class:`swarmbook.machines.providers.base.Provider`."""

    name = "lab"

    def __init__(self, book: Book) -> None:
        self._book = book

    @cached_property
    def _machines(self) -> Machines:
        return self._on(ensure_engine())

    def _on(self, engine: Engine) -> Machines:
        """Return the machines on an engine.

        Raises:
            WorldError: It is not the one on which they were made, or a node of a cluster.
        """
        about, kept = engine.about(), self._engine_file.read_text().strip() if self._engine_file.exists() else ""
        where = own_environment().get("DOCKER_HOST") or "this computer's socket"
        if kept and about.id != kept:
            raise WorldError(
                "this is not the engine on which the lab's machines were made; nothing was touched",
                where=where,
                wanted=f"engine {kept}",
                seen=f"engine {about.id}",
                next="unset DOCKER_HOST, or set it to that engine; if that engine is gone for good, and the machines with it: "
                f"rm {typed(self._engine_file)}",
            )
        if not kept and {label.partition("=")[0] for label in about.labels} >= _NODE_LABELS:
            raise WorldError(
                "this engine is a node of a cluster that swarmbook has built; no lab is made in it",
                where=where,
                wanted="an engine of a computer",
                seen=", ".join(about.labels),
                next="unset DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH",
            )
        return Machines(engine, self._book.cluster.name, self._book.cluster.folder)

    @property
    def _engine_file(self) -> Path:
        return self._book.cluster.folder / "engine"

    def _there(self) -> Machines | None:
        """Return the machines, or None when no engine runs that could hold any: none is started to find that out."""
        engine = engine_there()
        return None if engine is None else self._on(engine)

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
            return {"": "no Docker Engine answers here, so nothing is known of the machines"}
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
        write_atomic(self._engine_file, self._machines.engine.about().id + "\n")
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
                    dict.fromkeys(
                        [
                            *(_SSH, params.docker_api_port, params.consul_https_port, params.mariadb_port or _MARIADB),
                            *filter(None, (params.endpoint_writer_port, params.endpoint_reader_port)),
                        ]
                    ),
                )
            else:
                self._machines.start(change.host, key)  # a machine that runs takes the key and goes on running

        fan_out(one, {change.host: change for change in changes})

    def wait(self, names: Sequence[str]) -> list[Node]:
        timeout_s = self._book.params.wait_timeout
        return list(fan_out(lambda name: self._machines.node(name, timeout_s), {name: name for name in names}).values())

    def doomed(self) -> list[str]:
        return machines.parts() if (machines := self.existing()) is not None else []

    def existing(self) -> Machines | None:
        """Return the machines that were made, or None where there can be none.

        Raises:
            EngineUnavailable: There are some, by the inventory, and no engine says what is left of them.
        """
        engine = local_engine()
        machines = None if engine is None else self._on(engine)
        if machines is None and (self._book.cluster.nodes or self._engine_file.exists()):
            raise EngineUnavailable(
                "no engine says what is left of the lab's machines; nothing was touched",
                where=own_environment().get("DOCKER_HOST") or "this computer",
                wanted="the engine on which they were made",
                next="start it (systemctl start docker), or unset DOCKER_HOST; an engine that swarmbook had started: swarmbook run PARAMS --only 01",
                code=Code.ENGINE_NOT_THERE,
            )
        return machines

    def parts(self, names: Sequence[str]) -> list[tuple[str, str]]:
        machines = self.existing()
        return [] if machines is None else [(name, part) for name in names for part in machines.parts_of(name)]

    def remove(self, names: Sequence[str]) -> None:
        if (machines := self.existing()) is not None:
            image = node_image(machines.engine)
            fan_out(lambda name: machines.remove(name, image), {name: name for name in names})

    def destroy(self) -> list[str]:
        machines = self.existing()
        if machines is None:
            return []
        return machines.destroy(node_image(machines.engine))
