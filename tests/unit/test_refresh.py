"""Images that are built again, and the command that shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner

from swarmbook.access.cluster import Cluster
from swarmbook.access.docker_images import Image
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.cli import main
from swarmbook.machines import images
from swarmbook.machines.images import Recipe, rebuild_images
from swarmbook.machines.images.bases import Base
from swarmbook.machines.images.labels import BASE, CONSUL_SOURCE
from swarmbook.machines.images.pins import pin
from swarmbook.params import Params
from swarmbook.phases.support import refresh
from swarmbook.phases.support.images import image_of
from swarmbook.phases.support.refresh import refresh_images

CONTENT = "ab" * 32


class FakeEngine:
    name = "this computer"

    def __init__(self, source: str) -> None:
        self.source = source

    def image_content(self, tag: str) -> str:
        return CONTENT

    def image_labels(self, tag: str) -> Mapping[str, str]:
        return {CONSUL_SOURCE: self.source}


@pytest.fixture
def book(cluster: Cluster) -> Book:
    book = Book("", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
    pin(cluster.folder, {name: f"{image_of(book, name)}-{CONTENT[:12]}" for name in ("consul", "galera")})
    return book


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    calls: list[tuple[list[str], str]] = []

    def rebuild(engine: Any, recipes: Mapping[str, Recipe], consul: str) -> dict[str, str]:
        calls.append((list(recipes), consul))
        return {name: f"{recipe.tag}-{'cd' * 6}" for name, recipe in recipes.items()}

    monkeypatch.setattr(refresh, "rebuild_images", rebuild)
    monkeypatch.setattr(refresh, "ensure_engine", lambda: FakeEngine("debian"))
    return calls


def test_new_images_are_the_clusters_and_consul_keeps_its_source(
    book: Book, built: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where releases can be reached by now: another make of Consul is no security update."""
    monkeypatch.setattr(refresh, "local_engine", lambda: FakeEngine("debian"))
    refresh_images(book)
    assert built == [(["consul", "galera", "node"], "debian")]
    assert {image_of(book, name).rpartition("-")[2] for name in ("consul", "galera")} == {"cd" * 6}
    assert sorted(json.loads((book.cluster.folder / "images.json").read_text())["images"]) == ["consul", "galera"]


def test_the_source_is_read_on_a_node_where_this_computer_lacks_the_image(
    book: Book, built: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "local_engine", lambda: None)
    monkeypatch.setattr(book, "engines", lambda names=None: {"sw1": FakeEngine("hashicorp")})
    refresh_images(book)
    assert built[0][1] == "hashicorp"


def test_a_build_that_fails_leaves_the_cluster_its_images(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> dict[str, str]:
        raise WorldError("the image could not be built")

    monkeypatch.setattr(refresh, "rebuild_images", fail)
    monkeypatch.setattr(refresh, "ensure_engine", lambda: FakeEngine(""))
    monkeypatch.setattr(refresh, "local_engine", lambda: None)
    monkeypatch.setattr(book, "engines", lambda names=None: {})
    with pytest.raises(WorldError):
        refresh_images(book)
    assert image_of(book, "consul").endswith(CONTENT[:12])


def test_a_rebuild_takes_one_new_base_and_nothing_of_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    bases, builds = [], []

    def base(engine: Any, wanted: str, fresh: bool = False) -> Base:
        bases.append((wanted, fresh))
        return Base("debian@sha256:" + "0" * 64, True)

    def build(engine: Any, tag: str, context: bytes, dockerfile: str, **options: Any) -> None:
        builds.append((tag.partition(":")[0], dockerfile, options["arguments"], options.get("fresh", False)))

    monkeypatch.setattr(images, "find_base", base)
    monkeypatch.setattr(images, "build_image", build)
    monkeypatch.setattr(images, "read_contents", lambda engine, tag: "-")
    for name in ("tag_image", "untag_image"):
        monkeypatch.setattr(images, name, lambda *_: None)
    engine: Any = FakeEngine("")
    recipes = {"consul": Recipe("consul", "debian:x", "auto"), "galera": Recipe("galera", "debian:x")}
    tags = rebuild_images(engine, recipes, "debian")
    assert tags == {name: f"{recipe.tag}-{CONTENT[:12]}" for name, recipe in recipes.items()}
    assert bases == [("debian:x", True)]
    arguments = {"BASE": "debian@sha256:" + "0" * 64}
    assert [build for build in builds if build[2]] and all(build[3] for build in builds if build[2])
    assert ("swarmbook/consul", "Dockerfile.package", arguments, True) in builds
    assert ("swarmbook/galera", "Dockerfile", arguments, True) in builds


def test_the_command_shows_what_is_here_and_what_the_cluster_runs(
    book: Book, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    consul, galera = image_of(book, "consul"), image_of(book, "galera")
    listed = [
        Image("1", (consul,), 1764000000, 157 << 20, {BASE: "debian@sha256:0"}),
        Image("2", ("swarmbook/node:1-2",)),
    ]
    monkeypatch.setattr("swarmbook.cli.images.open_book", lambda params: book)
    monkeypatch.setattr("swarmbook.machines.host_engine.local_engine", lambda: FakeEngine(""))
    monkeypatch.setattr("swarmbook.access.docker_images.labelled_images", lambda engine, label: listed)
    file = tmp_path / "lab.yaml"
    file.write_text("cluster: lab\n")
    done = CliRunner().invoke(main, ["images", str(file), "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["image"]: row for row in json.loads(done.output)}
    assert rows[consul]["of cluster lab"] == "yes" and rows[consul]["size"] == "157 MiB"
    assert rows["swarmbook/node:1-2"]["of cluster lab"] == ""
    assert rows[galera]["built (UTC)"] == "not on this computer"
