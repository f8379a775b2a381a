"""The softlayer provider: instances of IBM Cloud Classic, ordered through the SoftLayer client.

An instance is this cluster's when it carries the tag ``swarmbook-CLUSTER``, or the mark that its order kept with it: tags are
a second call, which a run may not live to make. It is looked for before it is ordered, and after an order whose answer was
lost, and is never ordered twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

from swarmbook.access.fleet import fan_out
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.ssh_keys import scan_host_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import (
    ForeignData,
    HostUnreachable,
    UsageError,
    WorldError,
)
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.machines.host_engine import engine_outlook
from swarmbook.machines.providers.base import Found, Offer
from swarmbook.machines.providers.softlayer_key import RegisteredKey
from swarmbook.machines.providers.softlayer_orders import Orders
from swarmbook.machines.rehearsal.service import endpoint
from swarmbook.machines.softlayer_api import SoftLayerApi
from swarmbook.machines.softlayer_types import Instance, Price, Spec
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check
from swarmbook.model.health import MachineState
from swarmbook.show.progress import Progress

__all__ = ["SoftLayerProvider"]

T = TypeVar("T")

#: Device "2" of an order, where "1" is for swap, and disks are xvda, xvdb, xvdc: what the 2016 walkthrough found there too.
_DOCKER_DISK = "/dev/xvdc"


class SoftLayerProvider:
    """See :class:`swarmbook.machines.providers.base.Provider`.

    Args:
        book: The open book.
        api: The service; by default the one that the parameters and the environment name.
        scan: Asks for a host key.
        settle_s: Seconds that an order may take to show itself when its answer was lost.
        first_s: First pause between looks at what is waited for, seconds.
        slowest_s: Longest pause, seconds.
        sleep: Pauses.
    """

    name = "softlayer"

    def __init__(
        self,
        book: Book,
        *,
        api: SoftLayerApi | None = None,
        scan: Callable[[Endpoint], str] = scan_host_key,
        settle_s: float = 60,
        first_s: float = 1,
        slowest_s: float = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._book = book
        self._given = api
        self._scan = scan
        self._settle_s = settle_s
        self._first_s, self._slowest_s = first_s, slowest_s
        self._sleep = sleep

    @cached_property
    def _api(self) -> SoftLayerApi:
        p = self._book.params
        return self._given or SoftLayerApi(*endpoint(p.sl_endpoint, self._book.cluster.root, p.lab_base_image))

    def _wait_for(
        self,
        what: str,
        probe: Callable[[], tuple[bool, T]],
        *,
        timeout_s: float,
        where: str | None = None,
        next: str | None = None,
        code: Code | None = None,
    ) -> T:
        return wait_for(
            what,
            probe,
            timeout_s=timeout_s,
            where=where,
            next=next,
            code=code,
            first_s=self._first_s,
            slowest_s=self._slowest_s,
            sleep=self._sleep,
        )

    # -- what is ours ------------------------------------------------------------------------------------------

    @property
    def _tag(self) -> str:
        return f"swarmbook-{self._book.cluster.name}"

    def _mark(self, name: str) -> str:
        return f"{self._tag} {name}"

    def _tags(self) -> list[str]:
        return [self._tag, *(tag for tag in self._book.params.sl_tags if tag != self._tag)]

    def _instances(self) -> list[Instance]:
        return self._api.instances(self._book.params.sl_domain, self._tag)

    def _is_ours(self, instance: Instance) -> bool:
        return self._tag in instance.tags or self._mark(instance.hostname) in instance.marks

    def _ours(self) -> dict[str, Instance]:
        """Return this cluster's instances by name.

        Raises:
            WorldError: Two have the same name.
        """
        found: dict[str, Instance] = {}
        for instance in self._instances():
            if not self._is_ours(instance):
                continue
            if instance.hostname in found:
                ids = f"{found[instance.hostname].id} and {instance.id}"
                raise WorldError(
                    f"there are two instances called {instance.hostname}",
                    where=self._api.endpoint,
                    wanted="one a node",
                    seen=f"ids {ids}",
                    next=f"compare both (slcli vs detail ID) and cancel the surplus one: slcli vs cancel {instance.id}",
                    code=Code.INSTANCE_TWICE,
                )
            found[instance.hostname] = instance
        return found

    def _shown(self, what: str) -> str:
        """Mark what a rehearsal says: nothing that it does may look like the real thing."""
        return f"REHEARSAL: {what}" if self._api.rehearsal else what

    # -- price and plan ----------------------------------------------------------------------------------------

    def _spec(self, name: str) -> Spec:
        p = self._book.params
        return Spec(
            hostname=name,
            domain=p.sl_domain,
            datacenter=p.sl_region,
            os_code=p.sl_os,
            cpus=p.sl_cpu,
            memory_mb=p.sl_memory,
            hourly=p.sl_billing == "hourly",
            local_disk=p.sl_local_disk,
            disks_gb=(p.sl_os_disk, p.sl_docker_disk),
            nic_mbps=p.sl_network_speed,
            public_vlan=p.sl_public_vlan,
            private_vlan=p.sl_private_vlan,
            mark=self._mark(name),
        )

    def prerequisites(self) -> list[Check]:
        if self._book.params.sl_endpoint == "rehearsal":
            return [engine_outlook()]
        try:
            p = self._book.params
            seen = f"for {SoftLayerApi(*endpoint(p.sl_endpoint, self._book.cluster.root, p.lab_base_image)).endpoint}"
        except UsageError as error:
            return [Check("here", "credentials", "of an account", f"{error.what}; {error.next}", False)]
        return [Check("here", "credentials", "of an account", seen, True)]

    def offers(self, names: Sequence[str]) -> list[Offer]:
        spec, price = self._priced
        return [Offer(name, self._shown(spec.what()), price.hourly, price.monthly) for name in names]

    @cached_property
    def _priced(self) -> tuple[Spec, Price]:
        """All nodes are alike, so one price is theirs; what the account does not offer is said before anything is ordered."""
        spec = self._spec(self._book.params.nodes[0])
        offering = self._api.offering()
        for name, value, offered in (
            ("sl_region", spec.datacenter, offering.datacenters),
            ("sl_os", spec.os_code, offering.systems),
        ):
            if value not in offered:
                raise UsageError(
                    f"the account does not offer {name} {value}",
                    where=self._api.endpoint,
                    wanted=f"one of: {', '.join(offered)}",
                    seen=value,
                    next=f"correct {name} in the parameters",
                    code=Code.NOT_OFFERED,
                )
        self._key.find()
        return spec, self._api.price(spec)

    def machines(self) -> list[Found]:
        p = self._book.params
        for instance in self._instances():
            if instance.hostname in p.nodes and instance.domain == p.sl_domain and not self._is_ours(instance):
                raise ForeignData(
                    f"there is an instance {instance.fqdn} that is not this cluster's",
                    where=f"{self._api.endpoint}, id {instance.id}",
                    wanted=f"the tag {self._tag}, or none of that name",
                    seen=f"tags: {', '.join(instance.tags) or 'none'}",
                    next=f"choose other names in `nodes`, or another sl_domain; if it is yours all the same: slcli vs edit {instance.id} --tag {self._tag}",
                )
        return [
            Found(
                name, self._shown_id(instance), self._state(instance), instance.private_address, instance.public_address
            )
            for name, instance in self._ours().items()
        ]

    def states(self) -> dict[str, str]:
        return {
            instance.hostname: self._shown(
                f"instance {instance.id} is {instance.power.lower() or 'in no known state'}{instance.transaction and f': {instance.transaction}'}"
            )
            for instance in self._instances()
            if self._is_ours(instance)
        }

    def _shown_id(self, instance: Instance) -> str:
        return f"rehearsal-{instance.id}" if self._api.rehearsal else str(instance.id)

    def _state(self, instance: Instance) -> MachineState:
        if not self._addressed(instance) or not instance.provisioned:
            return MachineState.COMING_UP
        if instance.power != "RUNNING":
            return MachineState.COMING_UP if instance.transaction else MachineState.HALTED
        return MachineState.RUNNING if set(self._tags()) <= set(instance.tags) else MachineState.UNTAGGED

    def _addressed(self, instance: Instance) -> bool:
        public = instance.public_address or self._book.params.sl_ssh_interface == "private"
        return bool(public and instance.private_address)

    def plan(self, names: Sequence[str], found: Sequence[Found]) -> list[Change]:
        states = {machine.name: machine.state for machine in found}
        changes = []
        for name in names:
            state = states.get(name, MachineState.ABSENT)
            if state is MachineState.ABSENT:
                changes.append(Change(name, Action.ORDER, (self._shown("instance"),)))
            elif state is MachineState.COMING_UP:
                changes.append(Change(name, Action.AWAIT_MACHINE, because="ordered before"))
            elif state is MachineState.HALTED:
                changes.append(Change(name, Action.START_MACHINE, because="it was switched off"))
            elif state is not MachineState.RUNNING:
                changes.append(Change(name, Action.TAG, tuple(self._tags())))
        return changes

    @property
    def _orders(self) -> Orders:
        return Orders(self._api, self._instances, self._book.transcript, self._wait_for, self._settle_s)

    @cached_property
    def _key(self) -> RegisteredKey:
        return RegisteredKey(
            self._api, self._book.cluster, str(self._book.params.sl_ssh_key_label) or self._tag, self._tag
        )

    # -- ordering ----------------------------------------------------------------------------------------------

    def provision(self, changes: Sequence[Change]) -> None:
        orders = [change.host for change in changes if change.action is Action.ORDER]
        key = self._key.ensure() if orders else 0
        before = {instance.id for instance in self._instances()}
        have = self._ours()

        def one(change: Change) -> None:
            instance = have.get(change.host)
            if instance is None:
                made = self._orders.place(self._spec(change.host), self._key, key, self._tags(), before)
                self._api.tag(made, self._tags())
                return
            if change.action is Action.START_MACHINE:
                self._api.power_on(instance.id)
            if not set(self._tags()) <= set(instance.tags):
                self._api.tag(instance.id, [*instance.tags, *(tag for tag in self._tags() if tag not in instance.tags)])

        fan_out(one, {change.host: change for change in changes})

    # -- waiting -----------------------------------------------------------------------------------------------

    def wait(self, names: Sequence[str]) -> list[Node]:
        with Progress() as progress:
            instances = self._wait_until_up(names, progress)
            known = {node.name: node for node in self._book.cluster.nodes}
            return list(
                fan_out(
                    lambda name: self._node(instances[name], known.get(name), progress), {name: name for name in names}
                ).values()
            )

    def _wait_until_up(self, names: Sequence[str], progress: Progress) -> dict[str, Instance]:
        started = time.monotonic()

        def look() -> tuple[bool, str]:
            found.clear()
            found.update(self._ours())
            states = {name: self._how(found.get(name)) for name in names}
            late = {name: state for name, state in states.items() if state != MachineState.RUNNING}
            if late:
                outcome = "; ".join(f"{name}: {state}" for name, state in late.items())
                progress.show(
                    f"{len(names) - len(late)} of {len(names)} run after {time.monotonic() - started:.0f} s; {outcome}"
                )
            return not late, "\n".join(f"{name}: {state}" for name, state in late.items())

        found: dict[str, Instance] = {}
        self._wait_for(
            "instances to run with their addresses",
            look,
            timeout_s=self._book.params.sl_wait_timeout,
            where=self._api.endpoint,
            next="run again to go on waiting; details: slcli vs detail ID; to give up: swarmbook cancel PARAMS",
        )
        return found

    def _how(self, instance: Instance | None) -> str:
        """Say, for a person, what an instance still lacks."""
        if instance is None:
            return "not there"
        state = self._state(instance)
        if state is not MachineState.COMING_UP:
            return str(MachineState.RUNNING if state is MachineState.UNTAGGED else state)
        if instance.transaction or not instance.provisioned:
            return f"id {instance.id}, {instance.transaction or 'not provisioned yet'}"
        return f"id {instance.id}, runs, but has no {'private' if not instance.private_address else 'public'} address"

    def _node(self, instance: Instance, known: Node | None, progress: Progress) -> Node:
        """Return what the phases need to know. The host key is fetched once and pinned; from then on the pin counts."""
        private = self._book.params.sl_ssh_interface == "private"
        address = instance.private_address if private else instance.public_address
        end, id = Endpoint(address, 22), self._shown_id(instance)
        pinned = known.host_key if known is not None and known.id == id and self._book.cluster.pins(known) else ""
        # Engine and Consul are reached through SSH: nothing of the cluster need be open to the world, nor to the account's VPN.
        key = pinned or self._first_contact(instance.hostname, end, progress)
        return Node(instance.hostname, id, instance.private_address, address, end, key, disk=_DOCKER_DISK, tunnel=True)

    def _first_contact(self, name: str, end: Endpoint, progress: Progress) -> str:
        def look() -> tuple[bool, str]:
            try:
                return True, self._scan(end)
            except HostUnreachable as error:
                progress.show(f"{name}: waiting for SSH at {end}")
                return False, error.seen or error.what

        return self._wait_for(
            f"{name} to answer over SSH",
            look,
            timeout_s=self._book.params.wait_timeout,
            where=str(end),
            next="is that address reachable from here (sl_ssh_interface: private needs the account's VPN)? then run again",
            code=Code.INSTANCE_SILENT,
        )

    # -- the end -----------------------------------------------------------------------------------------------

    def doomed(self) -> list[str]:
        found = [thing for _, thing in self.parts([instance.hostname for instance in self._instances()])]
        return sorted(found) + [
            self._shown(f"SSH key {key.label} (id {key.id}) in the account") for key in self._key.own()
        ]

    def parts(self, names: Sequence[str]) -> list[tuple[str, str]]:
        return sorted(
            (instance.hostname, self._shown(f"instance {instance.fqdn} (id {instance.id}) with all its data"))
            for instance in self._instances()
            if self._is_ours(instance) and instance.hostname in names
        )

    def remove(self, names: Sequence[str]) -> None:
        self._cancel([instance for instance in self._instances() if instance.hostname in names])

    def _cancel(self, instances: Sequence[Instance]) -> None:
        """Cancel those of these instances that are this cluster's, and wait until they are gone."""
        with Progress() as progress:
            ours = {f"{instance.fqdn} ({instance.id})": instance for instance in instances if self._is_ours(instance)}
            timeout_s = self._book.params.sl_wait_timeout
            fan_out(lambda instance: self._orders.cancel(instance, timeout_s, progress), ours)

    def destroy(self) -> list[str]:
        names = self.doomed()
        self._cancel(self._instances())
        for key in self._key.own():
            self._api.remove_key(key.id)
        return names
