"""The account and its service, as pure state: keys, instances, orders, tags. What a call gives, over XML-RPC or REST."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from swarmbook.machines.rehearsal.account import Account, AccountFile
from swarmbook.machines.rehearsal.catalog import Catalog
from swarmbook.machines.rehearsal.door import USERNAME, new_key
from swarmbook.machines.rehearsal.faults import CALL_KINDS, Fault, FaultPlan, ServiceError, refusal
from swarmbook.machines.rehearsal.guests import Guest, guest_document
from swarmbook.machines.rehearsal.machines import Condition, Machines
from swarmbook.machines.rehearsal.query import apply_mask, parse_mask, select

__all__ = ["Answer", "Call", "Cloud"]

#: Root's password on every instance: there to detect anything that asks for it.
ROOT_PASSWORD = "REHEARSAL-root-password"  # noqa: S105


@dataclass(frozen=True)
class Call:
    """One call as it came.

    Args:
        name: Service and method without the prefix, as ``Virtual_Guest::getObject``.
        id: Of the object it is about.
        args: Its arguments.
        mask: The object mask, as text.
        filter: The object filter.
        limit: How many results at most; 0: all.
        offset: How many to leave out first.
        username: Who calls.
        api_key: With which key.
    """

    name: str
    id: int | None = None
    args: tuple[Any, ...] = ()
    mask: str = ""
    filter: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 0
    offset: int = 0
    username: str = ""
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Answer:
    """What a call gives; ``total``: how many there are in all, for a list."""

    value: Any
    total: int | None = None


class Cloud:
    """One account. Safe to use from several threads.

    Args:
        machines: What stands behind the instances.
        catalog: What is offered.
        faults: How it misbehaves.
        file: Where the account is kept, when it is to outlive this process; with what is in there, it may misbehave more.

    Attributes:
        api_key: The key that :data:`~swarmbook.machines.rehearsal.door.USERNAME` calls with; drawn for each cloud.
    """

    def __init__(
        self,
        machines: Machines,
        *,
        catalog: Catalog | None = None,
        faults: Iterable[Fault] = (),
        file: AccountFile | None = None,
    ) -> None:
        self.machines = machines
        self.catalog = catalog or Catalog()
        self.account = Account(faults=FaultPlan(faults))
        self.calls: list[Call] = []
        self.pause: Callable[[float], object] = time.sleep
        self.watch: Callable[[Call], object] = lambda call: None
        self.api_key = new_key()
        self._guard = threading.RLock()
        self._file = file
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._handlers: dict[str, Callable[[Call], Any]] = {
            "Account::getObject": lambda call: {"id": 1, "companyName": "REHEARSAL (no account)"},
            "Account::getCurrentUser": lambda call: {"id": 1, "username": "REHEARSAL"},
            "Account::getSshKeys": lambda call: self._list(call, "sshKeys", list(self.keys.values())),
            "Account::getVirtualGuests": lambda call: self._list(call, "virtualGuests", self._documents()),
            "Account::getHourlyVirtualGuests": lambda call: self._list(
                call, "virtualGuests", [g for g in self._documents() if g["hourlyBillingFlag"]]
            ),
            "Account::getMonthlyVirtualGuests": lambda call: self._list(
                call, "virtualGuests", [g for g in self._documents() if not g["hourlyBillingFlag"]]
            ),
            "Account::getNetworkVlans": lambda call: self._list(call, "networkVlans", self._networks()),
            "Security_Ssh_Key::createObject": self._add_key,
            "Security_Ssh_Key::getObject": lambda call: self._masked(call, self._key(call)),
            "Security_Ssh_Key::deleteObject": lambda call: bool(self.keys.pop(int(self._key(call)["id"]))),
            "Virtual_Guest::getCreateObjectOptions": lambda call: self.catalog.options(),
            "Virtual_Guest::generateOrderTemplate": lambda call: self._template(call.args[0]),
            "Virtual_Guest::createObject": lambda call: self._order([call.args[0]])[0].receipt(),
            "Virtual_Guest::createObjects": lambda call: [guest.receipt() for guest in self._order(call.args[0])],
            "Virtual_Guest::getObject": lambda call: self._masked(call, self._document(self._guest(call))),
            "Virtual_Guest::getBlockDevices": lambda call: self._masked(
                call, self._document(self._guest(call))["blockDevices"]
            ),
            "Virtual_Guest::getBandwidthAllotmentDetail": lambda call: {},
            "Virtual_Guest::getBillingCycleBandwidthUsage": lambda call: [],
            "Virtual_Guest::getReverseDomainRecords": lambda call: [],
            "Virtual_Guest::setTags": lambda call: self._tag(self._guest(call), str(call.args[0])),
            "Virtual_Guest::powerOn": self._power_on,
            "Virtual_Guest::deleteObject": self._cancel,
            "Tag::setTags": lambda call: self._tag(self._guest_of(int(call.args[2])), str(call.args[0])),
            "Tag::getAttachedTagsForCurrentUser": lambda call: self._list(call, "", self._tags()),
            "Tag::getUnattachedTagsForCurrentUser": lambda call: self._list(call, "", []),
            "Tag::getReferences": self._references,
            "Product_Order::verifyOrder": lambda call: {**self._checked(call.args[0]), "orderId": None},
            "Product_Order::placeOrder": self._place_order,
            "Product_Package::getAllObjects": lambda call: self._list(call, "", self.catalog.packages()),
            "Product_Package::getItems": lambda call: self._list(
                call, "items", [item.document() for item in self.catalog.items]
            ),
            "Product_Package::getActivePresets": lambda call: [],
            "Product_Package::getAccountRestrictedActivePresets": lambda call: [],
            "Product_Package::getRegions": lambda call: self.catalog.regions(),
            "Location::getDatacenters": lambda call: self._list(
                call, "", [self.catalog.datacenter(name) for name in self.catalog.datacenters]
            ),
            "Network_Pod::getAllObjects": lambda call: self._list(call, "", []),
        }

    def call(self, call: Call) -> Answer:
        """Carry out a call.

        Raises:
            ServiceError: The service refuses.
            HttpFailure: There is no answer of the API.
        """
        self._let_in(call)
        with self._held():
            self.calls.append(call)
            self.watch(call)
            fault = self.faults.take(CALL_KINDS, call.name)
        if fault is not None and fault.kind == "slow":
            self.pause(fault.seconds)
        elif fault is not None and fault.kind != "lost-answer":
            raise refusal(fault)
        handler = self._handlers.get(call.name)
        if handler is None:
            raise ServiceError("SoftLayer_Exception", f"REHEARSAL: {call.name} is not rehearsed.", 404)
        with self._held():
            value = handler(call)
        if fault is not None and fault.kind == "lost-answer":
            self.pause(fault.seconds)
        return value if isinstance(value, Answer) else Answer(value)

    def _let_in(self, call: Call) -> None:
        """Refuse a call without the key: before anything is kept of the call, counted, or injected into it."""
        known = secrets.compare_digest(call.api_key.encode(), self.api_key.encode())
        if not known or call.username not in (USERNAME, "apikey"):
            raise ServiceError("SoftLayer_Exception_InvalidApiToken", "Invalid API token.", 401)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the account as it is now, for one call at a time."""
        with self._guard:
            if self._file is None:
                yield
                return
            with self._file.held() as self.account:
                yield

    @property
    def keys(self) -> dict[int, dict[str, Any]]:
        """The account's SSH keys by id."""
        return self.account.keys

    @property
    def guests(self) -> dict[int, Guest]:
        """Its instances by id."""
        return self.account.guests

    @property
    def faults(self) -> FaultPlan:
        """How it misbehaves."""
        return self.account.faults

    # -- answers -----------------------------------------------------------------------------------------------

    def _list(self, call: Call, key: str, items: list[dict[str, Any]]) -> Answer:
        """Answer with a list: filtered, sorted, cut to the page that was asked for, masked.

        A filter of an account begins with what is listed.
        """
        criteria = call.filter.get(key, {}) if key else call.filter
        chosen = select(items, criteria)
        page = chosen[call.offset : call.offset + call.limit if call.limit else None]
        return Answer([self._masked(call, item) for item in page], len(chosen))

    @staticmethod
    def _masked(call: Call, value: Any) -> Any:
        return apply_mask(value, parse_mask(call.mask) if call.mask else None)

    # -- keys --------------------------------------------------------------------------------------------------

    def _add_key(self, call: Call) -> dict[str, Any]:
        given = call.args[0]
        text, label = str(given.get("key", "")).strip(), str(given.get("label", ""))
        try:
            body = base64.b64decode(text.split()[1], validate=True)
        except (IndexError, binascii.Error):
            raise ServiceError("SoftLayer_Exception_Public", "REHEARSAL: this is no public SSH key.") from None
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        fingerprint = ":".join(digest[at : at + 2] for at in range(0, 32, 2))
        if any(key["fingerprint"] == fingerprint for key in self.keys.values()):
            raise ServiceError("SoftLayer_Exception_Public", "SSH Key already exists.")
        id = self._number()
        key: dict[str, Any] = {
            "id": id,
            "label": label,
            "key": text,
            "fingerprint": fingerprint,
            "notes": str(given.get("notes") or ""),
            "createDate": _now(),
        }
        self.keys[id] = key
        return dict(key)

    def _key(self, call: Call) -> dict[str, Any]:
        if call.id not in self.keys:
            raise _not_found("SoftLayer_Security_Ssh_Key", call.id)
        return self.keys[call.id]

    # -- instances ---------------------------------------------------------------------------------------------

    def _guest(self, call: Call) -> Guest:
        return self._guest_of(call.id)

    def _guest_of(self, id: int | None) -> Guest:
        self._sweep()
        if id not in self.guests:
            raise _not_found("SoftLayer_Virtual_Guest", id)
        self._begin(self.guests[id])
        return self.guests[id]

    def _condition(self, guest: Guest) -> Condition:
        self._begin(guest)
        condition = self.machines.condition(guest.id)
        part = (time.time() - guest.ordered) / self.account.up_s if self.account.up_s else 1.0
        if part < 1 and not guest.ending and not guest.ready:
            # Its machine may be up before its time; a person is to see how it comes up.
            if part < 0.5:
                return Condition(doing="Assign Host")
            return Condition(
                doing="Setup Operating System",
                public_address=condition.public_address,
                private_address=condition.private_address,
            )
        if condition.running and not guest.never_up and not guest.ready:
            guest.ready = _now()
        return condition

    def _begin(self, guest: Guest) -> None:
        """Have its machine begun, or ended: another process may have died over it."""
        if guest.ending:
            if guest.id not in self._ended:
                self.machines.end(guest.id)
                self._ended.add(guest.id)
        elif guest.id not in self._begun:
            disks = [
                int(disk["diskImage"]["capacity"])
                for disk in guest.spec.get("blockDevices") or []
                if disk["device"] == "2"
            ]
            keys = tuple(
                self.keys[key["id"]]["key"] for key in guest.spec.get("sshKeys") or [] if key["id"] in self.keys
            )
            self.machines.begin(guest.id, guest.hostname, keys, disks[0] if disks else 0)
            self._begun.add(guest.id)

    def _sweep(self) -> None:
        """Forget those that are gone."""
        for guest in list(self.guests.values()):
            if guest.ending and self._condition(guest).gone:
                del self.guests[guest.id]

    def _document(self, guest: Guest) -> dict[str, Any]:
        return guest_document(guest, self._condition(guest), self.catalog, self.keys, ROOT_PASSWORD)

    def _documents(self) -> list[dict[str, Any]]:
        self._sweep()
        return [self._document(guest) for guest in self.guests.values()]

    def _networks(self) -> list[dict[str, Any]]:
        found = self.catalog.networks()
        for vlan in found:
            vlan["virtualGuestCount"] = sum(
                guest.spec["datacenter"]["name"] == vlan["datacenter"]["name"] for guest in self.guests.values()
            )
        return found

    def _order(self, specs: Iterable[Mapping[str, Any]]) -> list[Guest]:
        """Order instances: all of them, or none."""
        checked = [(spec, self.catalog.priced(spec)) for spec in specs]
        for spec, _ in checked:
            for key in spec.get("sshKeys") or []:
                if key["id"] not in self.keys:
                    raise _not_found("SoftLayer_Security_Ssh_Key", key["id"])
        guests = []
        for spec, prices in checked:
            guest = Guest(self._number(), dict(spec), prices, _now(), time.time())
            guest.never_up = self.faults.take(("never-up",), guest.hostname) is not None
            guest.no_private_address = self.faults.take(("no-private-address",), guest.hostname) is not None
            self.guests[guest.id] = guest
            self._begin(guest)
            guests.append(guest)
        return guests

    def _tag(self, guest: Guest, tags: str) -> bool:
        guest.tags = [tag.strip() for tag in tags.split(",") if tag.strip()]
        return True

    def _tags(self) -> list[dict[str, Any]]:
        names = sorted({tag for guest in self.guests.values() for tag in guest.tags})
        return [
            {"id": at, "name": name, "referenceCount": sum(name in guest.tags for guest in self.guests.values())}
            for at, name in enumerate(names, 1)
        ]

    def _references(self, call: Call) -> Answer:
        name = next((tag["name"] for tag in self._tags() if tag["id"] == call.id), None)
        found = [
            {"id": g.id, "resourceTableId": g.id, "tagType": {"keyName": "GUEST"}}
            for g in self.guests.values()
            if name in g.tags
        ]
        return self._list(call, "", found)

    def _power_on(self, call: Call) -> bool:
        self.machines.power_on(self._guest(call).id)
        return True

    def _cancel(self, call: Call) -> bool:
        guest = self._guest(call)
        guest.ending = True
        self._begin(guest)
        return True

    # -- orders by template, as slcli places them --------------------------------------------------------------

    def _template(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        prices = self.catalog.priced(spec)
        return {
            "complexType": "SoftLayer_Container_Product_Order_Virtual_Guest", "packageId": 46, "location": str(self.catalog.datacenter(spec["datacenter"]["name"])["id"]),
            "quantity": 1, "useHourlyPricing": bool(spec.get("hourlyBillingFlag")), "prices": prices,
            "virtualGuests": [{key: value for key, value in spec.items() if key != "userData" and value is not None}],
        }  # fmt: skip

    def _checked(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Return an order as it would be placed: with the current prices."""
        return {**order, "prices": [price for spec in order["virtualGuests"] for price in self.catalog.priced(spec)]}

    def _place_order(self, call: Call) -> dict[str, Any]:
        order = self._checked(call.args[0])
        guests = self._order(order["virtualGuests"])
        details = {**order, "virtualGuests": [guest.receipt() for guest in guests]}
        return {"orderId": self._number(), "orderDate": _now(), "orderDetails": details}

    def _number(self) -> int:
        self.account.last += 1
        return self.account.last


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _not_found(kind: str, id: object) -> ServiceError:
    return ServiceError("SoftLayer_Exception_ObjectNotFound", f"Unable to find object with id of '{id}'. ({kind})", 404)
