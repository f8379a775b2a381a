"""Images on the nodes: built here if need be, sent over the engines' API, so that no node needs a registry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from swarmbook.access.commands import sh
from swarmbook.access.docker_api import Engine, send_images
from swarmbook.access.fleet import fan_out
from swarmbook.access.probe import Probe, number
from swarmbook.base.activity import doing
from swarmbook.base.errors import WorldError
from swarmbook.book.book import Book
from swarmbook.machines.host_engine import ensure_engine
from swarmbook.machines.images import ensure_image
from swarmbook.model.material import Kind, Material, found
from swarmbook.phases.support.engine_data import MOUNT_POINT

__all__ = ["ensure_images", "image_materials", "missing_images", "nodes_without_image"]


#: MiB that are free where an engine keeps its data.
_FREE_MIB: Probe[int] = Probe(
    sh("df --output=avail -B1M @{at} | tail -n 1 | as free", at=MOUNT_POINT),
    lambda facts: number("".join(facts["free"]).strip()),
)


def missing_images(engines: Mapping[str, Engine], wanted: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """List which of the wanted tags each engine lacks.

    Args:
        engines: By node.
        wanted: Tags by node.
    """

    def one(name: str) -> tuple[str, ...]:
        return tuple(tag for tag in wanted[name] if not engines[name].has_image(tag))

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


def ensure_images(book: Book, wanted: Mapping[str, Iterable[str]]) -> None:
    """Build images here if need be, and send them to the engines that lack them.

    Args:
        book: The open book.
        wanted: Names of images (folders of ``swarmbook/images``) by node.

    Raises:
        WorldError: A build failed or an engine did not take an image.
    """
    names = list(dict.fromkeys(name for images in wanted.values() for name in images))
    if not names:
        return
    local = ensure_engine()
    tags = fan_out(
        lambda name: ensure_image(local, name, book.params.lab_base_image)[0], {name: name for name in names}
    )
    engines = book.engines(wanted)
    lacking = missing_images(engines, {node: [tags[name] for name in images] for node, images in wanted.items()})
    # Nodes that lack the same are sent one archive, in which layers that images share come once.
    for archive in dict.fromkeys(tags for tags in lacking.values() if tags):
        nodes = [node for node, tags in lacking.items() if tags == archive]
        started = time.monotonic()
        try:
            with doing(", ".join(nodes), f"docker load   # {' '.join(archive)}"):
                send_images(local, list(archive), {node: engines[node] for node in nodes})
        except WorldError as error:  # an engine whose disk is full often just hangs up
            size = sum(local.image_size(tag) for tag in archive) >> 20
            free = book.fleet.each(lambda host: host.ask(_FREE_MIB), nodes)
            room = "\n".join(
                f"{node}: {free[node]} MiB free at {MOUNT_POINT}; the images take up to {size} MiB" for node in nodes
            )
            seen = f"{error.seen}\n{room}"
            raise WorldError(error.what, where=error.where, seen=seen, next=error.next, code=error.code) from None
        for node in nodes:
            book.transcript.record(
                node,
                f"docker load   # {' '.join(archive)}, streamed from here over the API",
                0,
                time.monotonic() - started,
            )
    still = {node: tags for node, tags in missing_images(engines, lacking).items() if tags}
    if still:
        seen = "; ".join(f"{node}: {' '.join(tags)}" for node, tags in still.items())
        raise WorldError(
            "an image was sent and is not there",
            where=", ".join(still),
            seen=seen,
            next=f"look at the space: swarmbook ssh {min(still)} df -h /var/lib/docker",
        )
