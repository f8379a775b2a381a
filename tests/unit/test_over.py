"""A book on some of the cluster's nodes: of the others nothing is asked, and no one takes them for forgotten."""

from __future__ import annotations

from collections.abc import Callable

from swarmbook.access.cluster import Cluster
from swarmbook.access.node import Node
from swarmbook.book.book import Book
from swarmbook.params import Params


def test_fewer_nodes(node: Callable[..., Node]) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node("sw1"), node("sw2"), node("sw3")], "lab")
    book = Book("23", Params(nodes=["sw1", "sw2", "sw3"], replace=["sw2"]))
    others = book.over(["sw3", "sw1"])
    assert [n.name for n in others.nodes] == ["sw3", "sw1"] and others.params.nodes == ["sw3", "sw1"]
    assert others.transcript is book.transcript and others.leaving == []
    assert [n.name for n in book.nodes] == ["sw1", "sw2", "sw3"]


def test_more_than_the_parameters_name(node: Callable[..., Node]) -> None:
    cluster = Cluster("lab")
    cluster.save_nodes([node("sw1"), node("sw2"), node("sw3")], "lab")
    book = Book("21", Params(nodes=["sw1", "sw4"], swarm_managers=1))
    assert book.leaving == ["sw2", "sw3"] and [n.name for n in book.nodes] == ["sw1"]
    whole = book.over(["sw1", "sw2"])
    assert [n.name for n in whole.nodes] == ["sw1", "sw2"] and whole.leaving == []
