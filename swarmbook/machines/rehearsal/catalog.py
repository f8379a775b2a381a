"""What the rehearsal offers: datacenters, systems, sizes, networks. All of it, prices too, is made up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from swarmbook.machines.rehearsal.faults import ServiceError

__all__ = ["Catalog", "Item", "Vlan"]

_PACKAGES = {"PUBLIC_CLOUD_SERVER": 835, "CLOUD_SERVER": 46}


@dataclass(frozen=True)
class Vlan:
    """A network of the account; ``id`` is what an order names, ``number`` what people say."""

    id: int
    number: int
    space: str
    datacenter: str


@dataclass(frozen=True)
class Item:
    """Something that is ordered; fees in dollars, as the service writes them."""

    id: int
    category: str
    key: str
    description: str
    value: str
    hourly: str
    monthly: str

    def price(self) -> dict[str, Any]:
        """Return the item's price as an order has it."""
        item = {"id": self.id, "keyName": self.key, "description": self.description, "capacity": self.value}
        return {
            "id": self.id + 1000, "itemId": self.id, "hourlyRecurringFee": self.hourly, "recurringFee": self.monthly, "setupFee": "0",
            "locationGroupId": "", "item": item, "categories": [{"id": self.id, "categoryCode": self.category}],
        }  # fmt: skip

    def document(self) -> dict[str, Any]:
        """Return the item as a package has it."""
        found: dict[str, Any] = {
            "id": self.id, "keyName": self.key, "description": self.description, "capacity": self.value, "attributes": [],
            "itemCategory": {"id": self.id, "categoryCode": self.category}, "prices": [self.price()],
        }  # fmt: skip
        if self.category == "os":
            found["softwareDescription"] = {
                "id": self.id,
                "referenceCode": self.value,
                "longDescription": self.description,
            }
        return found


