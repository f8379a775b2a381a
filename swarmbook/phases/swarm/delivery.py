"""Phase 03, last third: Consul's and MariaDB's images on the nodes that will run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.machines.images import image_name
from swarmbook.model.change import Action, Change, Todo
from swarmbook.model.checks import Check, equal
from swarmbook.model.material import Material
from swarmbook.params import Params
from swarmbook.phases.support.images import ensure_images, image_materials, missing_images

__all__ = ["deliver"]


@dataclass(frozen=True)
class Images:
    """What every node should have: by node, names of images by their tags."""

    names: Mapping[str, Mapping[str, str]]

    def tags(self, node: str) -> tuple[str, ...]:
        """List the tags that a node should have."""
        return tuple(self.names[node])


def wanted_images(params: Params) -> Images:
    """Return Consul's image for every node, and MariaDB's for those that will carry a member."""
    members = params.members()
    return Images({
        node: {
            image_name(name, params.lab_base_image): name
            for name in ("consul", *(("galera",) if node in members else ()))
        }
        for node in params.nodes
    })  # fmt: skip


class Deliver(Step[Mapping[str, tuple[str, ...]], Images]):
    """Send Consul's image to every node, and MariaDB's to those that will carry a member."""

    name = "images"

    def observe(self, book: Book) -> Mapping[str, tuple[str, ...]]:
        wanted = wanted_images(book.params)
        return missing_images(book.engines(), {name: wanted.tags(name) for name in book.ready()})

    def want(self, book: Book, seen: Mapping[str, tuple[str, ...]]) -> Images:
        return wanted_images(book.params)

    def plan(self, wanted: Images, seen: Mapping[str, tuple[str, ...]]) -> list[Change]:
        return [Change(node, Action.IMAGES, lacking) for node, lacking in seen.items() if lacking]

    def apply(self, book: Book, wanted: Images, seen: Mapping[str, tuple[str, ...]], changes: list[Change]) -> None:
        with Todo(changes) as todo:
            sent = todo.take(Action.IMAGES)
            # What shares layers goes in one archive, so a node that lacks one is offered all that it should have.
            ensure_images(book, {change.host: list(wanted.names[change.host].values()) for change in sent})

    def verify(self, wanted: Images, seen: Mapping[str, tuple[str, ...]]) -> list[Check]:
        return [
            equal(
                node,
                f"has {' '.join(wanted.tags(node))}",
                "yes",
                f"lacks {' '.join(lacking)}" if lacking else "yes",
            )
            for node, lacking in seen.items()
        ]

    def materials(self, book: Book, wanted: Images, seen: Mapping[str, tuple[str, ...]]) -> list[Material]:
        return image_materials(book.engines(seen), {node: wanted.tags(node) for node in seen})

    def assume(
        self, ahead: Forecast, params: Params, seen: Mapping[str, tuple[str, ...]] | None
    ) -> Mapping[str, tuple[str, ...]]:
        wanted = wanted_images(params)
        return {name: (seen or {}).get(name, wanted.tags(name)) for name in params.nodes}


deliver = Deliver()
