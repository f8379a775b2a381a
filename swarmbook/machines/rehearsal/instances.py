"""Lab machines as the instances of a rehearsal: made and ended in the background, asked for by their number."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from swarmbook.access.docker_api import Engine, local_engine
from swarmbook.machines.host_engine import ensure_engine
from swarmbook.machines.images import Recipe, ensure_image, node_image
from swarmbook.machines.lab.machines import Machine, Machines
from swarmbook.machines.rehearsal import Condition
from swarmbook.model.health import MachineState

__all__ = ["LabInstances"]

#: What an instance's second disk is called inside it, as the service calls it.
_DISK = "/dev/xvdc"
#: How long what the engine said of all machines is taken for how they are, seconds: a list of instances asks once for each.
_FRESH_S = 0.3


class LabInstances:
    """See :class:`swarmbook.machines.rehearsal.Machines`. What is begun here is found by every other process: it lies with the engine.

    Args:
        name: Of the lab that they make up; also of its network.
        folder: Whose they are.
        base_image: Base of the machines' image.
    """

    def __init__(self, name: str, folder: Path, base_image: str) -> None:
        self._name = name
        self._folder = folder
        self._base_image = base_image
        self._guard = threading.Lock()
        self._networking = threading.Lock()
        self._keys: dict[int, str] = {}
        self._taken: set[str] = set()
        self._work: dict[int, threading.Thread] = {}
        self._failed: dict[int, Exception] = {}
        self._ending: set[int] = set()
        self._seen: dict[str, Machine] = {}
        self._seen_at = float("-inf")

    # -- the protocol ------------------------------------------------------------------------------------------

    def begin(self, id: int, hostname: str, public_keys: tuple[str, ...], second_disk_gb: int) -> None:
        self._keys[id] = "\n".join(public_keys) + "\n"
        self._do(id, lambda: self._make(id, hostname, second_disk_gb))

    def power_on(self, id: int) -> None:
        self._do(id, lambda: self._machines().start(str(id), self._keys[id]))

    def end(self, id: int) -> None:
        self._ending.add(id)
        self._do(id, lambda: self._remove(id))

    def condition(self, id: int) -> Condition:
        with self._guard:
            working = id in self._work and self._work[id].is_alive()
            failed = self._failed.get(id)
        machine = self._all().get(str(id))
        if id in self._ending:
            if machine is not None and not working:  # the engine was in the way
                self._do(id, lambda: self._remove(id))
            return Condition(doing=f"Reclaim ({failed})" if failed else "Reclaim", gone=machine is None and not working)
        if failed is not None:
            raise failed
        if machine is None:
            return Condition(doing="Assign Host")
        address = machine.private_address
        if machine.state is MachineState.RUNNING:
            return Condition(True, "", address, address)
        return (
            Condition(False, "Power On", address, address)
            if working
            else Condition(False, "", address, address, halted=True)
        )

    # -- behind it ---------------------------------------------------------------------------------------------

    def _do(self, id: int, work: Callable[[], None]) -> None:
        """Do the work in the background, one piece after the other for each machine."""
        with self._guard:
            before = self._work.get(id)
            self._failed.pop(id, None)

            def run() -> None:
                if before is not None:
                    before.join()
                try:
                    work()
                except Exception as error:  # the next caller gets it
                    self._failed[id] = error
                finally:
                    self._seen_at = float("-inf")

            self._work[id] = thread = threading.Thread(target=run, name=f"rehearsed-{id}", daemon=True)
        thread.start()

    def _machines(self, engine: Engine | None = None) -> Machines:
        return Machines(engine or ensure_engine(), self._name, self._folder)

    def _all(self) -> dict[str, Machine]:
        """Return the machines by name, which is their number; none while no engine runs that could hold any."""
        if time.monotonic() - self._seen_at > _FRESH_S:
            engine = local_engine()
            self._seen = (
                {machine.name: machine for machine in self._machines(engine).all()} if engine is not None else {}
            )
            self._seen_at = time.monotonic()
        return self._seen

    def _make(self, id: int, hostname: str, second_disk_gb: int) -> None:
        machines, name = self._machines(), str(id)
        for machine in machines.all():
            if machine.name == name:
                if machine.state is MachineState.CREATED:  # the process that made it was killed
                    machines.start(name, self._keys[id])
                return
        image, _ = ensure_image(machines.engine, Recipe("node", self._base_image))
        with self._networking:
            machines.ensure_network()
            # An address is taken when its machine is there; those that are being made are counted here.
            free = machines.addresses([*map(str, range(len(self._taken))), name]).values()
            address = next(address for address in free if address not in self._taken)
            self._taken.add(address)
        machines.create(name, address, image, second_disk_gb, self._keys[id], {}, hostname=hostname, disk=_DISK)

    def _remove(self, id: int) -> None:
        engine = local_engine()
        if engine is None:
            return
        machines = self._machines(engine)
        machines.remove(str(id), node_image(engine))
        with self._networking:
            if not machines.all():
                machines.destroy(None)  # the network too
