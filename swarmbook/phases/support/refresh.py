"""Images built again, for security updates: a cluster is given them, and the next run brings them in."""

from __future__ import annotations

from swarmbook.access.docker_api import local_engine
from swarmbook.book.book import Book
from swarmbook.machines.host_engine import ensure_engine
from swarmbook.machines.images import carries, rebuild_images
from swarmbook.machines.images.labels import CONSUL_SOURCE
from swarmbook.machines.images.pins import kept, pin
from swarmbook.phases.support.images import image_of, recipe_of

__all__ = ["images_of", "refresh_images"]

#: What every cluster's services are made of, and what those of 20 and 24 are.
_ALWAYS, _WHERE_RUN = ("consul", "galera"), ("haproxy", "exporters", "prometheus")


def images_of(book: Book) -> tuple[str, ...]:
    """Return the names of the images that the services of a cluster are made of.

    Args:
        book: The open book.
    """
    return (*_ALWAYS, *(name for name in _WHERE_RUN if kept(book.cluster.folder, name)))


def refresh_images(book: Book) -> dict[str, str]:
    """Build a cluster's images again, with their base, from the packages of today.

    Services go on as they are until a run finds that their image is another one.

    Args:
        book: The open book.

    Returns:
        The new tags, by image.

    Raises:
        WorldError: A build failed; the cluster keeps the images that it has.
    """
    # The lab's machines have an image, too: those that are made from now on get it.
    names = (*images_of(book), *(("node",) if book.params.provider == "lab" else ()))
    # An update is no change of Consul's make, which 04 would refuse under a cluster that runs.
    source = _source_now(book) if book.params.consul_source == "auto" else ""
    tags = rebuild_images(ensure_engine(), {name: recipe_of(book.params, name) for name in names}, source)
    if book.cluster.exists():
        pin(book.cluster.folder, {name: tag for name, tag in tags.items() if name != "node"})
    return tags


def _source_now(book: Book) -> str:
    """Return where the Consul that the cluster runs came from; empty where it runs none."""
    tag = image_of(book, "consul")
    here = local_engine()
    if here is not None and carries(here, tag):
        return here.image_labels(tag).get(CONSUL_SOURCE, "")
    if not book.cluster.exists():
        return ""
    carrier = next((engine for engine in book.engines().values() if carries(engine, tag)), None)
    return carrier.image_labels(tag).get(CONSUL_SOURCE, "") if carrier is not None else ""
