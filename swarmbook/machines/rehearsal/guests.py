"""One rehearsed instance: what was ordered, and how it shows itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmbook.machines.rehearsal.catalog import Catalog
from swarmbook.machines.rehearsal.machines import Condition

__all__ = ["Guest", "guest_document"]


@dataclass
class Guest:
    """What the account knows of an instance.

    Args:
        id: Its number.
        spec: As ``Virtual_Guest::createObject`` took it.
        prices: What it costs.
        created: When it was ordered, as the service writes times.
        ordered: The same in seconds since 1970.
        ready: When it first ran; empty before.
        tags: In order.
        never_up: It will not come up.
        no_private_address: It comes up without one.
        ending: It was cancelled.
    """

    id: int
    spec: Mapping[str, Any]
    prices: Sequence[Mapping[str, Any]]
    created: str
    ordered: float
    ready: str = ""
    tags: list[str] = field(default_factory=list)
    never_up: bool = False
    no_private_address: bool = False
    ending: bool = False

    @property
    def hostname(self) -> str:
        """Its name."""
        return str(self.spec["hostname"])

    @property
    def fqdn(self) -> str:
        """Its full name."""
        return f"{self.hostname}.{self.spec['domain']}"

    def receipt(self) -> dict[str, Any]:
        """Return the instance as an order's receipt names it."""
        return {
            "id": self.id,
            "globalIdentifier": f"rehearsal-{self.id}",
            "fullyQualifiedDomainName": self.fqdn,
            "hostname": self.hostname,
            "createDate": self.created,
        }


def guest_document(
    guest: Guest, condition: Condition, catalog: Catalog, keys: Mapping[int, Mapping[str, Any]], password: str
) -> dict[str, Any]:
    """Return all that a mask can ask of an instance; what it does not have (yet) is left out, as the service does.

    Args:
        guest: The instance.
        condition: How its machine is.
        catalog: What is offered.
        keys: The account's SSH keys by id.
        password: Root's, which the client's own masks ask for.
    """
    spec = guest.spec
    running = condition.running and not guest.never_up
    doing = "Setup Operating System" if guest.never_up and not condition.doing else condition.doing
    power = ("RUNNING", "Running") if running else ("HALTED", "Halted")
    disks = list(spec.get("blockDevices") or [])
    code = str(spec.get("operatingSystemReferenceCode", ""))
    software = {
        "manufacturer": "REHEARSAL",
        "name": code.partition("_")[0].capitalize(),
        "version": code,
        "referenceCode": code,
    }
    vlans = [v for v in catalog.networks() if v["datacenter"]["name"] == spec["datacenter"]["name"]]
    monthly = sum(float(price["recurringFee"] or 0) for price in guest.prices)
    found: dict[str, Any] = {
        **guest.receipt(),
        "domain": spec["domain"], "modifyDate": guest.created, "provisionDate": guest.ready,
        "notes": "REHEARSAL: nothing was rented", "maxCpu": spec.get("startCpus"), "maxMemory": spec.get("maxMemory"), "localDiskFlag": bool(spec.get("localDiskFlag")),
        "hourlyBillingFlag": bool(spec.get("hourlyBillingFlag")), "privateNetworkOnlyFlag": bool(spec.get("privateNetworkOnlyFlag")),
        "dedicatedAccountHostOnlyFlag": False, "transientGuestFlag": False,
        "primaryIpAddress": condition.public_address or None,
        "primaryBackendIpAddress": None if guest.no_private_address else condition.private_address or None,
        "powerState": {"keyName": power[0], "name": power[1]}, "lastKnownPowerState": {"keyName": power[0], "name": power[1]},
        "status": {"keyName": "ACTIVE", "name": "Active"}, "deviceStatus": {"name": "Running" if running else "Provisioning"},
        "datacenter": catalog.datacenter(spec["datacenter"]["name"]),
        "networkComponents": [
            {"id": guest.id * 10 + port, "name": "eth", "port": port, "maxSpeed": (spec.get("networkComponents") or [{"maxSpeed": 100}])[0]["maxSpeed"],
             "securityGroupBindings": []} for port in (0, 1)],
        "blockDevices": [
            {"id": guest.id * 10 + int(disk["device"]), "device": disk["device"], "mountType": "Disk",
             "diskImage": {"capacity": int(disk["diskImage"]["capacity"]), "units": "GB", "description": f"REHEARSAL disk {disk['device']}"}} for disk in disks],
        "operatingSystem": {"passwords": [{"username": "root", "password": password}], "softwareLicense": {"softwareDescription": software}},
        "softwareComponents": [{"passwords": [{"username": "root", "password": password}], "softwareLicense": {"softwareDescription": software}}],
        "userData": [dict(data) for data in spec.get("userData") or []],
        "tagReferences": [{"id": guest.id * 10 + at, "tag": {"id": at, "name": tag}} for at, tag in enumerate(guest.tags)],
        "networkVlans": vlans,
        "sshKeys": [keys[key["id"]] for key in spec.get("sshKeys") or [] if key["id"] in keys],
        "billingItem": {
            "id": guest.id + 5_000_000, "nextInvoiceTotalRecurringAmount": monthly, "nextInvoiceChildren": [],
            "orderItem": {"id": guest.id + 6_000_000, "order": {"id": guest.id + 7_000_000, "userRecord": {"username": "REHEARSAL"}}}},
    }  # fmt: skip
    if doing:
        found["activeTransaction"] = {
            "id": guest.id + 8_000_000,
            "transactionStatus": {"name": doing.upper().replace(" ", "_"), "friendlyName": doing},
        }
    return {key: value for key, value in found.items() if value is not None}
