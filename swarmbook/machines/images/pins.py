"""Which images a cluster runs: kept in its folder, so that another computer, or another day, does not change them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from swarmbook.base.errors import WorldError
from swarmbook.base.files import write_atomic
from swarmbook.base.words import typed
from swarmbook.machines.images import Recipe

__all__ = ["kept", "pin", "pinned"]

_FILE = "images.json"


def _all(folder: Path) -> dict[str, str]:
    path = folder / _FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text)
        return {str(name): str(tag) for name, tag in found["images"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WorldError(
            "the file that names the cluster's images cannot be read",
            where=str(path),
            wanted='{"images": {NAME: TAG}}',
            seen=text[:200],
            next=f"remove {typed(path)}: the next run takes the images that were built last, and changes services to them",
        ) from None


def pinned(folder: Path, recipe: Recipe) -> str:
    """Return the tag of a cluster's image; that of the recipe alone where the cluster has none of this recipe yet.

    Args:
        folder: The cluster's.
        recipe: What the image is to be made of.
    """
    tag = _all(folder).get(recipe.name, "")
    return tag if recipe.made(tag) else recipe.tag


def kept(folder: Path, name: str) -> str:
    """Return the tag of a cluster's image, of whatever recipe; nothing where it has none yet.

    Args:
        folder: The cluster's.
        name: Of the image.
    """
    return _all(folder).get(name, "")


def pin(folder: Path, tags: Mapping[str, str]) -> None:
    """Name images as a cluster's, under its lock.

    Args:
        folder: The cluster's.
        tags: By image.
    """
    images = dict(sorted({**_all(folder), **tags}.items()))
    write_atomic(folder / _FILE, json.dumps({"images": images}, indent=1) + "\n")
