"""The softlayer provider on a rehearsal, by way of the real client: ordering once, waiting, cancelling, and whatever goes wrong."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.docker_api import local_engine
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.ssh_keys import fingerprint, generate_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import (  # fmt: skip
    ConfirmationMissing,
    ForeignData,
    HostUnreachable,
    OrderUncertain,
    PlanMismatch,
    ProviderError,
    SwarmbookError,
    WaitTimeout,
)
from swarmbook.book.book import Book
from swarmbook.cli.session import Session
from swarmbook.machines.providers import costs_money, provider_for
from swarmbook.machines.providers.base import MachineState
from swarmbook.machines.providers.softlayer import SoftLayerProvider
from swarmbook.machines.rehearsal import USERNAME, Cloud, Fault, MemoryMachines, Rehearsal
from swarmbook.machines.rehearsal.cloud import ROOT_PASSWORD
from swarmbook.machines.rehearsal.door import shown_to_slcli
from swarmbook.machines.softlayer_api import SoftLayerApi
from swarmbook.machines.softlayer_types import Instance
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.plan import Plan, PlannedStep
from swarmbook.params import Params
from swarmbook.phases.planner import make_plan
from swarmbook.phases.provision import step as provision
from swarmbook.show.changes import plan_text
from swarmbook.testing.errors import raises

NAMES = ["sw1", "sw2", "sw3"]
ORDER = "Virtual_Guest::createObject"


@pytest.fixture
def machines() -> MemoryMachines:
    return MemoryMachines(0.1, 0.1)


@pytest.fixture
def cloud(machines: MemoryMachines) -> Cloud:
    return Cloud(machines)


@pytest.fixture
def rehearsal(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    for name in ("SL_USERNAME", "SL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with Rehearsal(cloud) as rehearsal:
        yield rehearsal


@pytest.fixture
def kept(rehearsal: Rehearsal, home: Path) -> Iterator[None]:
    """The key lies in the home, as `swarmbook rehearse --serve` puts it there."""
    with shown_to_slcli(home, rehearsal.xmlrpc, rehearsal.key):
        yield


@pytest.fixture
def params(rehearsal: Rehearsal) -> Callable[..., Params]:
    def make(**other: Any) -> Params:
        given: dict[str, Any] = {
            "cluster": "lab", "nodes": NAMES, "provider": "softlayer", "sl_endpoint": rehearsal.xmlrpc, "sl_domain": "example.com", "sl_wait_timeout": 120, "wait_timeout": 120,
        }  # fmt: skip
        return Params(**{**given, **other})

    return make


class Scans:
    """Host keys of machines that there are not: as many as addresses, and counted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = 0

    def __call__(self, end: Endpoint) -> str:
        if self.silent:
            self.silent -= 1
            raise HostUnreachable("no SSH server shows a host key", seen="Connection refused")
        self.asked.append(end.host)
        return f"ssh-ed25519 KEY-OF-{end}"


@pytest.fixture
def scans() -> Scans:
    return Scans()


@pytest.fixture
def provider(
    params: Callable[..., Params], rehearsal: Rehearsal, home: Path, scans: Scans
) -> Iterator[Callable[..., SoftLayerProvider]]:
    """Makes providers that do not pause for long, for a cluster with a key."""
    apis: list[SoftLayerApi] = []
    cluster = Cluster("lab", home)
    cluster.folder.mkdir(parents=True)
    generate_key(cluster.key_file, "swarmbook-lab")

    def make(
        timeout_s: float = 60, phase: str = "01", settle_s: float = 60, book: Book | None = None, **other: Any
    ) -> SoftLayerProvider:
        apis.append(SoftLayerApi(rehearsal.xmlrpc, rehearsal.key, timeout_s=timeout_s, sleep=lambda seconds: None))
        book = book or Book(phase, params(**other), cluster=cluster)
        return SoftLayerProvider(book, api=apis[-1], scan=scans, settle_s=settle_s, first_s=0.01, slowest_s=0.05)

    yield make
    for api in apis:
        api.close()


@pytest.fixture
def up(provider: Callable[..., SoftLayerProvider]) -> Callable[..., Any]:
    """Orders what is missing and waits for it, as the step does."""

    def order(**other: Any) -> Any:
        one = provider(**other)
        names = one._book.params.nodes
        one.provision(one.plan(names, one.machines()))
        nodes = one.wait(names)
        one._book.cluster.save_nodes(nodes, "softlayer")
        return nodes

    return order


