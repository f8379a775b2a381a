"""What SoftLayer is asked for, and what it answers, typed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["AccountKey", "Instance", "Offering", "Price", "Spec"]


@dataclass(frozen=True)
class Spec:
    """What one instance is to be.

    Args:
        hostname: Its name.
        domain: What follows it.
        datacenter: Short name, such as ``dal10``.
        os_code: The system's reference code.
        cpus: Cores.
        memory_mb: Memory, MB.
        hourly: Billed by the hour, else by the month.
        local_disk: Disks of the machine that it runs on, else of the SAN.
        disks_gb: Sizes, the system's first.
        nic_mbps: Speed of its network ports.
        public_vlan: Id (not number) of its public VLAN; 0: the service chooses.
        private_vlan: Likewise.
        mark: Kept with the instance from its first moment on, unlike tags, which are a second call.
    """

    hostname: str
    domain: str
    datacenter: str
    os_code: str
    cpus: int
    memory_mb: int
    hourly: bool
    local_disk: bool
    disks_gb: tuple[int, ...]
    nic_mbps: int
    public_vlan: int
    private_vlan: int
    mark: str

    @property
    def fqdn(self) -> str:
        """Its full name."""
        return f"{self.hostname}.{self.domain}"

    def arguments(self, key_ids: Iterable[int] = ()) -> dict[str, Any]:
        """Return what ``VSManager.create_instance`` takes; it ignores what it does not know."""
        found: dict[str, Any] = {
            "hostname": self.hostname, "domain": self.domain, "datacenter": self.datacenter, "os_code": self.os_code, "cpus": self.cpus,
            "memory": self.memory_mb, "hourly": self.hourly, "local_disk": self.local_disk, "disks": [str(size) for size in self.disks_gb],
            "nic_speed": self.nic_mbps, "ssh_keys": list(key_ids), "userdata": self.mark,
        }  # fmt: skip
        vlans = {"public_vlan": self.public_vlan, "private_vlan": self.private_vlan}
        return {**found, **{name: id for name, id in vlans.items() if id}}

    def what(self) -> str:
        """Describe the instance for a person."""
        disks = " + ".join(str(size) for size in self.disks_gb)
        return (
            f"{self.cpus} cores, {self.memory_mb} MB, {self.os_code}, {disks} GB {'local' if self.local_disk else 'SAN'}, {self.nic_mbps} Mbps, "
            f"{self.datacenter}, {'hourly' if self.hourly else 'monthly'}"
        )


@dataclass(frozen=True)
class Instance:
    """What the account has.

    Args:
        id: Its number.
        hostname: Its name.
        domain: What follows it.
        public_address: Empty while it has none.
        private_address: Likewise.
        provisioned: It was handed over once.
        power: ``RUNNING`` or ``HALTED``.
        transaction: What is being done with it; empty when nothing is.
        tags: Its tags.
        marks: What was kept with its order.
    """

    id: int
    hostname: str
    domain: str
    public_address: str
    private_address: str
    provisioned: bool
    power: str
    transaction: str
    tags: tuple[str, ...]
    marks: tuple[str, ...]

    @property
    def fqdn(self) -> str:
        """Its full name."""
        return f"{self.hostname}.{self.domain}"


@dataclass(frozen=True)
class AccountKey:
    """A public SSH key that is registered."""

    id: int
    label: str
    fingerprint: str
    text: str
    notes: str


@dataclass(frozen=True)
class Offering:
    """What the account may order."""

    datacenters: tuple[str, ...]
    systems: tuple[str, ...]


@dataclass(frozen=True)
class Price:
    """What one instance costs, in dollars, by the hour or by the month."""

    hourly: float
    monthly: float
