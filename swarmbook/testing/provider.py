"""What every provider has to keep, as tests: subclass :class:`ProviderContract`, and pytest runs them against yours.

::

    class TestMine(ProviderContract):
        @pytest.fixture
        def world(self):
            yield World(make=lambda cluster: MyProvider(book_of(cluster)), stop=my_stop, keep=my_keep)

``docs/providers.md`` says in words what these tests hold a provider to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarmbook.access.node import Node
from swarmbook.base.errors import WaitTimeout
from swarmbook.model.change import NEW_NODE, Action
from swarmbook.show.changes import sentence

__all__ = ["ProviderContract", "World"]


@dataclass(frozen=True)
class World:
    """A place where a provider can be tried.

    Args:
        make: A new provider for the cluster of this name, as a new process would make it. Cluster ``one`` has the nodes ``n1`` to
            ``n3``, cluster ``two`` has ``m1`` to ``m3``, both in the same place: one account and domain, one engine. A cluster has its
            SSH key. What it waits for may take a few seconds at most where ``theirs`` holds.
        stop: Stops the machine of this cluster and name from outside.
        keep: Writes the inventory of the cluster of this name, as 01 does once all nodes are there.
        stranger: Creates a machine of another owner in the same place, and returns a function: whether it is there, unchanged.
        start: Starts the machine again from outside; for providers whose machines belong to the user.
        theirs: Whether the machines belong to the user: neither made, nor started, nor removed.
    """

    make: Callable[[str], Any]
    stop: Callable[[str, str], object]
    keep: Callable[[str, list[Node]], object]
    stranger: Callable[[], Callable[[], bool]]
    start: Callable[[str, str], object] = lambda cluster, name: None
    theirs: bool = False


class ProviderContract:
    """The tests; a subclass gives the fixture ``world``."""

    def test_nothing_is_there_and_nothing_is_made_by_looking(self, world: World) -> None:
        provider = world.make("one")
        offers = provider.offers(["n2", "n1"])
        assert [offer.name for offer in offers] == ["n2", "n1"]
        assert all(offer.what and offer.hourly_cost >= 0 and offer.monthly_cost >= 0 for offer in offers)
        changes = provider.plan(["n1", "n2"], provider.machines())
        made = next(change.action for change in changes)
        assert made in NEW_NODE
        assert [(change.host, change.action) for change in changes] == [("n1", made), ("n2", made)]
        assert changes == provider.plan(["n1", "n2"], provider.machines()), "a plan is the same twice"
        assert all(sentence(change) for change in changes)
        assert provider.machines() == [] and provider.doomed() == []
        assert set(provider.states()) <= {""}
        assert all(check.wanted and check.seen for check in provider.prerequisites())
        assert provider.destroy() == []

    def test_from_nothing_to_nodes_and_to_nothing(self, world: World) -> None:
        names = ["n1", "n2"]
        provider = world.make("one")
        provider.provision(provider.plan(names, provider.machines()))
        nodes = provider.wait(names)
        assert [node.name for node in nodes] == names
        for node in nodes:
            assert node.id and node.private_address and node.ssh.host and node.ssh.port, node
            assert len(node.host_key.split()) == 2, "a type and a key, pinned before the first login"
        for values in (
            {n.id for n in nodes},
            {n.private_address for n in nodes},
            {n.ssh for n in nodes},
            {n.host_key for n in nodes},
        ):
            assert len(values) == len(nodes), "no two machines share it"
        world.keep("one", nodes)

        again = world.make("one")  # another process, later
        found = {machine.name: machine for machine in again.machines()}
        assert {name: found[name].state for name in names} == dict.fromkeys(names, "running")
        assert {name: found[name].id for name in names} == {node.name: node.id for node in nodes}
        assert again.plan(names, list(found.values())) == []
        assert again.wait(names) == nodes, "nothing has changed, so nothing differs"
        assert set(names) <= set(again.states())
        again.provision([])
        assert again.wait(names) == nodes

        assert world.make("two").machines() == [] and world.make("two").doomed() == [], "another cluster's are not seen"
        if world.theirs:
            assert again.doomed() == [] and again.destroy() == [], "what belongs to the user is not removed"
            assert again.wait(names) == nodes
            return
        doomed = again.doomed()
        assert all(any(name in thing for thing in doomed) for name in names), "what will be removed is named"
        assert again.destroy(), "it names what it has removed"
        after = world.make("one")
        assert after.machines() == [] and after.doomed() == [] and after.destroy() == []

    def test_what_is_somebody_elses_in_the_same_place_is_left_alone(self, world: World) -> None:
        unharmed = world.stranger()
        nodes = {}
        for cluster, name in (("one", "n1"), ("two", "m3")):
            provider = world.make(cluster)
            provider.provision(provider.plan([name], provider.machines()))
            nodes[cluster] = provider.wait([name])
            world.keep(cluster, nodes[cluster])
        one, two = world.make("one"), world.make("two")
        for provider, name in ((one, "n1"), (two, "m3")):
            mine = [machine.name for machine in provider.machines() if machine.name in ("n1", "m3")]
            assert mine == [name], "another cluster's are not seen"
            assert provider.plan([name], provider.machines()) == []
            assert set(provider.states()) & {"n1", "m3"} == {name}
            if not world.theirs:
                named = {each for each in ("n1", "m3") for thing in provider.doomed() if each in thing}
                assert named == {name}, "no other order will be removed"
        one.destroy()
        assert unharmed(), "a stranger's machine was touched"
        (other,) = [machine for machine in two.machines() if machine.name == "m3"]
        assert (other.id, other.state) == (nodes["two"][0].id, "running"), "another cluster's machine was touched"
        assert world.make("two").wait(["m3"]) == nodes["two"]
        assert world.make("one").doomed() == []
        two.destroy()
        assert unharmed(), "a stranger's machine was touched"

    def test_one_more_is_made_alone(self, world: World) -> None:
        provider = world.make("one")
        provider.provision(provider.plan(["n1"], provider.machines()))
        (first,) = provider.wait(["n1"])
        world.keep("one", [first])
        changes = provider.plan(["n1", "n2"], provider.machines())
        assert [change.host for change in changes] == ["n2"] and changes[0].action in NEW_NODE
        provider.provision(changes)
        nodes = provider.wait(["n1", "n2"])
        assert nodes[0] == first and nodes[1].name == "n2"
        provider.destroy()

    def test_one_goes_alone(self, world: World) -> None:
        names = ["n1", "n2"]
        provider = world.make("one")
        provider.provision(provider.plan(names, provider.machines()))
        first, second = provider.wait(names)
        world.keep("one", [first, second])
        provider = world.make("one")
        parts = provider.parts(["n2"])
        if world.theirs:
            provider.remove(["n2"])
            assert parts == [] and provider.wait(names) == [first, second], "what belongs to the user is not removed"
            return
        assert parts and all(name == "n2" and "n2" in thing for name, thing in parts), "what will be removed is named"
        assert {thing for _, thing in parts} <= set(provider.doomed()) and provider.parts(["n3"]) == []
        provider.remove(["n2"])
        after = world.make("one")
        assert [machine.name for machine in after.machines()] == ["n1"] and set(after.states()) == {"n1"}
        assert after.parts(["n2"]) == [] and after.wait(["n1"]) == [first]
        after.remove(["n2"])  # again, as after a kill
        after.destroy()

    def test_what_was_stopped_is_started_and_stays_the_same_machine(self, world: World) -> None:
        provider = world.make("one")
        provider.provision(provider.plan(["n1"], provider.machines()))
        (before,) = provider.wait(["n1"])
        world.keep("one", [before])
        world.stop("one", "n1")
        provider = world.make("one")
        (machine,) = provider.machines()
        assert machine.state != "running" and machine.id == before.id
        changes = provider.plan(["n1"], [machine])
        assert [(change.host, change.action) for change in changes] == [
            ("n1", Action.AWAIT_MACHINE if world.theirs else Action.START_MACHINE)
        ], "never made again"
        provider.provision(changes)
        if world.theirs:
            try:
                raise AssertionError(f"not waited for: {provider.wait(['n1'])}")
            except WaitTimeout as error:
                assert "n1" in error.what and error.next, "it says which, and who starts it"
            world.start("one", "n1")
        (after,) = provider.wait(["n1"])
        assert (after.id, after.host_key, after.private_address) == (before.id, before.host_key, before.private_address)
        provider.destroy()