def ordered(cloud: Cloud) -> list[str]:
    return [str(call.args[0]["hostname"]) for call in cloud.calls if call.name == ORDER]


# -- all is well ---------------------------------------------------------------------------------------------------------


def test_ordered_once_with_every_setting(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    settings: dict[str, Any] = {
        "sl_cpu": 4, "sl_memory": 8192, "sl_billing": "monthly", "sl_os": "DEBIAN_12_64", "sl_os_disk": 100, "sl_docker_disk": 200, "sl_local_disk": False,
        "sl_network_speed": 1000, "sl_public_vlan": 2000001, "sl_private_vlan": 2000002, "sl_tags": ["extra"],
    }  # fmt: skip
    up(**settings)
    assert sorted(ordered(cloud)) == NAMES
    spec = next(guest.spec for guest in cloud.guests.values() if guest.hostname == "sw2")
    key = next(iter(cloud.keys.values()))
    assert dict(spec) == {
        "hostname": "sw2", "domain": "example.com", "datacenter": {"name": "dal10"}, "operatingSystemReferenceCode": "DEBIAN_12_64", "startCpus": 4, "maxMemory": 8192,
        "hourlyBillingFlag": False, "localDiskFlag": False, "networkComponents": [{"maxSpeed": 1000}], "sshKeys": [{"id": key["id"]}],
        "blockDevices": [{"device": "0", "diskImage": {"capacity": "100"}}, {"device": "2", "diskImage": {"capacity": "200"}}],
        "primaryNetworkComponent": {"networkVlan": {"id": 2000001}}, "primaryBackendNetworkComponent": {"networkVlan": {"id": 2000002}},
        "supplementalCreateObjectOptions": {"bootMode": None}, "userData": [{"value": "swarmbook-lab sw2"}],
    }  # fmt: skip
    assert {tuple(guest.tags) for guest in cloud.guests.values()} == {("swarmbook-lab", "extra")}
    again = provider(**settings)
    assert again.plan(NAMES, again.machines()) == []


def test_nodes_as_the_phases_know_them(up: Callable[..., Any], cloud: Cloud, scans: Scans) -> None:
    nodes = {node.name: node for node in up()}
    assert list(nodes) == NAMES
    for guest in cloud.guests.values():
        condition, node = cloud.machines.condition(guest.id), nodes[guest.hostname]
        assert (node.id, node.private_address, node.public_address) == (
            f"rehearsal-{guest.id}",
            condition.private_address,
            condition.public_address,
        )
        assert (node.ssh, node.user, node.disk) == (Endpoint(condition.public_address, 22), "root", "/dev/xvdc")
        assert node.host_key == f"ssh-ed25519 KEY-OF-{node.ssh}"
    assert all(node.tunnel for node in nodes.values()), "the engine is reached through SSH, not at the public address"
    private = up(sl_ssh_interface="private")
    assert all(node.tunnel for node in private), "nor at the private one: the walls let the nodes in alone"
    assert {node.ssh.host for node in private} == {node.private_address for node in private}


def test_the_host_key_is_pinned_at_first_contact(
    up: Callable[..., Any], scans: Scans, cloud: Cloud, machines: MemoryMachines
) -> None:
    first = up()
    assert len(scans.asked) == 3
    assert up() == first and len(scans.asked) == 3, "never asked again: who answers has to show the pinned one"
    gone = next(guest for guest in cloud.guests.values() if guest.hostname == "sw2")
    del cloud.guests[gone.id]
    again = up()
    assert len(scans.asked) == 4 and again[1].id != first[1].id and again[0] == first[0], (
        "a machine that was made again is met again"
    )


def test_a_pin_that_was_taken_out_is_not_used_again(up: Callable[..., Any], scans: Scans, home: Path) -> None:
    """As the message about another host key says: a person removes the line, and 01 asks for the key again."""
    first = up()
    known = Cluster("lab", home).known_hosts
    kept = [line for line in known.read_text().splitlines(keepends=True) if first[1].host_key not in line]
    assert len(kept) == 2
    known.write_text("".join(kept))
    assert up() == first
    assert scans.asked.count(first[1].ssh.host) == 2 and len(scans.asked) == 4, "of the others no one asked again"


def test_states_for_whoever_asks_why(
    provider: Callable[..., SoftLayerProvider], up: Callable[..., Any], cloud: Cloud
) -> None:
    assert provider().states() == {}
    cloud.faults.add(Fault("never-up", "sw2"))
    one = provider()
    one.provision(one.plan(NAMES, one.machines()))
    ids = {guest.hostname: guest.id for guest in cloud.guests.values()}

    def look() -> tuple[bool, dict[str, str]]:
        said = one.states()
        return sum("running" in state for state in said.values()) == 2, said

    seen = one._wait_for("two to run", look, timeout_s=120)
    assert seen == {
        "sw1": f"REHEARSAL: instance {ids['sw1']} is running",
        "sw2": f"REHEARSAL: instance {ids['sw2']} is halted: Setup Operating System",
        "sw3": f"REHEARSAL: instance {ids['sw3']} is running",
    }


UP = Instance(12, "sw2", "example.com", "10.0.0.2", "198.51.100.2", True, "RUNNING", "", (), ())


@pytest.mark.parametrize(
    ("changed", "private", "state", "words"),
    [
        ({}, False, MachineState.UNTAGGED, "running"),
        ({"provisioned": False}, False, MachineState.COMING_UP, "id 12, not provisioned yet"),
        ({"provisioned": False, "transaction": "SETUP"}, False, MachineState.COMING_UP, "id 12, SETUP"),
        ({"public_address": ""}, False, MachineState.COMING_UP, "id 12, runs, but has no public address"),
        ({"public_address": ""}, True, MachineState.UNTAGGED, "running"),
        ({"private_address": ""}, True, MachineState.COMING_UP, "id 12, runs, but has no private address"),
        ({"power": "HALTED"}, False, MachineState.HALTED, "halted"),
        ({"power": "HALTED", "transaction": "REBOOT"}, False, MachineState.COMING_UP, "id 12, REBOOT"),
    ],
)
def test_how_an_instance_is(
    provider: Callable[..., SoftLayerProvider], changed: dict[str, Any], private: bool, state: MachineState, words: str
) -> None:
    one = provider(sl_ssh_interface="private" if private else "public")
    instance = dataclasses.replace(UP, **changed)
    assert one._state(instance) is state
    assert one._how(instance).startswith(words)
    if state is MachineState.UNTAGGED:
        tagged = dataclasses.replace(instance, tags=(*one._tags(), "mine"))
        assert one._state(tagged) is MachineState.RUNNING


def test_an_instance_that_has_all_its_tags_is_not_tagged_again(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    up()
    before = [call for call in cloud.calls if "setTags" in str(call)]
    one = provider()
    one.provision([Change("sw1", Action.START_MACHINE)])
    assert [call for call in cloud.calls if "setTags" in str(call)] == before


def test_ssh_is_waited_for(up: Callable[..., Any], scans: Scans) -> None:
    scans.silent = 5
    assert len(up()) == 3


def test_a_node_more_is_ordered_alone(up: Callable[..., Any], cloud: Cloud) -> None:
    up()
    up(nodes=[*NAMES, "sw4"])
    assert sorted(ordered(cloud)) == [*NAMES, "sw4"]


def test_roots_password_is_never_asked_for(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud, home: Path
) -> None:
    up()
    provider().doomed()
    assert not [
        call
        for call in cloud.calls
        if "password" in call.mask.lower()
        or (call.name.startswith("Virtual_Guest::get") and "Options" not in call.name and not call.mask)
    ]
    for path in home.rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert ROOT_PASSWORD not in text and cloud.api_key not in text, path


# -- an order is never repeated ------------------------------------------------------------------------------------------


def test_a_lost_answer_is_looked_for(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    cloud.faults.add(Fault("lost-answer", ORDER, times=1, seconds=60))
    nodes = up(timeout_s=3)
    assert sorted(ordered(cloud)) == NAMES and len(cloud.guests) == 3, (
        "the one whose answer was lost was found, not ordered again"
    )
    assert len(nodes) == 3 and all(guest.tags == ["swarmbook-lab"] for guest in cloud.guests.values())


def test_a_lost_answer_is_looked_for_by_name_too(
    provider: Callable[..., SoftLayerProvider], cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the service not show the mark: there was none of that name before, so it is the one."""
    monkeypatch.setattr(SoftLayerProvider, "_mark", lambda self, name: "")
    cloud.faults.add(Fault("lost-answer", ORDER, times=1, seconds=60))
    one = provider(timeout_s=3)
    one.provision(one.plan(NAMES, one.machines()))
    assert sorted(ordered(cloud)) == NAMES and len(one.machines()) == 3
    assert not any(guest.spec.get("userData") for guest in cloud.guests.values())


def test_a_lost_answer_to_an_order_that_was_not_taken(provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    cloud.faults.add(Fault("http-500", ORDER, times=1))
    one = provider(nodes=["sw1"], settle_s=0.1, swarm_managers=1)
    with pytest.raises(OrderUncertain) as caught:
        one.provision([Change("sw1", Action.ORDER)])
    reported = str(caught.value)
    assert (
        "ordering sw1.example.com: sent, and no answer came" in reported
        and "slcli vs list --hostname sw1" in reported
        and "500" in reported
    )
    assert ordered(cloud) == ["sw1"], "not tried twice, whatever became of it"
    one.provision(one.plan(["sw1"], one.machines()))
    assert ordered(cloud) == ["sw1", "sw1"] and len(cloud.guests) == 1, "the next run looks first, and finds none"


def test_a_run_that_was_killed_before_its_tags(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    cloud.faults.add(Fault("rate-limit", "Virtual_Guest::setTags"))
    with pytest.raises(ProviderError, match="tagging instance"):
        up()
    assert [guest.tags for guest in cloud.guests.values()] == [[], [], []]
    cloud.faults.clear()
    one = provider()
    one.wait(NAMES)
    assert [(change.host, change.action) for change in one.plan(NAMES, one.machines())] == [
        ("sw1", Action.TAG),
        ("sw2", Action.TAG),
        ("sw3", Action.TAG),
    ]
    up()
    assert len(ordered(cloud)) == 3 and {tuple(guest.tags) for guest in cloud.guests.values()} == {("swarmbook-lab",)}


def test_looked_for_again_right_before_ordering(provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    one = provider()
    changes = one.plan(NAMES, one.machines())
    one.provision(changes)
    one.provision(changes)  # as when a plan is older than what someone else has done meanwhile
    assert sorted(ordered(cloud)) == NAMES


def test_names_that_somebody_else_has(
    provider: Callable[..., SoftLayerProvider], up: Callable[..., Any], cloud: Cloud
) -> None:
    up(cluster="lab")
    for guest in cloud.guests.values():
        guest.tags[:] = ["theirs"]
        guest.spec = {**guest.spec, "userData": []}
    with pytest.raises(ForeignData, match=r"sw[123]\.example\.com that is not this cluster's") as caught:
        provider().machines()
    assert "tags: theirs" in str(caught.value) and "swarmbook-lab" in str(caught.value)
    assert [thing for thing in provider(phase="91").doomed() if "instance" in thing] == []
    assert provider(sl_domain="other.example.com").machines() == []


def test_a_lost_answer_does_not_make_a_strangers_instance_ours(
    provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    """Someone ordered one of that name meanwhile; ours was not taken, so there is nothing to be found."""
    one = provider(nodes=["sw1"], swarm_managers=1, settle_s=0)
    theirs = one._api.order(dataclasses.replace(one._spec("sw1"), mark="their own"), [])
    one._api.tag(theirs, ["theirs"])
    cloud.faults.add(Fault("http-500", ORDER, times=1))
    with pytest.raises(OrderUncertain):
        one.provision([Change("sw1", Action.ORDER)])
    assert {id: guest.tags for id, guest in cloud.guests.items()} == {theirs: ["theirs"]}
    provider(phase="91").destroy()
    assert list(cloud.guests) == [theirs]


def test_two_of_one_name(up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    up(nodes=["sw1"], swarm_managers=1)
    provider()._api.order(provider()._spec("sw1"), [])
    with raises(Code.INSTANCE_TWICE, "sw1") as caught:
        provider().machines()
    assert all(str(id) in str(caught.value) for id in cloud.guests)


# -- the key -------------------------------------------------------------------------------------------------------------


def test_the_key_is_registered_once(up: Callable[..., Any], cloud: Cloud, home: Path) -> None:
    up()
    up(nodes=[*NAMES, "sw4"])
    (key,) = cloud.keys.values()
    public = Cluster("lab", home).key_file.with_suffix(".pub").read_text()
    assert (key["label"], key["fingerprint"]) == ("swarmbook-lab", fingerprint(public))
    assert sum(call.name == "Security_Ssh_Key::createObject" for call in cloud.calls) == 1


def test_another_key_under_the_label(provider: Callable[..., SoftLayerProvider], cloud: Cloud, home: Path) -> None:
    provider()._key.ensure()
    for part in ("", ".pub"):
        Cluster("lab", home).key_file.with_suffix(part).unlink()
    with pytest.raises(ForeignData, match="label swarmbook-lab belongs to another key") as caught:
        provider().offers(NAMES)
    assert "the cluster has no key yet" in str(caught.value)
    generate_key(Cluster("lab", home).key_file, "another")
    with pytest.raises(ForeignData, match="belongs to another key") as caught:
        provider().provision([Change("sw1", Action.ORDER)])
    assert next(iter(cloud.keys.values()))["fingerprint"] in str(caught.value)
    assert ordered(cloud) == []


def test_a_key_that_was_registered_by_somebody_stays(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    one = provider(sl_ssh_key_label="mine")
    one._api.register_key(one._key._public(), "mine", "my own")
    up(sl_ssh_key_label="mine")
    assert len(cloud.keys) == 1
    provider(phase="91", sl_ssh_key_label="mine").destroy()
    assert len(cloud.keys) == 1 and cloud.guests == {}


def test_a_key_that_the_account_has_under_another_label(
    provider: Callable[..., SoftLayerProvider], cloud: Cloud, home: Path
) -> None:
    public = (home / "clusters" / "lab" / "id_ed25519.pub").read_text()
    SoftLayerApi(provider()._api.endpoint, cloud.api_key).register_key(public, "laptop", "mine")
    with pytest.raises(ProviderError, match="already exists") as caught:
        provider().provision([Change("sw1", Action.ORDER)])
    assert "sl_ssh_key_label: laptop" in str(caught.value) and not cloud.guests
    provider(sl_ssh_key_label="laptop").provision([Change("sw1", Action.ORDER)])
    assert [guest.hostname for guest in cloud.guests.values()] == ["sw1"]


def test_a_lost_answer_to_the_registration(provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    cloud.faults.add(Fault("lost-answer", "Security_Ssh_Key::createObject", times=1, seconds=60))
    assert provider(timeout_s=3)._key.ensure() in cloud.keys and len(cloud.keys) == 1


# -- price and what is offered -------------------------------------------------------------------------------------------


def test_prices(provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    one, other = provider().offers(NAMES)[:2]
    assert (one.hourly_cost, one.monthly_cost, one.price) == (pytest.approx(0.09), 0.0, "0.090 an hour")
    assert (
        one.what
        == other.what
        == "REHEARSAL: 2 cores, 4096 MB, UBUNTU_22_64, 25 + 100 GB local, 100 Mbps, dal10, hourly"
    )
    assert provider(sl_billing="monthly").offers(NAMES)[0].price == "68.00 a month"
    assert cloud.guests == {} and cloud.keys == {}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sl_os": "DEBIAN_7_64"}, ["does not offer sl_os DEBIAN_7_64", "UBUNTU_22_64"]), ({"sl_region": "nowhere"}, ["does not offer sl_region nowhere", "dal10"]),
        ({"sl_cpu": 3}, ["the price of sw1: SoftLayer refused", "guest_core '3'"]), ({"sl_public_vlan": 7}, ["no public VLAN 7 in dal10"]),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_said_before_ordering(
    provider: Callable[..., SoftLayerProvider], cloud: Cloud, wrong: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SwarmbookError) as caught:
        provider(**wrong).offers(NAMES)
    for word in words:
        assert word in str(caught.value)
    assert cloud.guests == {}


# -- misbehaviour --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault("quota", ORDER), ProviderError, ["ordering sw1.example.com: SoftLayer refused", "SoftLayer_Exception_Public: REHEARSAL: the account has reached its limit"]),
        (Fault("unknown-datacenter", ORDER), ProviderError, ["ordering sw1.example.com", "no such datacenter"]),
        (Fault("rate-limit", ORDER), ProviderError, ["too many calls", "Rate limit of 50 requests", "failed as well: sw2, sw3"]),
        (Fault("bad-credentials"), ProviderError, ["does not accept the credentials", "Invalid API token.", "SL_API_KEY"]),
        (Fault("http-500", "Account::getVirtualGuests"), ProviderError, ["the account's instances: SoftLayer does not answer", "in 5 tries", "500"]),
    ],
)  # fmt: skip
def test_the_services_no_is_kept(
    provider: Callable[..., SoftLayerProvider],
    cloud: Cloud,
    fault: Fault,
    error: type[SwarmbookError],
    words: list[str],
) -> None:
    cloud.faults.add(fault)
    with pytest.raises(error) as caught:
        one = provider()
        one.provision(one.plan(NAMES, one.machines()))
    for word in words:
        assert word in str(caught.value)
    assert cloud.api_key not in str(caught.value)
    assert cloud.guests == {} and len(ordered(cloud)) <= 3


@pytest.mark.parametrize("kind", ["http-500", "rate-limit"])
def test_looking_is_tried_again(provider: Callable[..., SoftLayerProvider], cloud: Cloud, kind: Any) -> None:
    cloud.faults.add(Fault(kind, "Account::getVirtualGuests", times=3))
    assert provider().machines() == []


def test_a_slow_answer_to_a_look(provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    cloud.faults.add(Fault("slow", "Account::getVirtualGuests", times=1, seconds=60))
    assert provider(timeout_s=3).machines() == []


def test_one_that_never_comes_up(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    cloud.faults.add(Fault("never-up", "sw2"))
    fast = provider()
    fast.provision(fast.plan(NAMES, fast.machines()))
    late = _hasty(provider(), 2)
    with pytest.raises(WaitTimeout) as caught:
        late.wait(NAMES)
    reported = str(caught.value)
    assert (
        "sw2: id 100" in reported
        and "Setup Operating System" in reported
        and "sw1" not in reported
        and "swarmbook cancel" in reported
    )
    assert {found.name: found.state for found in late.machines()} == {
        "sw1": "running",
        "sw2": "coming up",
        "sw3": "running",
    }
    assert [(change.host, change.action) for change in late.plan(NAMES, late.machines())] == [
        ("sw2", Action.AWAIT_MACHINE)
    ]
    provider(phase="91").destroy()
    assert cloud.guests == {}, "what never came up can be cancelled all the same"


def test_one_without_a_private_address(provider: Callable[..., SoftLayerProvider], cloud: Cloud) -> None:
    cloud.faults.add(Fault("no-private-address", "sw3"))
    one = provider()
    one.provision(one.plan(NAMES, one.machines()))
    with pytest.raises(WaitTimeout, match=r"sw3: id [0-9]+, runs, but has no private address"):
        _hasty(one, 3).wait(NAMES)


def _hasty(provider: SoftLayerProvider, running: int) -> SoftLayerProvider:
    """As many run already, and from now on it waits for no more than the first look."""
    patient = provider._wait_for

    def look() -> tuple[bool, str]:
        states = provider.states()
        return sum(state.endswith(" is running") for state in states.values()) == running, str(states)

    patient(f"{running} to run", look, timeout_s=120)
    provider._wait_for = lambda what, probe, *, timeout_s, **other: patient(what, probe, timeout_s=0, **other)  # type: ignore[method-assign]
    return provider


def test_one_that_was_switched_off(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], machines: MemoryMachines, cloud: Cloud
) -> None:
    up()
    machines.halt(next(id for id, guest in cloud.guests.items() if guest.hostname == "sw1"))
    one = provider()
    assert [(change.host, change.action) for change in one.plan(NAMES, one.machines())] == [
        ("sw1", Action.START_MACHINE)
    ]
    up()
    assert len(ordered(cloud)) == 3 and one.plan(NAMES, one.machines()) == []


# -- the end -------------------------------------------------------------------------------------------------------------


def test_cancelled_with_nothing_left(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    up()
    named = provider(phase="91").doomed()
    assert (
        len(named) == 4
        and all(thing.startswith("REHEARSAL: ") for thing in named)
        and "SSH key swarmbook-lab" in named[-1]
    )
    assert provider(phase="91").destroy() == named
    assert cloud.guests == {} and cloud.keys == {} and provider(phase="91").doomed() == []


def test_a_cancellation_that_is_refused_for_a_while(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    up()
    cloud.faults.add(Fault("cancel-refused", times=2))
    provider(phase="91").destroy()
    assert cloud.guests == {}


def test_a_cancellation_that_is_always_refused(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    up()
    cloud.faults.add(Fault("refused", "Virtual_Guest::deleteObject", text="REHEARSAL: you have no permission"))
    with pytest.raises(ProviderError, match="you have no permission"):
        provider(phase="91").destroy()
    assert len(cloud.guests) == 3 and len(cloud.keys) == 1, "the key stays while there are machines that it opens"


def test_a_lost_answer_to_a_cancellation(
    up: Callable[..., Any], provider: Callable[..., SoftLayerProvider], cloud: Cloud
) -> None:
    up()
    cloud.faults.add(Fault("lost-answer", "Virtual_Guest::deleteObject", times=1, seconds=60))
    provider(phase="91", timeout_s=3).destroy()
    assert cloud.guests == {}


def test_what_is_wanted_before_anything_is_ordered(
    provider: Callable[..., SoftLayerProvider], monkeypatch: pytest.MonkeyPatch, rehearsal: Rehearsal
) -> None:
    (lacking,) = provider(sl_endpoint="").prerequisites()
    assert (lacking.name, lacking.ok) == ("credentials", False) and "SL_USERNAME" in lacking.seen
    monkeypatch.setenv("SL_USERNAME", "me")
    monkeypatch.setenv("SL_API_KEY", "a-very-real-key")
    (there,) = provider(sl_endpoint="").prerequisites()
    assert there.ok and there.seen == "for https://api.softlayer.com/xmlrpc/v3.1/"
    (engine,) = provider(sl_endpoint="rehearsal").prerequisites()
    assert engine.name == "Docker Engine for the machines"
    assert local_engine() is None
    gc.collect()  # here, docker-py's forgotten socket is noticed, and pyproject says that it is not ours


# -- credentials and endpoints -------------------------------------------------------------------------------------------


def test_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rehearsal: Rehearsal) -> None:
    with raises(Code.CREDENTIALS_MISSING) as caught:
        SoftLayerApi()
    assert "SL_USERNAME" in str(caught.value)
    monkeypatch.setenv("SL_USERNAME", "me")
    monkeypatch.setenv("SL_API_KEY", "a-very-real-key")
    with raises(Code.CLEARTEXT_REFUSED):
        SoftLayerApi("http://api.example.com/xmlrpc/v3.1/")
    real = SoftLayerApi()
    assert (real.endpoint, real.rehearsal) == ("https://api.softlayer.com/xmlrpc/v3.1/", False)
    assert "a-very-real-key" not in repr(vars(real))
    real.close()
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / ".softlayer").write_text(
        "[softlayer]\nendpoint_url = https://private.example.com/rest/v3.1/\n"
    )
    private = SoftLayerApi()
    assert private.endpoint == "https://private.example.com/xmlrpc/v3.1/", (
        "over REST the client loses the names of errors"
    )
    private.close()


def test_a_rehearsal_never_gets_a_real_key(monkeypatch: pytest.MonkeyPatch, rehearsal: Rehearsal, cloud: Cloud) -> None:
    with raises(Code.CREDENTIALS_MISSING, "rehearsal"):
        SoftLayerApi(rehearsal.xmlrpc)
    assert cloud.calls == []
    monkeypatch.setenv("SL_USERNAME", "me")
    monkeypatch.setenv("SL_API_KEY", "a-very-real-key")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    api = SoftLayerApi(rehearsal.rest, rehearsal.key)
    assert api.keys("any") == [] and api.rehearsal
    assert [(call.username, call.api_key) for call in cloud.calls] == [(USERNAME, rehearsal.key)]
    api.close()


# -- the steps of 01 and 91 ----------------------------------------------------------------------------------------------


@pytest.fixture
def steps(
    params: Callable[..., Params],
    provider: Callable[..., SoftLayerProvider],
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
) -> Callable[..., Book]:
    """Books whose steps get a provider that does not pause for long; its machines have no sshd that would let anyone in."""
    monkeypatch.setattr(provision, "_prove", lambda book, nodes: None)
    monkeypatch.setattr(provision, "provider_for", lambda book: provider(book=book))

    def make(phase: str = "01", **other: Any) -> Book:
        return Book(phase, params(**other), cluster=Cluster("lab", home))

    return make


def test_the_steps(steps: Callable[..., Book], cloud: Cloud, home: Path) -> None:
    price = provision.price(steps()).table.to_text()
    assert "REHEARSAL: 2 cores" in price and "per hour" in price and "0.090" in price and "0.270" in price
    with pytest.raises(ConfirmationMissing) as caught:
        provision.machines(steps())
    assert "3 things would be ordered" in str(
        caught.value
    ) and "sw1: REHEARSAL: instance ordered, 0.090 an hour" in str(caught.value)
    assert cloud.guests == {}
    made = provision.machines(steps(confirm="ORDER"))
    assert [(change.host, change.word) for change in made.changes] == [(name, "ORDER") for name in NAMES]
    typed = [command.text for command in made.commands]
    assert len(typed) == 3 and all(
        text.startswith("slcli vs create --hostname=sw") and text.endswith("# REHEARSAL") for text in typed
    )
    assert [node.name for node in Cluster("lab", home).nodes] == NAMES
    assert provision.machines(steps()).changes == (), "a second run orders nothing, and asks for nothing"
    with pytest.raises(ConfirmationMissing, match="would be removed"):
        provision.cancel(steps("91"))
    ended = provision.cancel(steps("91", confirm="CANCEL"))
    assert len(ended.changes) == 5 and cloud.guests == {} and not Cluster("lab", home).folder.exists()


def test_machines_that_let_no_one_in_do_not_replace_what_is_known(
    steps: Callable[..., Book], cloud: Cloud, home: Path, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [node("sw1", private_address="10.77.0.1")]
    Cluster("lab", home).save_nodes(known, "softlayer")

    def refused(book: Book, nodes: Sequence[Node]) -> None:
        assert [each.name for each in nodes] == NAMES
        raise HostUnreachable("sw1 does not answer over SSH", where="sw1")

    monkeypatch.setattr(provision, "_prove", refused)
    with pytest.raises(HostUnreachable):
        provision.machines(steps(confirm="ORDER"))
    assert Cluster("lab", home).nodes == known


def test_the_question(
    kept: None,
    params: Callable[..., Params],
    rehearsal: Rehearsal,
    home: Path,
    root: Path,
    cloud: Cloud,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / "notebooks").symlink_to(root / "notebooks")
    cluster = Cluster("lab", home)
    plan = make_plan(params(sl_billing="monthly"), ["01"], cluster)
    assert (
        [cost.monthly for cost in plan.costs] == [68.0] * 3
        and "204.00" in plan_text(plan)
        and "per month" in plan_text(plan)
    )
    assert len(plan.words()["ORDER"]) == 3
    with pytest.raises(ConfirmationMissing):
        Session(params(), ["01"], "run").approved(cluster)
    said = capsys.readouterr().out
    assert (
        "This will be ordered, and costs money" in said
        and "sw1: REHEARSAL: instance ordered, 0.090 an hour" in said
        and "3 machines, 0.270 an hour" in said
    )
    assert cloud.guests == {} and not cluster.folder.exists()


def test_another_price_than_the_approved_one_orders_nothing(
    steps: Callable[..., Book], cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def approved(price: str) -> None:
        changes = tuple(
            Change(name, Action.ORDER, ("REHEARSAL: instance", f"{price} an hour"), Word.ORDER) for name in NAMES
        )
        Plan("lab", {}, {}, (PlannedStep("01", "machines", changes),), partial=True).save(tmp_path / "plan.json")

    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(tmp_path))
    for price in ("0.080", "0.100"):
        approved(price)
        with pytest.raises(PlanMismatch, match=r"not planned: sw1: REHEARSAL: instance ordered, 0\.090 an hour"):
            provision.machines(steps(confirm="ORDER"))
    assert ordered(cloud) == []
    approved("0.090")
    assert len(provision.machines(steps(confirm="ORDER")).changes) == 3


def test_who_costs_money(params: Callable[..., Params], home: Path) -> None:
    assert costs_money(params()) and not costs_money(Params()) and costs_money(Params(lab_hourly_cost=0.1))
    assert isinstance(provider_for(Book("01", params(), cluster=Cluster("lab", home))), SoftLayerProvider)
