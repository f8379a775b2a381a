"""A book on some of the cluster's nodes: of the others nothing is asked, and no one takes them for forgotten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from swarmbook.access.cluster import Cluster
from swarmbook.access.node import Node
from swarmbook.base.codes import Code
from swarmbook.book.book import Book
from swarmbook.model.phases import PHASES
from swarmbook.params import Params
from swarmbook.phases.galera.stack import own_secrets
from swarmbook.phases.replacement import Others, discard
from swarmbook.phases.support.stack import secret_base
from swarmbook.record.resume import Parent
from swarmbook.testing.errors import raises


def test_fewer_nodes(node: Callable[..., Node]) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node("sw1"), node("sw2"), node("sw3")], "lab")
    book = Book("23", Params(nodes=["sw1", "sw2", "sw3"], replace=["sw2"]))
    others = book.over(["sw3", "sw1"])
    assert [n.name for n in others.nodes] == ["sw3", "sw1"] and others.params.nodes == ["sw3", "sw1"]
    assert others.transcript is book.transcript and others.leaving == []
    assert [n.name for n in book.nodes] == ["sw1", "sw2", "sw3"]


def test_the_secrets_of_a_member_are_not_those_of_one_whose_name_begins_alike() -> None:
    name = "galera-sw1-b-key-pem-0123456789"
    assert secret_base(name) in own_secrets(Params(), "sw1-b") and secret_base(name) not in own_secrets(Params(), "sw1")


def test_what_removes_machines_is_trusted_as_what_takes_a_cluster_away_is() -> None:
    """A plan or a record with 21 or 23 has to be vouched for, and a run that is resumed does not remove the new machine again."""
    assert [phase.number for phase in PHASES.values() if phase.removes] == ["21", "23", "25", "27", "28", "90", "91"]
    done = frozenset({"23", "01"})
    parent = Parent(Path("runs/lab/x"), "x", "lab", "failed", "", {}, ("23", "01", "02"), done)
    assert parent.left() == ["01", "02"]


def test_the_only_node_is_not_discarded(node: Callable[..., Node]) -> None:
    only = Others((("sw1", "machine sw1"),))
    with raises(Code.MEMBERS_NOT_SYNCED, "no member would be left without sw1"):
        discard.plan(Params(nodes=["sw1"], swarm_managers=1, replace=["sw1"]), only)


def test_more_than_the_parameters_name(node: Callable[..., Node]) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node("sw1"), node("sw2"), node("sw3")], "lab")
    book = Book("21", Params(nodes=["sw1", "sw4"], swarm_managers=1))
    assert book.leaving == ["sw2", "sw3"] and [n.name for n in book.nodes] == ["sw1"]
    whole = book.over(["sw1", "sw2"])
    assert [n.name for n in whole.nodes] == ["sw1", "sw2"] and whole.leaving == []
