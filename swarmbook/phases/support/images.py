"""Images on the nodes: built here if need be, sent over the engines' API, so that no node needs a registry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from swarmbook.access.commands import sh
from swarmbook.access.docker_api import Engine, local_engine, send_images
from swarmbook.access.fleet import fan_out
from swarmbook.access.probe import Probe, number
from swarmbook.base.activity import doing
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.machines.host_engine import ensure_engine
from swarmbook.machines.images import Recipe, carries, ensure_image
from swarmbook.machines.images.contents import image_sbom
from swarmbook.machines.images.pins import kept, pin, pinned
from swarmbook.model.material import Kind, Material, found
from swarmbook.params import Params
from swarmbook.phases.support.engine_data import MOUNT_POINT

__all__ = [
    "ensure_images",
    "image_materials",
    "image_of",
    "image_sboms",
    "image_there",
    "missing_images",
    "nodes_without_image",
    "recipe_of",
]

#: Which Debian has a series of MariaDB that the base of all images has not.
_BASES = {"10.11": "debian:bookworm-slim"}

#: MiB that are free where an engine keeps its data.
_FREE_MIB: Probe[int] = Probe(
    sh("df --output=avail -B1M @{at} | tail -n 1 | as free", at=MOUNT_POINT),
    lambda facts: number("".join(facts["free"]).strip()),
)


def recipe_of(params: Params, name: str) -> Recipe:
    """Return what an image is to be made of, by the parameters."""
    base = _BASES.get(params.mariadb_version, params.lab_base_image) if name == "galera" else params.lab_base_image
    return Recipe(name, base, params.consul_source if name == "consul" else "")


def image_of(book: Book, name: str) -> str:
    """Return the tag of an image of the book's cluster; an incomplete one, which no node has, until it is built.

    Args:
        book: The open book.
        name: A folder of ``swarmbook/machines/images``.
    """
    return pinned(book.cluster.folder, recipe_of(book.params, name))


def image_there(book: Book, name: str) -> str:
    """Return the tag of the image that the cluster runs, whatever the parameters would have it made of.

    For what only needs some image that is on the nodes: a notebook that looks may be opened with other parameters.

    Args:
        book: The open book.
        name: A folder of ``swarmbook/machines/images``.
    """
    return kept(book.cluster.folder, name) or image_of(book, name)


def missing_images(engines: Mapping[str, Engine], wanted: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """List which of the wanted tags each engine lacks, or has with another content than the tag names.

    Args:
        engines: By node.
        wanted: Tags by node.
    """

    def one(name: str) -> tuple[str, ...]:
        return tuple(tag for tag in wanted[name] if not carries(engines[name], tag))

    return fan_out(one, {name: name for name in wanted})


def nodes_without_image(engines: Mapping[str, Engine], tag: str) -> list[str]:
    """List the names of the nodes whose engine does not have an image."""
    return [name for name, lacking in missing_images(engines, {name: [tag] for name in engines}).items() if lacking]


def image_materials(engines: Mapping[str, Engine], tags: Mapping[str, Iterable[str]]) -> list[Material]:
    """Return the images behind tags, each by its id.

    Args:
        engines: By node.
        tags: By node.
    """

    def one(node: str) -> list[Material]:
        rows = []
        for tag in tags[node]:
            name, _, version = tag.rpartition(":")
            rows.append(found(node, Kind.IMAGE, name, version, id=engines[node].image_id(tag)))
        return rows

    return [material for rows in fan_out(one, {node: node for node in tags}).values() for material in rows]


def image_sboms(engine: Engine, tags: Iterable[str]) -> dict[str, str]:
    """Return the bills of materials of images, by the names of their files in the run's folder.

    Args:
        engine: One that has the images.
        tags: Theirs.
    """
    bills = {tag: image_sbom(tag, engine.image_content(tag), engine.image_labels(tag)) for tag in tags}
    return {f"sbom/{tag.rpartition('/')[2].partition(':')[0]}.cdx.json": bill for tag, bill in bills.items() if bill}


def _sources(book: Book, names: Iterable[str], engines: Mapping[str, Engine]) -> dict[str, tuple[str, Engine]]:
    """Find, or build, each image: its tag, and an engine that has it.

    An image that the cluster runs already is taken from wherever it is: a new one would be another.
    """

    recipes = {name: recipe_of(book.params, name) for name in names}
    here = local_engine()
    found: dict[str, tuple[str, Engine]] = {}
    for name, recipe in recipes.items():
        tag = pinned(book.cluster.folder, recipe)
        places = [*([here] if here is not None else []), *engines.values()]
        carrier = next((engine for engine in places if carries(engine, tag)), None)
        if carrier is not None:
            found[name] = tag, carrier
    if lost := {name: recipe for name, recipe in recipes.items() if name not in found}:
        local = here or ensure_engine()
        made = fan_out(lambda recipe: ensure_image(local, recipe)[0], lost)
        found |= {name: (tag, local) for name, tag in made.items()}
    pin(book.cluster.folder, {name: tag for name, (tag, _) in found.items()})
    return found


def ensure_images(book: Book, wanted: Mapping[str, Iterable[str]]) -> None:
    """Find images or build them here if need be, and send them to the engines that lack them.

    Args:
        book: The open book.
        wanted: Names of images (folders of ``swarmbook/machines/images``) by node.

    Raises:
        WorldError: A build failed or an engine did not take an image.
    """
    names = list(dict.fromkeys(name for images in wanted.values() for name in images))
    if not names:
        return
    engines = book.engines()
    sources = _sources(book, names, engines)
    tags = {name: tag for name, (tag, _) in sources.items()}
    lacking = missing_images(engines, {node: [tags[name] for name in images] for node, images in wanted.items()})
    # Nodes that lack the same are sent one archive, in which layers that images share come once.
    for source in dict.fromkeys(engine for _, engine in sources.values()):
        has = {tag for tag, engine in sources.values() if engine is source}
        from_here = {node: tuple(tag for tag in tags if tag in has) for node, tags in lacking.items()}
        for archive in dict.fromkeys(tags for tags in from_here.values() if tags):
            _send(book, source, archive, [node for node, tags in from_here.items() if tags == archive], engines)
    still = {node: tags for node, tags in missing_images(engines, lacking).items() if tags}
    if still:
        seen = "; ".join(f"{node}: {' '.join(tags)}" for node, tags in still.items())
        raise WorldError(
            "an image was sent and is not there, or is not the one that its tag names",
            where=", ".join(still),
            seen=seen,
            next=f"look at the space: swarmbook ssh {min(still)} df -h /var/lib/docker",
        )


def _send(
    book: Book, source: Engine, archive: Sequence[str], nodes: Sequence[str], engines: Mapping[str, Engine]
) -> None:
    started = time.monotonic()
    try:
        with doing(", ".join(nodes), f"docker load   # {' '.join(archive)}"):
            send_images(source, list(archive), {node: engines[node] for node in nodes})
    except WorldError as error:  # an engine whose disk is full often just hangs up
        size = sum(source.image_size(tag) for tag in archive) >> 20
        free = book.fleet.each(lambda host: host.ask(_FREE_MIB), nodes)
        room = "\n".join(
            f"{node}: {free[node]} MiB free at {MOUNT_POINT}; the images take up to {size} MiB" for node in nodes
        )
        seen = f"{error.seen}\n{room}"
        raise WorldError(error.what, where=error.where, seen=seen, next=error.next, code=error.code) from None
    for node in nodes:
        book.transcript.record(
            node,
            f"docker load   # {' '.join(archive)}, streamed from {source.name} over the API",
            0,
            time.monotonic() - started,
        )
