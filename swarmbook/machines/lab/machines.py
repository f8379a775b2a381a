"""Machines as containers: systemd, sshd, a second disk, an address on a bridge of their own."""

from __future__ import annotations

import io
import ipaddress
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.access.cluster import Endpoint, Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.model.health import MachineState

__all__ = ["CLUSTER_LABEL", "Machine", "Machines"]

CLUSTER_LABEL = "swarmbook.access.cluster"
_NODE_LABEL = "swarmbook.node"
_FOLDER_LABEL = "swarmbook.folder"
_ADDRESS_LABEL = "swarmbook.address"
_DISK = "/dev/disk/by-id/lab-second-disk"
# In the order of their bits (capability.h), as far as engines from 20.10 on know them.
_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
]


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
        client: The engine they run on.
        cluster: The cluster's name.
        folder: The cluster's folder: whose lab it is.
    """

    def __init__(self, client: Any, cluster: str, folder: Path) -> None:
        self.client = client
        self.cluster = cluster
        self.folder = folder
        self._labels = {CLUSTER_LABEL: cluster, _FOLDER_LABEL: str(folder)}
        self._filter = {"label": f"{CLUSTER_LABEL}={cluster}"}

    @property
    def network(self) -> str:
        return f"swarmbook-{self.cluster}"

    def container(self, name: str) -> str:
        """Name of a machine's container; also the prefix of its volume."""
        return f"swarmbook-{self.cluster}-{name}"

    def all(self) -> list[Machine]:
        """The machines that are there, in whatever state.

        Raises:
            ForeignData: A lab of the same name belongs to another folder.
        """
        found = []
        for container in self.client.containers.list(
            all=True, filters={"label": [self._filter["label"], _NODE_LABEL]}, ignore_removed=True
        ):
            self._refuse_foreign(container.labels)
            settings = container.attrs["NetworkSettings"]
            address = (settings["Networks"].get(self.network) or {}).get("IPAddress", "")
            ports = {
                int(inner.split("/")[0]): int(outer[0]["HostPort"])
                for inner, outer in (settings["Ports"] or {}).items()
                if outer
            }
            found.append(
                Machine(
                    container.labels[_NODE_LABEL],
                    container.short_id,
                    MachineState.read(container.status),
                    address,
                    ports,
                )
            )
        return sorted(found, key=lambda machine: machine.name)

    def _refuse_foreign(self, labels: Mapping[str, str]) -> None:
        other = labels.get(_FOLDER_LABEL, "")
        # A folder that is gone cannot want its lab back; otherwise a deleted clone would leave machines nobody may remove.
        if other != str(self.folder) and Path(other).is_dir():
            raise ForeignData(
                f"a lab named {self.cluster} is already there and belongs to another folder",
                where=self.network,
                wanted=str(self.folder),
                seen=other,
                next="give this one another name (`cluster:` in the parameters), or take the other away from its own folder",
                code=Code.LAB_OF_ANOTHER_FOLDER,
            )

    def ensure_network(self) -> bool:
        """Have the lab's bridge; the engine picks its subnet. Returns whether it was made.

        Addresses can be fixed only where the subnet was asked for, and a swarm's managers must keep theirs over a
        restart: so the subnet that the engine picked is asked for again, by name.
        """
        import docker.errors
        import docker.types

        if self.client.networks.list(names=[f"^{self.network}$"]):
            return False
        for _ in range(10):
            picked = self.client.networks.create(f"{self.network}-pick", driver="bridge", labels=self._labels)
            picked.reload()
            subnet = picked.attrs["IPAM"]["Config"][0]["Subnet"]
            picked.remove()
            pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)])
            try:
                self.client.networks.create(self.network, driver="bridge", labels=self._labels, ipam=pool)
            except docker.errors.APIError as error:
                if "overlaps" not in str(error.explanation):
                    raise
                continue  # another lab took it in between
            return True
        raise WorldError(
            "the engine gives no subnet for the lab's network",
            where=self.network,
            next="docker network ls; then run again",
        )

    def addresses(self, names: list[str]) -> dict[str, str]:
        """Addresses for machines that are about to be made: the lowest free ones from the tenth on."""
        network = self.client.networks.list(names=[f"^{self.network}$"])[0]
        subnet = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])
        taken = {
            container.labels.get(_ADDRESS_LABEL)
            for container in self.client.containers.list(all=True, filters=self._filter, ignore_removed=True)
        }
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
            ports: Ports to publish on 127.0.0.1, and where; None: on a free port that the engine picks.
            hostname: What it calls itself; by default its name.
            disk: What it calls its second disk, besides the usual name.
        """
        volume = f"{self.container(name)}-disk"
        self.client.volumes.create(volume, labels={**self._labels, _NODE_LABEL: name})
        environment = {"LAB_DISK_GB": str(disk_gb), **({"LAB_DISK_LINK": disk} if disk else {})}
        try:
            self._create(
                name,
                hostname or name,
                address,
                image,
                environment,
                authorized_key,
                ports,
                volume,
                privileged=not _lacks_capabilities(),
            )
        except _CapabilitiesRefused:
            self.client.api.remove_container(self.container(name), force=True)
            self._create(
                name, hostname or name, address, image, environment, authorized_key, ports, volume, privileged=False
            )

    def _create(
        self,
        name: str,
        hostname: str,
        address: str,
        image: str,
        environment: dict[str, str],
        authorized_key: str,
        ports: Mapping[int, int | None],
        volume: str,
        *,
        privileged: bool,
    ) -> None:
        import docker.errors

        api = self.client.api
        host = api.create_host_config(
            binds={volume: {"bind": "/lab", "mode": "rw"}},
            port_bindings={inner: ("127.0.0.1", outer) for inner, outer in ports.items()},
            tmpfs={"/run": "", "/run/lock": "", "/tmp": ""},  # noqa: S108 - a mount point in the machine
            **_privileges(privileged),
        )
        host["CgroupnsMode"] = "private"
        # What the client's `--security-opt systempaths=unconfined` sends: the inner engine writes below /proc and /sys.
        host["MaskedPaths"] = host["ReadonlyPaths"] = []
        if str(self.client.info().get("CgroupVersion")) == "1":
            environment = {**environment, "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE": "1"}
        made = api.create_container(
            image,
            name=self.container(name),
            hostname=hostname,
            labels={**self._labels, _NODE_LABEL: name, _ADDRESS_LABEL: address},
            environment=environment,
            ports=list(ports),
            host_config=host,
            networking_config=api.create_networking_config(
                {self.network: api.create_endpoint_config(ipv4_address=address)}
            ),
        )
        api.put_archive(made["Id"], "/root", _ssh_folder(authorized_key))
        try:
            api.start(made["Id"])
        except docker.errors.APIError as error:
            if privileged and "apply caps" in str(error.explanation):
                raise _CapabilitiesRefused from None
            api.remove_container(made["Id"], force=True)
            raise WorldError(
                f"the machine {name} does not start",
                where=self.container(name),
                seen=str(error.explanation),
                next="docker info; then run again",
            ) from None

    def start(self, name: str, authorized_key: str) -> None:
        """Start a machine that was stopped, or created and never started (its key may not have been put in yet)."""
        self.client.api.put_archive(self.container(name), "/root", _ssh_folder(authorized_key))
        self.client.api.start(self.container(name))

    def lets_in(self, name: str, authorized_key: str) -> bool:
        """Whether a running machine has this key among those that may log in."""
        script = ["grep", "-qxF", authorized_key.strip(), "/root/.ssh/authorized_keys"]
        return bool(self.client.containers.get(self.container(name)).exec_run(script).exit_code == 0)

    def parts(self) -> list[str]:
        """Names of all that :meth:`destroy` would remove: what a broken-off one has left counts, too."""
        machines = [machine.name for machine in self.all()]
        volumes = [volume.name for volume in self.client.volumes.list(filters=self._filter)]
        networks = [network.name for network in self.client.networks.list(filters=self._filter)]
        return (
            [f"machine {name}" for name in machines]
            + [f"disk {name}" for name in sorted(volumes)]
            + [f"network {name}" for name in sorted(networks)]
        )

    def node(self, name: str, timeout_s: float) -> Node:
        """Wait until a machine has booted; what the phases need to know of it.

        Raises:
            WaitTimeout: It has not booted in time.
        """
        container = self.client.containers.get(self.container(name))
        # The host key comes from inside, not from the first answer on the network: nothing is trusted unseen.
        script = "cat /etc/ssh/ssh_host_ed25519_key.pub && systemctl is-active -q lab-machine && systemctl is-active -q ssh"  # of several units it asks for any

        def booted() -> tuple[bool, str]:
            done = container.exec_run(["sh", "-c", script])
            said = done.output.decode(errors="replace").strip()
            # An engine may lose the output of an exec that ends at once, with exit code 0 (seen with 20.10 under load): then it is asked again.
            return done.exit_code == 0 and len(said.split()) >= 2, said

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
        )

    def destroy(self, image: str | None) -> list[str]:
        """Take machines, disks and network away; returns what was removed.

        Args:
            image: The machine image, for letting go of the loop devices of machines that are dead already.
        """
        removed = []
        for machine in self.all():
            self._remove(machine)
            removed.append(f"machine {machine.name}")
        for container in self.client.containers.list(
            all=True, filters=self._filter, ignore_removed=True
        ):  # helpers of a destroy that was killed
            container.remove(force=True)
        removed += self._remove_disks(self._filter, image)
        for network in self.client.networks.list(filters=self._filter):
            network.remove()
            removed.append(f"network {network.name}")
        return removed

    def remove(self, name: str, image: str | None) -> None:
        """Take one machine away, with its disk; where there is none, its disk.

        Args:
            name: Which.
            image: See :meth:`destroy`.
        """
        for machine in self.all():
            if machine.name == name:
                self._remove(machine)
        self._remove_disks({"label": [self._filter["label"], f"{_NODE_LABEL}={name}"]}, image)

    def _remove(self, machine: Machine) -> None:
        container = self.client.containers.get(machine.id)
        if machine.state is MachineState.RUNNING:
            # Marks the loop device; the kernel lets go of it when the machine's last mount goes with the machine.
            container.exec_run(["lab-machine", "detach"])
        container.remove(force=True, v=True)

    def _remove_disks(self, filters: Mapping[str, Any], image: str | None) -> list[str]:
        removed = []
        for volume in self.client.volumes.list(filters=filters):
            if image is not None:
                self._detach(volume.name, image)
            volume.remove(force=True)
            removed.append(f"disk {volume.name}")
        return removed

    def _detach(self, volume: str, image: str) -> None:
        """A machine that was killed has left its loop device attached: a helper finds it by the file's inode."""
        api = self.client.api
        host = api.create_host_config(
            binds={volume: {"bind": "/lab", "mode": "rw"}}, **_privileges(not _lacks_capabilities())
        )
        made = api.create_container(image, ["lab-machine", "detach"], labels=self._labels, host_config=host)
        try:
            api.start(made["Id"])
            api.wait(made["Id"], timeout=60)
        finally:
            api.remove_container(made["Id"], force=True)


class _CapabilitiesRefused(Exception):
    """The engine cannot give all capabilities: its own bounding set lacks some."""


def _bounding_set() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    except OSError:
        pass
    return (1 << len(_CAPABILITIES)) - 1


def _lacks_capabilities() -> bool:
    every = (1 << len(_CAPABILITIES)) - 1
    return _bounding_set() & every != every


def _privileges(privileged: bool) -> dict[str, Any]:
    if privileged:
        return {"privileged": True}
    held = _bounding_set()
    return {
        "cap_add": [name for bit, name in enumerate(_CAPABILITIES) if held >> bit & 1],
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "device_cgroup_rules": ["a *:* rwm"],
    }


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
