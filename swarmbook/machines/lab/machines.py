"""Machines as containers: systemd, sshd, a second disk, an address on a bridge of their own."""

from __future__ import annotations

import io
import ipaddress
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_containers import Containers, ContainerSpec, Done
from swarmbook.access.node import Endpoint, Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.machines.lab.privileges import wanted_privileges, without_all
from swarmbook.model.health import MachineState

__all__ = ["CLUSTER_LABEL", "Machine", "Machines"]

CLUSTER_LABEL = "swarmbook.cluster"
_NODE_LABEL = "swarmbook.node"
_FOLDER_LABEL = "swarmbook.folder"
_ADDRESS_LABEL = "swarmbook.address"
#: Below those that systems give to outgoing connections, so that few programs are found there.
_PORTS = range(20_000, 32_768)
#: Seconds for finding free ones among them.
_PORTS_S = 60
_DISK = "/dev/disk/by-id/lab-second-disk"


@dataclass(frozen=True)
class Machine:
    """A machine as the engine knows it."""

    name: str
    id: str
    state: MachineState
    private_address: str
    ports: Mapping[int, int]


class Machines:
    """The machines of one lab; everything they are made of carries the cluster's label.

    Args:
        engine: The engine they run on.
        cluster: The cluster's name.
        folder: The cluster's folder: whose lab it is.
    """

    def __init__(self, engine: Engine, cluster: str, folder: Path) -> None:
        self.engine = engine
        self.cluster = cluster
        self.folder = folder
        self._containers = Containers(engine)
        self._labels = {CLUSTER_LABEL: cluster, _FOLDER_LABEL: str(folder)}
        self._ours = f"{CLUSTER_LABEL}={cluster}"

    @property
    def network(self) -> str:
        return f"swarmbook-{self.cluster}"

    def container(self, name: str) -> str:
        """Return the name of a machine's container; it is also the prefix of its volume."""
        return f"swarmbook-{self.cluster}-{name}"

    def all(self) -> list[Machine]:
        """List the machines that are there, in whatever state.

        Raises:
            ForeignData: A lab of the same name belongs to another folder.
        """
        found = []
        for container in self._containers.all(self._ours, _NODE_LABEL):
            self._refuse_foreign(container.labels)
            state = MachineState.read(str(container.state))
            address = container.addresses.get(self.network, "")
            found.append(Machine(container.labels[_NODE_LABEL], container.id, state, address, container.ports))
        return sorted(found, key=lambda machine: machine.name)

    def _refuse_foreign(self, labels: Mapping[str, str]) -> None:
        other = labels.get(_FOLDER_LABEL, "")
        # A folder that is gone cannot claim its lab; otherwise a deleted clone would leave machines that cannot be removed.
        if other != str(self.folder) and Path(other).is_dir():
            raise ForeignData(
                f"a lab named {self.cluster} exists already and belongs to another folder",
                where=self.network,
                wanted=str(self.folder),
                seen=other,
                next="give this one another name (`cluster:` in the parameters), or remove the other one from its own folder",
                code=Code.LAB_OF_ANOTHER_FOLDER,
            )

    def ensure_network(self) -> bool:
        """Make sure that the lab has its bridge; the engine picks the subnet. Tell whether it was created.

        Addresses can be fixed only where the subnet was asked for, and a swarm's managers must keep theirs over a
        restart: so the subnet that the engine picked is asked for again, by name.
        """
        if self._containers.networks(name=self.network):
            return False
        for _ in range(10):
            picked = self._containers.create_network(f"{self.network}-pick", self._labels)
            self._containers.remove_network(picked)
            try:
                self._containers.create_network(self.network, self._labels, picked.subnet)
            except WorldError as error:
                if error.code is not Code.SUBNET_TAKEN:
                    raise
                continue  # another lab took it in between
            return True
        raise WorldError(
            "the engine gives no subnet for the lab's network",
            where=self.network,
            next="docker network ls; then run again",
        )

    def addresses(self, names: list[str]) -> dict[str, str]:
        """Choose addresses for machines that are about to be made: the lowest free ones from the tenth on."""
        subnet = ipaddress.ip_network(self._containers.networks(name=self.network)[0].subnet)
        taken = {container.labels.get(_ADDRESS_LABEL) for container in self._containers.all(self._ours)}
        free = (
            str(address)
            for number, address in enumerate(subnet.hosts(), 1)
            if number >= 10 and str(address) not in taken
        )
        return dict(zip(names, free))

    def create(
        self,
        name: str,
        address: str,
        image: str,
        disk_gb: int,
        authorized_key: str,
        ports: Mapping[int, int | None],
        *,
        hostname: str = "",
        disk: str = "",
    ) -> None:
        """Create and start a machine.

        Args:
            name: Its name.
            address: Its address on the lab's bridge.
            image: The machine image.
            disk_gb: Size of its second disk, GiB (sparse).
            authorized_key: The public key that may log in as root.
            ports: Ports to publish on 127.0.0.1, and where; None: on a free port, which it keeps over a restart.
            hostname: What it calls itself; by default its name.
            disk: What it calls its second disk, besides the usual name.
        """
        volume = f"{self.container(name)}-disk"
        self._containers.create_volume(volume, {**self._labels, _NODE_LABEL: name})
        environment = {"LAB_DISK_GB": str(disk_gb), **({"LAB_DISK_LINK": disk} if disk else {})}
        if self.engine.about().cgroup_version == "1":
            environment["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE"] = "1"
        spec = ContainerSpec(
            image,
            name=self.container(name),
            hostname=hostname or name,
            labels={**self._labels, _NODE_LABEL: name, _ADDRESS_LABEL: address},
            environment=environment,
            volumes={volume: "/lab"},
            network=self.network,
            address=address,
            publish=ports,
            tmpfs=("/run", "/run/lock", "/tmp"),  # noqa: S108 - a mount point in the machine
            own_system=True,
            privileges=wanted_privileges(),
        )
        try:
            self._create_on_free_ports(spec, authorized_key)
        except WorldError as error:
            if error.code is not Code.CAPABILITIES_REFUSED or not spec.privileges.all:
                raise
            self._create_on_free_ports(replace(spec, privileges=without_all()), authorized_key)

    def _create_on_free_ports(self, spec: ContainerSpec, authorized_key: str) -> None:
        """Choose the ports that were left open: those that an engine picks are others after each start."""

        def made() -> tuple[bool, str]:
            drawn = iter(_drawn(len(spec.publish)))
            given = {inner: outer or next(drawn) for inner, outer in spec.publish.items()}
            try:
                self._create(replace(spec, publish=given), authorized_key)
            except WorldError as error:
                if error.code is not Code.LAB_PORT_TAKEN or given == spec.publish:
                    raise
                return False, error.seen or ""
            return True, ""

        wait_for(f"free ports for {spec.name}", made, timeout_s=_PORTS_S, where=spec.name, code=Code.LAB_PORT_TAKEN)

    def _create(self, spec: ContainerSpec, authorized_key: str) -> None:
        made = self._containers.create(spec)
        self._containers.put(made, "/root", _ssh_folder(authorized_key))
        try:
            self._containers.start(made)
        except WorldError:  # one that did not start would be taken for a machine that was stopped
            self._containers.remove(made)
            raise

    def start(self, name: str, authorized_key: str) -> None:
        """Start a machine that was stopped, or created and never started (its key may not have been put in yet)."""
        self._containers.put(self.container(name), "/root", _ssh_folder(authorized_key))
        self._containers.start(self.container(name))

    def power_off(self, name: str) -> None:
        """Cut a machine's power: what it had not written is lost to it."""
        self._containers.kill(self.container(name))

    def power_on(self, name: str) -> None:
        """Give a machine its power back; it is as it was, and boots."""
        self._containers.start(self.container(name))

    def run(self, name: str, command: Sequence[str]) -> Done:
        """Run a command in a machine, as root."""
        return self._containers.run(self.container(name), command)

    def lets_in(self, name: str, authorized_key: str) -> bool:
        """Tell whether a running machine has this key among those that may log in."""
        return self.run(name, ["grep", "-qxF", authorized_key.strip(), "/root/.ssh/authorized_keys"]).ok

    def parts(self) -> list[str]:
        """List the names of all that :meth:`destroy` would remove: what a broken-off one has left counts, too."""
        machines = [machine.name for machine in self.all()]
        volumes = self._containers.volumes(self._ours)
        networks = [network.name for network in self._containers.networks(label=self._ours)]
        return (
            [f"machine {name}" for name in machines]
            + [f"disk {name}" for name in sorted(volumes)]
            + [f"network {name}" for name in sorted(networks)]
        )

    def parts_of(self, name: str) -> list[str]:
        """List the names of all that :meth:`remove` would remove.

        Args:
            name: The machine's.
        """
        machines = [f"machine {machine.name}" for machine in self.all() if machine.name == name]
        return machines + [
            f"disk {disk}" for disk in sorted(self._containers.volumes(self._ours, f"{_NODE_LABEL}={name}"))
        ]

    def node(self, name: str, timeout_s: float) -> Node:
        """Wait until a machine has booted; return what the phases need to know about it.

        Raises:
            WaitTimeout: It has not booted in time.
        """
        # The host key comes from inside, not from the first answer on the network: nothing is trusted unseen.
        script = "cat /etc/ssh/ssh_host_ed25519_key.pub && systemctl is-active -q lab-machine && systemctl is-active -q ssh"  # of several units it asks for any

        def booted() -> tuple[bool, str]:
            done = self.run(name, ["sh", "-c", script])
            key = done.output.strip()
            # An engine may lose the output of an exec that ends at once, with exit code 0 (seen with 20.10 under load): then it is asked again.
            return done.ok and len(key.split()) >= 2, key

        seen = wait_for(
            f"{name} has booted",
            booted,
            timeout_s=timeout_s,
            where=self.container(name),
            next=f"docker exec {self.container(name)} journalctl -b -n 50",
        )
        machine = next(m for m in self.all() if m.name == name)
        ends = {port: Endpoint("127.0.0.1", outer) for port, outer in machine.ports.items()}
        key_type, key = seen.split()[:2]
        return Node(
            name,
            machine.id,
            machine.private_address,
            machine.private_address,
            ends.pop(22),
            f"{key_type} {key}",
            disk=_DISK,
            ports=ends,
            # What is published here is handed on from the bridge's own address, the first of its subnet.
            near=str(next(ipaddress.ip_network(self._containers.networks(name=self.network)[0].subnet).hosts())),
        )

    def destroy(self, image: str | None) -> list[str]:
        """Remove machines, disks and network; return what was removed.

        Args:
            image: The machine image, for letting go of the loop devices of machines that are dead already.
        """
        removed = []
        for machine in self.all():
            self._remove(machine)
            removed.append(f"machine {machine.name}")
        for container in self._containers.all(self._ours):  # helpers of a destroy that was killed
            self._containers.remove(container.id)
        removed += self._remove_disks(image, self._ours)
        for network in self._containers.networks(label=self._ours):
            self._containers.remove_network(network)
            removed.append(f"network {network.name}")
        return removed

    def remove(self, name: str, image: str | None) -> None:
        """Remove one machine with its disk; if there is none, the disk alone.

        Args:
            name: Which.
            image: See :meth:`destroy`.
        """
        for machine in self.all():
            if machine.name == name:
                self._remove(machine)
        self._remove_disks(image, self._ours, f"{_NODE_LABEL}={name}")

    def _remove(self, machine: Machine) -> None:
        if machine.state is MachineState.RUNNING:
            # Marks the loop device; the kernel lets go of it when the machine's last mount goes with the machine. Where that
            # fails, or a boot attaches it once more, :meth:`_detach` follows.
            self._containers.run(machine.id, ["lab-machine", "detach"])
        self._containers.remove(machine.id, volumes=True)

    def _remove_disks(self, image: str | None, *labels: str) -> list[str]:
        removed = []
        for volume in self._containers.volumes(*labels):
            if image is not None:
                self._detach(volume, image)
            self._containers.remove_volume(volume)
            removed.append(f"disk {volume}")
        return removed

    def _detach(self, volume: str, image: str) -> None:
        """Detach the loop device that a killed machine has left attached: a helper finds it by the file's inode."""
        made = self._containers.create(
            ContainerSpec(
                image,
                command=[
                    "sh",
                    "-c",
                    "[ ! -e /lab/disk.img ] || lab-machine detach",
                ],  # it has none before its first boot
                labels=self._labels,
                volumes={volume: "/lab"},
                privileges=wanted_privileges(),
            )
        )
        try:
            self._containers.start(made)
            code = self._containers.wait(made, timeout_s=60)
        finally:
            self._containers.remove(made)
        if code != 0:  # without its file, nothing could find the loop device again
            raise WorldError(
                f"the loop device of {volume} cannot be detached, so the disk stays",
                where=volume,
                wanted="lab-machine detach: exit 0",
                seen=f"exit {code}",
                next="losetup --list shows it; then run again",
            )


def _drawn(count: int) -> list[int]:
    """Draw ports by lot, from those that no system hands out by itself; which of them are free, the engine's host knows."""
    return random.SystemRandom().sample(_PORTS, count)


def _ssh_folder(authorized_key: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo(".ssh")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        tar.addfile(folder)
        data = authorized_key.encode()
        file = tarfile.TarInfo(".ssh/authorized_keys")
        file.size, file.mode = len(data), 0o600
        tar.addfile(file, io.BytesIO(data))
    return buffer.getvalue()