def _items() -> Iterator[Item]:
    systems = {
        "DEBIAN_12_64": "Debian GNU/Linux 12 Minimal (64 bit)", "UBUNTU_22_64": "Ubuntu Linux 22.04 LTS Minimal (64 bit)",
        "UBUNTU_20_64": "Ubuntu Linux 20.04 LTS Minimal (64 bit)", "UBUNTU_LATEST": "Ubuntu Linux 22.04 LTS Minimal (64 bit)",
    }  # fmt: skip
    rows: list[tuple[str, str, str, str, str, str]] = []
    rows += [("os", f"OS_{code}", name, code, "0", "0") for code, name in systems.items()]
    rows += [
        (
            "guest_core",
            f"GUEST_CORES_{n}",
            f"{n} x 2.0 GHz or higher Cores",
            str(n),
            f"{n * 0.02:.2f}".lstrip("0"),
            str(n * 14),
        )
        for n in (1, 2, 4, 8, 16)
    ]
    rows += [
        ("ram", f"RAM_{n}_GB", f"{n} GB", str(n * 1024), f"{n * 0.01:.2f}".lstrip("0"), str(n * 7))
        for n in (1, 2, 4, 8, 16, 32)
    ]
    for place in ("LOCAL", "SAN"):
        rows += [
            (
                "guest_disk",
                f"GUEST_DISK_{n}_GB_{place}",
                f"{n} GB ({place})",
                f"{n}:{place}",
                "0" if n == 25 else f"{n * 0.0001:.3f}".lstrip("0"),
                str(n // 10),
            )
            for n in (25, 100, 150, 200, 300)
        ]
    rows += [
        ("port_speed", f"{n}_MBPS", f"{n} Mbps Public & Private Network Uplinks", str(n), "0", "0")
        for n in (10, 100, 1000)
    ]
    for number, (category, key, description, value, hourly, monthly) in enumerate(rows, 1):
        yield Item(number, category, key, f"{description} (REHEARSAL)", value, hourly, monthly)


class Catalog:
    """What can be ordered.

    Args:
        datacenters: Their short names.
        vlans: The account's networks.
    """

    def __init__(
        self, datacenters: tuple[str, ...] = ("ams03", "dal05", "dal10", "fra02"), vlans: tuple[Vlan, ...] = ()
    ) -> None:
        self.datacenters = datacenters
        self.vlans = vlans or (Vlan(2000001, 1101, "PUBLIC", "dal10"), Vlan(2000002, 1102, "PRIVATE", "dal10"))
        self.items = tuple(_items())

    def datacenter(self, name: str) -> dict[str, Any]:
        """Return a datacenter by name."""
        if name not in self.datacenters:
            raise ServiceError("SoftLayer_Exception_Public", f"REHEARSAL: there is no datacenter {name}.")
        return {
            "id": 100 + self.datacenters.index(name),
            "name": name,
            "longName": f"REHEARSAL {name}",
            "priceGroups": [],
        }

    def options(self) -> dict[str, Any]:
        """Return what ``Virtual_Guest::getCreateObjectOptions`` gives."""

        def of(category: str, template: Any) -> list[dict[str, Any]]:
            return [
                {"itemPrice": item.price(), "template": template(item.value)}
                for item in self.items
                if item.category == category
            ]

        def disks(value: str) -> dict[str, Any]:
            size, place = value.split(":")
            return {
                "blockDevices": [{"device": device, "diskImage": {"capacity": int(size)}} for device in ("0", "2")],
                "localDiskFlag": place == "LOCAL",
            }

        return {
            "datacenters": [{"template": {"datacenter": {"name": name}}} for name in self.datacenters],
            "operatingSystems": of("os", lambda value: {"operatingSystemReferenceCode": value}),
            "processors": of("guest_core", lambda value: {"startCpus": int(value)}),
            "memory": of("ram", lambda value: {"maxMemory": int(value)}),
            "networkComponents": of("port_speed", lambda value: {"networkComponents": [{"maxSpeed": int(value)}]}),
            "blockDevices": of("guest_disk", disks),
            "flavors": [],
        }

    def packages(self) -> list[dict[str, Any]]:
        """Return what ``Product_Package::getAllObjects`` gives."""
        return [{"id": id, "keyName": key} for key, id in _PACKAGES.items()]

    def regions(self) -> list[dict[str, Any]]:
        """Return what ``Product_Package::getRegions`` gives."""
        return [{"keyname": name.upper(), "location": {"location": self.datacenter(name)}} for name in self.datacenters]

    def networks(self) -> list[dict[str, Any]]:
        """Return what ``Account::getNetworkVlans`` gives, but for what is on each."""
        return [
            {
                "id": v.id, "vlanNumber": v.number, "networkSpace": v.space, "fullyQualifiedName": f"{v.datacenter}.rehearsal.{v.number}", "name": "REHEARSAL",
                "datacenter": self.datacenter(v.datacenter), "podName": f"{v.datacenter}.pod01", "hardwareCount": 0, "subnetCount": 1,
                "totalPrimaryIpAddressCount": 16, "virtualGuestCount": 0, "tagReferences": [],
                "primaryRouter": {"datacenter": self.datacenter(v.datacenter)},
            }
            for v in self.vlans
        ]  # fmt: skip

    def priced(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the prices of one instance.

        Args:
            spec: As ``Virtual_Guest::createObject`` takes it.

        Raises:
            ServiceError: It cannot be ordered.
        """
        place = str((spec.get("datacenter") or {}).get("name", ""))
        self.datacenter(place)
        for key in ("hostname", "domain"):
            if not spec.get(key):
                raise ServiceError(
                    "SoftLayer_Exception_MissingCreationProperty",
                    f"Property '{key}' must be set to create an instance of SoftLayer_Virtual_Guest.",
                )
        for key, space in (("primaryNetworkComponent", "PUBLIC"), ("primaryBackendNetworkComponent", "PRIVATE")):
            wanted = ((spec.get(key) or {}).get("networkVlan") or {}).get("id")
            if wanted is not None and not any(
                v.id == int(wanted) and v.space == space and v.datacenter == place for v in self.vlans
            ):
                raise ServiceError(
                    "SoftLayer_Exception_Public", f"REHEARSAL: no {space.lower()} VLAN {wanted} in {place}."
                )
        kind = "LOCAL" if spec.get("localDiskFlag") else "SAN"
        wanted_items = [
            ("os", str(spec.get("operatingSystemReferenceCode", ""))),
            ("guest_core", str(spec.get("startCpus") or "")),
            ("ram", str(spec.get("maxMemory") or "")),
            *(
                ("guest_disk", f"{disk['diskImage']['capacity']}:{kind}")
                for disk in spec.get("blockDevices") or [{"diskImage": {"capacity": 25}}]
            ),
            ("port_speed", str((spec.get("networkComponents") or [{"maxSpeed": 100}])[0]["maxSpeed"])),
        ]
        return [self._item(*wanted).price() for wanted in wanted_items]

    def _item(self, category: str, value: str) -> Item:
        for item in self.items:
            if (item.category, item.value) == (category, value):
                return item
        raise ServiceError("SoftLayer_Exception_Public", f"REHEARSAL: nothing on offer for {category} {value!r}.")
