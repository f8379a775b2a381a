"""Phase 03, last third: Consul's and MariaDB's images on the nodes that will run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.material import Material
from swarmbook.params import Params
from swarmbook.phases.support.images import (
    ensure_images,
    image_materials,
    image_of,
    image_sboms,
    missing_images,
    recipe_of,
)

__all__ = ["deliver"]


@dataclass(frozen=True)
class Images:
    """What every node should have, and what of that it lacks.

    Args:
        names: By node, names of images by their tags.
        lacking: Tags by node.
    """

    names: Mapping[str, Mapping[str, str]]
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def tags(self, node: str) -> tuple[str, ...]:
        """List the tags that a node should have."""
        return tuple(self.names[node])


def _wanted(params: Params, tag_of: Callable[[str], str]) -> Images:
    """Return Consul's image for every node, and MariaDB's for those that will carry a member."""
    members = params.members()
    names = {node: ("consul", *(("galera",) if node in members else ())) for node in params.nodes}
    tags = {name: tag_of(name) for name in ("consul", "galera")}
    return Images({node: {tags[name]: name for name in images} for node, images in names.items()})


class Deliver(Step[Images, Images]):
    """Send Consul's image to every node, and MariaDB's to those that will carry a member."""

    name = "images"

    def observe(self, book: Book) -> Images:
        wanted = _wanted(book.params, lambda name: image_of(book, name))
        lacking = missing_images(book.engines(), {name: wanted.tags(name) for name in book.ready()})
        return replace(wanted, lacking=lacking)

    def want(self, book: Book, seen: Images) -> Images:
        return seen

    def plan(self, wanted: Images, seen: Images) -> list[Change]:
        return [
            # Not by the content: until an image is built no one knows it, and a plan would not be the same after that.
            Change(node, Action.IMAGES, tuple(tag.partition("-")[0] for tag in lacking))
            for node, lacking in seen.lacking.items()
            if lacking
        ]

    def apply(self, book: Book, wanted: Images, seen: Images, changes: list[Change]) -> None:
        with Todo(changes) as todo:
            sent = todo.take(Action.IMAGES)
            # What shares layers goes in one archive, so a node that lacks one is offered all that it should have.
            ensure_images(book, {change.host: list(wanted.names[change.host].values()) for change in sent})

    def verify(self, wanted: Images, seen: Images) -> list[Check]:
        return [
            equal(
                node,
                f"has {' '.join(wanted.tags(node))}",
                "yes",
                f"lacks {' '.join(lacking)}" if lacking else "yes",
            )
            for node, lacking in seen.lacking.items()
        ]

    def materials(self, book: Book, wanted: Images, seen: Images) -> list[Material]:
        return image_materials(book.engines(seen.lacking), {node: wanted.tags(node) for node in seen.lacking})

    def files(self, book: Book, wanted: Images) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for node in wanted.lacking:  # the first that carries each image; mostly the first of all
            if new := [tag for tag, name in wanted.names[node].items() if f"sbom/{name}.cdx.json" not in found]:
                found |= image_sboms(book.engine(node), new)
        return found

    def assume(self, ahead: Forecast, params: Params, seen: Images | None) -> Images:
        known = seen or _wanted(params, lambda name: recipe_of(params, name).tag)
        return replace(known, lacking={name: known.lacking.get(name, known.tags(name)) for name in params.nodes})


deliver = Deliver()
