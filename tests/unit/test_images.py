"""An image's name is the hash of what goes into it, and of what came out."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.docker_images import Image
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.machines import images
from swarmbook.machines.images import Recipe, bases, carries, ensure_image
from swarmbook.machines.images.contents import installed_packages, pack, read_contents, unpack
from swarmbook.machines.images.pins import pin, pinned
from swarmbook.params import Params
from swarmbook.phases.support import images as delivery
from swarmbook.phases.support.images import ensure_images, image_of

IMAGES = ["consul", "galera", "node"]
CONTENT = "ab" * 32


@pytest.mark.parametrize("name", IMAGES)
def test_a_recipe_is_the_same_each_time(name: str) -> None:
    recipe = Recipe(name, "debian:trixie-slim")
    assert recipe.tag == Recipe(name, "debian:trixie-slim").tag
    assert recipe.tag.startswith(f"swarmbook/{name}:")
    assert recipe.made(f"{recipe.tag}-abababababab")
    assert not recipe.made(recipe.tag), "that names no content"


def test_it_changes_with_base_source_content_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {Recipe("consul", "a").tag, Recipe("consul", "b").tag, Recipe("consul", "a", "debian").tag}
    for context in (
        {"Dockerfile": b"1"},
        {"Dockerfile": b"2"},
        {"Dockerfile2": b"1"},
        {"Dockerfile": b"1", "x": b""},
        {"D": b"ockerfile\x001"},
    ):
        monkeypatch.setattr(images, "_context", lambda name, c=context: c)
        tags.add(Recipe("consul", "a").tag)
    assert len(tags) == 8


def test_modes_and_times_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> None:
    before = Recipe("galera", "a").tag
    shutil.copytree(root / "swarmbook" / "machines" / "images", tmp_path / "images")
    for file in (tmp_path / "images" / "galera").iterdir():
        file.chmod(0o600)
        file.touch()
    monkeypatch.setattr(images, "files", lambda package: tmp_path / "images")
    assert Recipe("galera", "a").tag == before


class FakeEngine:
    """An engine as far as images go: their content by tag."""

    def __init__(self, name: str, content: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.content = dict(content or {})

    def image_content(self, tag: str) -> str:
        return self.content.get(tag, "")


def test_a_tag_is_held_against_the_content_that_it_names() -> None:
    tag = f"swarmbook/consul:0123456789ab-{CONTENT[:12]}"
    assert carries(FakeEngine("sw1", {tag: CONTENT}), tag)  # type: ignore[arg-type]
    assert not carries(FakeEngine("sw1", {tag: "cd" * 32}), tag), "other bytes under the same tag"  # type: ignore[arg-type]
    assert not carries(FakeEngine("sw1"), tag)  # type: ignore[arg-type]
    bare = "swarmbook/consul:0123456789ab"
    assert not carries(FakeEngine("sw1", {bare: CONTENT}), bare), "of an earlier swarmbook"  # type: ignore[arg-type]


def test_the_newest_of_a_recipe_is_taken_and_nothing_that_was_tampered_with(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe("consul", "a")
    new, old, wrong = (f"{recipe.tag}-{digits}" for digits in ("ab" * 6, "cd" * 6, "ef" * 6))
    listed = [Image("3", (wrong,)), Image("2", ("other:1", new)), Image("1", (old,))]
    monkeypatch.setattr(images, "labelled_images", lambda engine, label: listed)
    engine: Any = FakeEngine("this computer", {new: "ab" * 32, old: "cd" * 32, wrong: "00" * 32})
    assert ensure_image(engine, recipe) == (new, False)


# -- which image a cluster runs ----------------------------------------------------------------------------------------


def test_a_cluster_keeps_its_image_until_the_recipe_changes(tmp_path: Path) -> None:
    recipe = Recipe("consul", "a")
    assert pinned(tmp_path, recipe) == recipe.tag
    pin(tmp_path, {"consul": f"{recipe.tag}-{CONTENT[:12]}"})
    pin(tmp_path, {"galera": "swarmbook/galera:1-2"})
    assert pinned(tmp_path, recipe) == f"{recipe.tag}-{CONTENT[:12]}"
    assert pinned(tmp_path, Recipe("consul", "b")) == Recipe("consul", "b").tag
    (tmp_path / "images.json").write_text("[]")
    with pytest.raises(WorldError, match="cannot be read"):
        pinned(tmp_path, recipe)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...], list[str]]]:
    """What was sent from where to whom; it arrives there."""
    calls: list[tuple[str, tuple[str, ...], list[str]]] = []

    def send(source: Any, tags: list[str], targets: Mapping[str, Any]) -> None:
        calls.append((source.name, tuple(tags), sorted(targets)))
        for engine in targets.values():
            engine.content |= {tag: source.content[tag] for tag in tags}

    monkeypatch.setattr(delivery, "send_images", send)
    return calls


def test_another_computer_takes_the_image_from_a_node_and_builds_none(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, sent: list[Any]
) -> None:
    """Its build would be another image, and the services would be changed to it."""
    book = Book("03", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
    tag = f"{image_of(book, 'consul')}-{CONTENT[:12]}"
    pin(cluster.folder, {"consul": tag})
    engines: Any = {"sw1": FakeEngine("sw1", {tag: CONTENT}), "sw2": FakeEngine("sw2")}
    monkeypatch.setattr(book, "engines", lambda names=None: engines)
    monkeypatch.setattr(delivery, "local_engine", lambda: FakeEngine("this computer"))
    monkeypatch.setattr(delivery, "ensure_image", lambda *_: pytest.fail("nothing is to be built"))
    ensure_images(book, {"sw1": ["consul"], "sw2": ["consul"]})
    assert sent == [("sw1", (tag,), ["sw2"])]
    assert image_of(book, "consul") == tag


def test_an_image_that_nobody_has_any_more_is_built_and_named_as_the_clusters(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, sent: list[Any]
) -> None:
    book = Book("03", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
    bare = image_of(book, "consul")
    pin(cluster.folder, {"consul": f"{bare}-{'0' * 12}"})
    here = FakeEngine("this computer", {f"{bare}-{CONTENT[:12]}": CONTENT})
    engines: Any = {"sw1": FakeEngine("sw1"), "sw2": FakeEngine("sw2")}
    monkeypatch.setattr(book, "engines", lambda names=None: engines)
    monkeypatch.setattr(delivery, "local_engine", lambda: None)
    monkeypatch.setattr(delivery, "ensure_engine", lambda: here)
    monkeypatch.setattr(delivery, "ensure_image", lambda engine, recipe: (f"{recipe.tag}-{CONTENT[:12]}", True))
    ensure_images(book, {"sw1": ["consul"], "sw2": ["consul"]})
    assert sent == [("this computer", (f"{bare}-{CONTENT[:12]}",), ["sw1", "sw2"])]
    assert image_of(book, "consul") == f"{bare}-{CONTENT[:12]}"


def test_a_node_that_shows_other_bytes_under_the_tag_is_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book("03", Params(nodes=["sw1"], swarm_managers=1), cluster=cluster)
    tag = f"{image_of(book, 'consul')}-{CONTENT[:12]}"
    pin(cluster.folder, {"consul": tag})
    engines: Any = {"sw1": FakeEngine("sw1", {tag: "00" * 32})}
    monkeypatch.setattr(book, "engines", lambda names=None: engines)
    monkeypatch.setattr(delivery, "local_engine", lambda: FakeEngine("this computer", {tag: CONTENT}))
    monkeypatch.setattr(delivery, "send_images", lambda *_: None)
    with pytest.raises(WorldError, match="not the one that its tag names") as caught:
        ensure_images(book, {"sw1": ["consul"]})
    assert f"sw1: {tag}" in str(caught.value)


# -- what is in an image -----------------------------------------------------------------------------------------------

STATUS = """Package: base-files
Status: install ok installed
Architecture: amd64
Version: 13.8+deb13u1
Description: Debian base system
 Package: not-one
 .

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libzstd1
Status: install ok installed
Source: libzstd (1.5.7)
Architecture: amd64
Version: 1:1.5.7+dfsg-1
"""


def test_packages_are_those_that_are_installed() -> None:
    assert installed_packages(STATUS) == [("base-files", "13.8+deb13u1", "amd64"), ("libzstd1", "1:1.5.7+dfsg-1", "amd64")]  # fmt: skip


def archived(path: str, text: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo(path.rpartition("/")[2])
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    return stream.getvalue()


def test_contents_name_system_packages_and_what_is_of_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/var/lib/dpkg/status": STATUS,
        "/usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\n',
        "/usr/share/swarmbook/also": "pkg:deb/debian/consul@1.8.7+dfsg1-2\n",
    }
    monkeypatch.setattr(
        "swarmbook.machines.images.contents.read_files",
        lambda engine, tag, paths: {path: archived(path, files[path]) for path in paths},
    )
    engine: Any = SimpleNamespace()
    assert unpack(read_contents(engine, "x")) == [
        "pkg:deb/debian/base-files@13.8%2Bdeb13u1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/libzstd1@1%3A1.5.7%2Bdfsg-1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/consul@1.8.7%2Bdfsg1-2",
    ]


def test_a_label_that_is_none_or_a_bomb_is_refused() -> None:
    assert unpack(pack(["a", "b"])) == ["a", "b"]
    assert pack(["a"]) == pack(["a"])
    for label in ("!", "aGVsbG8=", pack("x" * 100 for _ in range(100_000))):
        with pytest.raises(ValueError):
            unpack(label)


@pytest.mark.parametrize(
    "script",
    [
        *(f"galera/galera-{name}" for name in ("announce", "entrypoint", "health", "script")),
        *(f"consul/consul-{name}" for name in ("entrypoint", "health", "release")),
        "node/lab-machine",
    ],
)
def test_shell_scripts_parse(root: Path, script: str) -> None:
    file = root / "swarmbook" / "machines" / "images" / script
    assert file.read_text().startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", str(file)], check=True)


@pytest.mark.parametrize(
    ("version", "name", "base"),
    [
        ("11.8", "galera", "registry.example.com/debian:trixie"),
        ("10.11", "galera", "debian:bookworm-slim"),
        ("10.11", "haproxy", "registry.example.com/debian:trixie"),
    ],
)
def test_a_series_of_mariadb_comes_from_the_debian_that_has_it(version: Any, name: str, base: str) -> None:
    params = Params(lab_base_image="registry.example.com/debian:trixie", mariadb_version=version)
    assert delivery.recipe_of(params, name).base == base


@pytest.mark.parametrize(("user", "words"), [(0, "/etc/apt/sources.list"), (1001, "apt-get install uidmap")])
def test_a_base_that_cannot_be_made_says_what_this_user_can_do(
    user: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root mmdebstrap needs another way to files of root's; the mirror has nothing to do with it."""
    said = SimpleNamespace(returncode=1, stderr="E: unable to pick chroot mode automatically", stdout="")
    monkeypatch.setattr(bases.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(bases.subprocess, "run", lambda *_, **__: said)
    monkeypatch.setattr(bases.os, "geteuid", lambda: user)
    with pytest.raises(WorldError) as caught:
        bases._bootstrap(SimpleNamespace(), "trixie", "swarmbook/base:trixie")  # type: ignore[arg-type]
    assert words in str(caught.value.next) and "chroot mode" in str(caught.value.seen)
