"""What SoftLayer is asked for, and what it answers, typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from swarmbook.access.probe import address, number
from swarmbook.base.plain import plain

__all__ = ["AccountKey", "Instance", "Offering", "Price", "Spec", "dollars", "said"]

#: Characters of a text, and things of one kind that one instance may have.
_LONGEST, _MOST = 4096, 1000


def said(text: object) -> str:
    """Read a text of the service's; users of the account choose many of them."""
    read = plain(str(text))
    if len(read) > _LONGEST:
        raise ValueError(f"a text of {len(read)} characters: {read[:80]!r}")
    return read


def dollars(text: object) -> float:
    """Read a price."""
    value = float(str(text))
    if not 0 <= value < 1e7:
        raise ValueError(f"no price: {value}")
    return value


def _whole(id: object) -> int:
    return number(str(id))


def _bounded(found: object) -> list[Any]:
    listed: list[Any] = list(found or ())  # type: ignore[call-overload]
    if len(listed) > _MOST:
        raise ValueError(f"{len(listed)} things of one instance")
    return listed


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

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Instance:
        """Read what the service says of an instance.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is not what it should be.
        """
        public, private = entry.get("primaryIpAddress") or "", entry.get("primaryBackendIpAddress") or ""
        doing = (entry.get("activeTransaction") or {}).get("transactionStatus") or {}
        busy = "busy" if entry.get("activeTransaction") else ""
        return cls(
            id=_whole(entry["id"]),
            hostname=said(entry.get("hostname", "")),
            domain=said(entry.get("domain", "")),
            public_address=address(public) if public else "",
            private_address=address(private) if private else "",
            provisioned=bool(entry.get("provisionDate")),
            power=said((entry.get("powerState") or {}).get("keyName", "")),
            transaction=said(doing.get("friendlyName") or doing.get("name") or busy),
            tags=tuple(said(reference["tag"]["name"]) for reference in _bounded(entry.get("tagReferences"))),
            marks=tuple(said(data.get("value", "")) for data in _bounded(entry.get("userData"))),
        )

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

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> AccountKey:
        """Read what the service says of a key.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: It is not what it should be.
        """
        return cls(
            _whole(entry["id"]),
            said(entry["label"]),
            said(entry.get("fingerprint", "")),
            said(entry.get("key", "")),
            said(entry.get("notes") or ""),
        )


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
