"""The rehearsal of SoftLayer, asked by the real client over both wires."""

from __future__ import annotations

import ast
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import SoftLayer
from SoftLayer import auth, transports

from swarmbook.machines.rehearsal import USERNAME, Cloud, Fault, MemoryMachines, Rehearsal
from swarmbook.machines.rehearsal.faults import ServiceError
from swarmbook.machines.rehearsal.query import apply_mask, parse_mask, select

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm5hn7tLcyTyPHwZ1cWu9oTqGQ2nXm3Qd0p0r3m1cPZ someone"
FINGERPRINT = "45:28:4c:51:2c:c4:17:25:5c:37:55:fb:7e:44:6b:b7"  # ssh-keygen -E md5 -lf
SPEC = {
    "hostname": "sw1", "domain": "example.com", "cpus": 2, "memory": 4096, "datacenter": "dal10", "os_code": "UBUNTU_22_64", "hourly": True, "local_disk": True,
    "disks": ["25", "100"], "nic_speed": 100, "public_vlan": 2000001, "private_vlan": 2000002,
}  # fmt: skip


class Clock:
    """Time as a test sets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cloud(clock: Clock) -> Cloud:
    return Cloud(MemoryMachines(100, 50, clock))


@pytest.fixture
def rehearsal(cloud: Cloud) -> Iterator[Rehearsal]:
    with Rehearsal(cloud) as rehearsal:
        yield rehearsal


@pytest.fixture
def connect(rehearsal: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes real clients; no one's account or proxy leaks in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SL_USERNAME", "SL_API_KEY", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made: list[Any] = []

    def make(wire: str = "xmlrpc", timeout: float = 5, key: str = "", username: str = USERNAME) -> Any:
        kind, login = {
            "xmlrpc": (transports.XmlRpcTransport, auth.BasicAuthentication), "rest": (transports.RestTransport, auth.BasicHTTPAuthentication),
        }[wire]  # fmt: skip
        transport = kind(endpoint_url=getattr(rehearsal, wire), timeout=timeout)
        made.append(transport)
        return SoftLayer.BaseClient(auth=login(username, key or rehearsal.key), transport=transport)

    yield make
    for transport in made:
        transport.client.close()


@pytest.fixture(params=["xmlrpc", "rest"])
def client(request: pytest.FixtureRequest, connect: Callable[..., Any]) -> Any:
    return connect(request.param)


# -- keys ----------------------------------------------------------------------------------------------------------------


def test_keys(client: Any, cloud: Cloud) -> None:
    keys = SoftLayer.SshKeyManager(client)
    made = keys.add_key(KEY, "mine", "a note")
    assert (made["label"], made["fingerprint"]) == ("mine", FINGERPRINT)
    assert keys.resolve_ids("mine") == [made["id"]]
    assert [key["key"] for key in keys.list_keys("mine")] == [KEY]
    assert keys.list_keys("other") == []
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="already exists"):
        keys.add_key(KEY, "again")
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="no public SSH key"):
        keys.add_key("nonsense", "again")
    assert keys.get_key(made["id"])["label"] == "mine"
    assert keys.delete_key(made["id"]) is True
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="Unable to find object"):
        keys.get_key(made["id"])
    assert cloud.keys == {}


# -- instances -----------------------------------------------------------------------------------------------------------


def test_the_life_of_an_instance(client: Any, clock: Clock, cloud: Cloud) -> None:
    machines = SoftLayer.VSManager(client)
    key = SoftLayer.SshKeyManager(client).add_key(KEY, "mine")["id"]
    made = machines.create_instance(**SPEC, ssh_keys=[key], tags="one,two", userdata="mark")
    assert cloud.machines.made[made["id"]] == ("sw1", (KEY,), 100)  # type: ignore[attr-defined]
    assert machines.wait_for_ready(made["id"], 0) is False
    early = machines.get_instance(made["id"])
    assert (
        "primaryBackendIpAddress" not in early
        and early["activeTransaction"]["transactionStatus"]["friendlyName"] == "Assign Host"
    )
    clock.now = 60
    assert "primaryIpAddress" in machines.get_instance(
        made["id"]
    ) and "primaryBackendIpAddress" not in machines.get_instance(made["id"])
    clock.now = 100
    assert machines.wait_for_ready(made["id"], 0) is True
    full = machines.get_instance(made["id"])
    assert (full["hostname"], full["domain"], full["maxCpu"], full["datacenter"]["name"]) == (
        "sw1",
        "example.com",
        2,
        "dal10",
    )
    assert full["userData"] == [{"value": "mark"}] and full["operatingSystem"]["passwords"], (
        "the client's own mask asks for root's password"
    )
    assert [tag["tag"]["name"] for tag in full["tagReferences"]] == ["one", "two"]
    assert machines.cancel_instance(made["id"]) is True
    assert machines.get_instance(made["id"])["activeTransaction"]["transactionStatus"]["friendlyName"] == "Reclaim"
    clock.now = 150
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="Unable to find object"):
        machines.get_instance(made["id"])
    assert machines.list_instances() == []


def test_several_at_once_are_all_or_none(client: Any, cloud: Cloud) -> None:
    machines = SoftLayer.VSManager(client)
    specs = [{**SPEC, "hostname": f"sw{n}", "tags": "lab"} for n in (1, 2, 3)]
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="no datacenter nowhere"):
        machines.create_instances([dict(specs[0]), {**specs[1], "datacenter": "nowhere"}])
    assert cloud.guests == {}
    assert len(machines.create_instances([dict(spec) for spec in specs])) == 3
    assert [guest.tags for guest in cloud.guests.values()] == [["lab"]] * 3


def test_lists_filters_and_pages(client: Any, cloud: Cloud) -> None:
    machines = SoftLayer.VSManager(client)
    machines.create_instances(
        [
            {**SPEC, "hostname": f"sw{n}", "hourly": n % 2 == 0, "tags": "even" if n % 2 == 0 else "odd,all"}
            for n in range(1, 8)
        ]
    )
    assert [guest["hostname"] for guest in machines.list_instances(limit=3)] == [f"sw{n}" for n in range(1, 8)]
    assert sum(call.name == "Account::getVirtualGuests" for call in cloud.calls) == 3, "three pages"
    assert [guest["hostname"] for guest in machines.list_instances(hostname="SW3")] == ["sw3"]
    assert [guest["hostname"] for guest in machines.list_instances(hostname="sw*", tags=["even", "none"])] == [
        "sw2",
        "sw4",
        "sw6",
    ]
    assert [guest["hostname"] for guest in machines.list_instances(monthly=False)] == ["sw2", "sw4", "sw6"]
    assert [guest["hostname"] for guest in machines.list_instances(hourly=False, datacenter="dal10")] == [
        "sw1",
        "sw3",
        "sw5",
        "sw7",
    ]
    assert machines.list_instances(domain="example.org") == []
    assert set(machines.list_instances(mask="mask[id,hostname,activeTransaction[id]]")[0]) == {
        "id",
        "hostname",
        "activeTransaction",
    }


def test_prices_without_ordering(client: Any, cloud: Cloud) -> None:
    machines = SoftLayer.VSManager(client)
    receipt = machines.order_guest(dict(SPEC), test=True)
    assert sum(float(price["hourlyRecurringFee"]) for price in receipt["prices"]) == pytest.approx(0.04 + 0.04 + 0.01)
    assert all("REHEARSAL" in price["item"]["description"] for price in receipt["prices"])
    assert cloud.guests == {}
    for wrong, words in (
        ({"os_code": "CENTOS_LATEST"}, "CENTOS_LATEST"),
        ({"public_vlan": 5}, "no public VLAN 5"),
        ({"cpus": 3}, "guest_core '3'"),
    ):
        with pytest.raises(SoftLayer.SoftLayerAPIError, match=words):
            machines.order_guest({**SPEC, **wrong}, test=True)
    placed = machines.order_guest({**SPEC, "tags": "x"})
    assert [guest.tags for guest in cloud.guests.values()] == [["x"]] and placed["orderDetails"]["virtualGuests"][0][
        "fullyQualifiedDomainName"
    ] == "sw1.example.com"


def test_what_is_offered(client: Any) -> None:
    options = SoftLayer.VSManager(client).get_create_options(datacenter="dal10")
    assert "UBUNTU_22_64" in {system["referenceCode"] for system in options["operating_systems"]}
    assert [place["key"] for place in options["locations"]] == ["dal10"]
    with pytest.raises(SoftLayer.SoftLayerError, match="Unable to find a datacenter"):
        SoftLayer.VSManager(client).get_create_options(datacenter="nowhere")
    shape = client.call("Virtual_Guest", "getCreateObjectOptions")
    assert {"template": {"datacenter": {"name": "dal10"}}} in shape["datacenters"]
    assert [vlan["id"] for vlan in SoftLayer.NetworkManager(client).list_vlans(datacenter="dal10")] == [
        2000001,
        2000002,
    ]


# -- misbehaviour --------------------------------------------------------------------------------------------------------


def test_a_lost_answer_has_ordered(cloud: Cloud, connect: Callable[..., Any]) -> None:
    cloud.faults.add(Fault("lost-answer", "Virtual_Guest::createObject", times=1, seconds=60))
    with pytest.raises(SoftLayer.TransportError, match="Read timed out"):
        SoftLayer.VSManager(connect(timeout=0.3)).create_instance(**SPEC)
    assert [guest.hostname for guest in cloud.guests.values()] == ["sw1"]
    SoftLayer.VSManager(connect()).create_instance(**{**SPEC, "hostname": "sw2"})
    assert len(cloud.guests) == 2, "once only"


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("http-500", "TransportError", "500"), ("rate-limit", "SoftLayerAPIError", "Rate limit of 50"), ("bad-credentials", "SoftLayerAPIError", "Invalid API token"),
        ("quota", "SoftLayerAPIError", "limit of virtual servers"), ("unknown-datacenter", "SoftLayerAPIError", "no such datacenter"), ("refused", "SoftLayerAPIError", "refused"),
    ],
)  # fmt: skip
def test_refusals(cloud: Cloud, connect: Callable[..., Any], kind: Any, error: str, words: str) -> None:
    cloud.faults.add(Fault(kind, "Virtual_Guest::createObject", times=2))
    for wire in ("xmlrpc", "rest"):
        client = connect(wire)
        with pytest.raises(SoftLayer.SoftLayerAPIError, match=words) as caught:
            SoftLayer.VSManager(client).create_instance(**SPEC)
        assert type(caught.value).__name__ == (error if wire == "xmlrpc" else "SoftLayerAPIError")
    assert cloud.guests == {}
    SoftLayer.VSManager(connect()).create_instance(**SPEC)
    assert len(cloud.guests) == 1, "two times only"


def test_machines_that_misbehave(cloud: Cloud, clock: Clock, connect: Callable[..., Any]) -> None:
    for fault in (Fault("never-up", "sw1"), Fault("no-private-address", "sw2"), Fault("cancel-refused", times=1)):
        cloud.faults.add(fault)
    machines = SoftLayer.VSManager(connect())
    one, two, three = (machines.create_instance(**{**SPEC, "hostname": f"sw{n}"})["id"] for n in (1, 2, 3))
    clock.now = 10_000
    assert [machines.wait_for_ready(id, 0) for id in (one, two, three)] == [False, True, True]
    assert ["primaryBackendIpAddress" in machines.get_instance(id) for id in (one, two, three)] == [True, False, True]
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="while a transaction is active"):
        machines.cancel_instance(three)
    assert machines.cancel_instance(three) is True


def test_slow_answers_come(cloud: Cloud, connect: Callable[..., Any]) -> None:
    cloud.faults.add(Fault("slow", times=1, seconds=0.2))
    before = time.monotonic()
    assert connect().call("Account", "getObject") == {"id": 1, "companyName": "REHEARSAL (no account)"}
    assert time.monotonic() - before >= 0.2


@pytest.mark.parametrize("wire", ["xmlrpc", "rest"])
def test_only_with_the_key(connect: Callable[..., Any], wire: str) -> None:
    for who in ({"key": "another"}, {"username": "another"}):
        with pytest.raises(SoftLayer.SoftLayerAPIError, match=r"Invalid API token\."):
            connect(wire, **who).call("Account", "getSshKeys")
    assert connect(wire, username="apikey").call("Account", "getSshKeys") == [], (
        "a key of IAM, whose user is called apikey"
    )


def test_what_is_not_rehearsed_is_said(client: Any) -> None:
    with pytest.raises(SoftLayer.SoftLayerAPIError, match="Hardware::getObject is not rehearsed"):
        client.call("Hardware", "getObject", id=1)


def test_only_this_computer_reaches_it(rehearsal: Rehearsal) -> None:
    port = int(rehearsal.url.rpartition(":")[2])
    other = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))  # this computer's too, and another address than the one that it listens on


def test_it_stands_by_itself(root: Path) -> None:
    """A fake that took anything from what it tests would agree with it in everything."""
    for file in (root / "swarmbook" / "testing" / "softlayer").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1 and not (node.module or "").startswith("swarmbook"), file
            elif isinstance(node, ast.Import):
                assert not any(name.name.startswith("swarmbook") for name in node.names), file


# -- masks and filters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("id", {"id": {}}), ("mask[id, name]", {"id": {}, "name": {}}), ("[id]", {"id": {}}), ("mask.a.b", {"a": {"b": {}}}),
        ("mask[a.b[c,d],e[f[g]]]", {"a": {"b": {"c": {}, "d": {}}}, "e": {"f": {"g": {}}}}), ("mask[a[b],a[c]]", {"a": {"b": {}, "c": {}}}),
        ("mask(SoftLayer_Virtual_Guest)[id]", {"id": {}}),
    ],
)  # fmt: skip
def test_masks(text: str, tree: Any) -> None:
    assert parse_mask(text) == tree


@pytest.mark.parametrize("text", ["mask[a", "mask[a]]", "mask[[a]]", "mask[a;b]"])
def test_malformed_masks(text: str) -> None:
    with pytest.raises(ServiceError, match="Object mask is malformed"):
        parse_mask(text)


def test_what_a_mask_leaves() -> None:
    thing = {
        "id": 1,
        "name": "x",
        "part": {"id": 2, "deep": {"id": 3}},
        "parts": [{"id": 4, "of": {"id": 5}}],
        "no": None,
    }
    assert apply_mask(thing, None) == {"id": 1, "name": "x"}
    assert apply_mask(thing, parse_mask("id,absent")) == {"id": 1}
    assert apply_mask(thing, parse_mask("part")) == {"id": 1, "name": "x", "part": {"id": 2}}
    assert apply_mask([thing], parse_mask("name,parts[of]")) == [{"name": "x", "parts": [{"id": 4, "of": {"id": 5}}]}]


@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ("Ab", ["Ab"]), ("_= ab", ["Ab"]), ("*= B", ["Ab", "abc"]), ("^= ab", ["Ab", "abc"]), ("$= C", ["abc"]), ("~ b", ["Ab", "abc"]), ("!= abc", ["Ab", "x"]), ("not null", ["Ab", "abc", "x"]),
    ],
)  # fmt: skip
def test_filters(operation: str, names: list[str]) -> None:
    things = [{"name": "Ab", "n": 1}, {"name": "abc", "n": 2}, {"name": "x", "n": 3}, {"n": 4}]
    assert [thing["name"] for thing in select(things, {"name": {"operation": operation}})] == names


def test_filters_of_numbers_and_orders() -> None:
    things = [{"n": 1}, {"n": 3}, {"n": 2}]
    assert [t["n"] for t in select(things, {"n": {"operation": ">= 2"}})] == [3, 2]
    assert [t["n"] for t in select(things, {"n": {"operation": 2}})] == [2]
    assert [
        t["n"]
        for t in select(things, {"n": {"operation": "orderBy", "options": [{"name": "sort", "value": ["DESC"]}]}})
    ] == [3, 2, 1]
