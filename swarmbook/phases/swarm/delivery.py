"""Phase 03, last third: Consul's and MariaDB's images on the nodes that will run them."""

from __future__ import annotations

from collections.abc import Mapping

from swarmbook.book.book import Book, Change, StepResult, converge
from swarmbook.machines.images import image_name
from swarmbook.model.checks import Check, equal
from swarmbook.params import ParamView
from swarmbook.phases.support.images import ensure_images, missing_images

__all__ = ["deliver"]


def deliver(book: Book) -> StepResult:
    """Have Consul's image on every node, and MariaDB's on those that will carry a member."""
    members = book.params.members()
    wanted = {name: ["consul", *(["galera"] if name in members else [])] for name in book.params.nodes}
    tags = {node: [image_name(name, book.params.lab_base_image) for name in images] for node, images in wanted.items()}

    def plan(params: ParamView, seen: Mapping[str, tuple[str, ...]]) -> list[Change]:
        return [Change(node, "send", f"{' '.join(lacking)} sent") for node, lacking in seen.items() if lacking]

    def verify(params: ParamView, seen: Mapping[str, tuple[str, ...]]) -> list[Check]:
        return [
            equal(node, f"has {' '.join(tags[node])}", "yes", f"lacks {' '.join(lacking)}" if lacking else "yes")
            for node, lacking in seen.items()
        ]

    return converge(
        book,
        observe=lambda book: missing_images(book.engines(), {name: tags[name] for name in book.ready()}),
        plan=plan,
        apply=lambda book, seen, changes: ensure_images(book, {change.host: wanted[change.host] for change in changes}),
        verify=verify,
        what="images",
        suppose=lambda book, seen: {name: (seen or {}).get(name, tuple(tags[name])) for name in book.params.nodes},
    )
