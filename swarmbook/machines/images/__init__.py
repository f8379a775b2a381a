"""Images: built once, and named by what went into them (their recipe) and by what came out (their content)."""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_images import build_image, labelled_images, remove_image, tag_image, untag_image
from swarmbook.access.fleet import fan_out
from swarmbook.base.activity import doing
from swarmbook.machines.images.bases import Base, find_base
from swarmbook.machines.images.contents import PACKAGES, read_contents
from swarmbook.machines.images.labels import BASE, LABEL, RECIPE
from swarmbook.machines.images.releases import dockerfile_of

__all__ = ["LABEL", "Recipe", "carries", "ensure_image", "node_image", "rebuild_images", "remove_images"]

#: Digits of a hash in a tag: 48 bits each, of which those of the content are held against the image itself.
_DIGITS = 12


@dataclass(frozen=True)
class Recipe:
    """What an image is to be made of.

    Args:
        name: A folder of ``swarmbook/machines/images``.
        base: The base image, as the parameters name it.
        source: Where what is not of the distribution comes from, as the parameters say; of Consul's image alone.
    """

    name: str
    base: str
    source: str = ""

    @property
    def hash(self) -> str:
        """The hash of it: an image of another recipe is another image."""
        digest = hashlib.sha256(f"{self.base}\0{self.source}".encode())
        for file, content in _context(self.name).items():
            digest.update(file.encode() + b"\0" + content + b"\0")
        return digest.hexdigest()[:_DIGITS]

    @property
    def tag(self) -> str:
        """The tag as far as it is known before the image was built; no image has just this one."""
        return f"swarmbook/{self.name}:{self.hash}"

    def made(self, tag: str) -> bool:
        """Tell whether an image of that tag was made by this recipe."""
        return tag.startswith(f"{self.tag}-")


def _context(name: str) -> dict[str, bytes]:
    folder = files("swarmbook.machines.images") / name
    return {
        entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), key=lambda e: e.name) if entry.is_file()
    }


def carries(engine: Engine, tag: str) -> bool:
    """Tell whether an engine has an image, and its content is the one that the tag names."""
    _, dash, content = tag.rpartition(":")[2].partition("-")
    return bool(dash) and engine.image_content(tag)[:_DIGITS] == content


def ensure_image(engine: Engine, recipe: Recipe) -> tuple[str, bool]:
    """Make sure that an engine has an image of a recipe: the one that was built last, or a new one.

    Args:
        engine: The engine.
        recipe: The recipe.

    Returns:
        The tag, and whether it had to be built.

    Raises:
        WorldError: The build failed; carries its last lines.
    """
    for image in labelled_images(engine, f"{RECIPE}={recipe.hash}"):
        for tag in image.tags:
            if recipe.made(tag) and carries(engine, tag):
                return tag, False
    return _make(engine, recipe, find_base(engine, recipe.base), fresh=False), True


def rebuild_images(engine: Engine, recipes: Mapping[str, Recipe], consul: str = "") -> dict[str, str]:
    """Build images again, on a base that is pulled or bootstrapped again, with the packages of today.

    Args:
        engine: The engine.
        recipes: By name.
        consul: Where Consul is to come from, whatever its recipe says: from where it came last.

    Returns:
        The new tags, by name. Images that were there stay.

    Raises:
        WorldError: A build failed; carries its last lines.
    """
    bases = {base: find_base(engine, base, fresh=True) for base in {recipe.base for recipe in recipes.values()}}

    def one(recipe: Recipe) -> str:
        return _make(engine, recipe, bases[recipe.base], fresh=True, source=consul or recipe.source)

    return fan_out(one, recipes)


def node_image(engine: Engine) -> str | None:
    """Return the id of a machine image that is there, of whatever version; None if there is none."""
    return next((image.id for image in labelled_images(engine, f"{LABEL}=node")), None)


def remove_images(engine: Engine) -> list[str]:
    """Remove every image that this library has built; return their names."""
    removed: list[str] = []
    for image in labelled_images(engine, LABEL):
        remove_image(engine, image)
        removed += image.names
    return sorted(removed)


def _make(engine: Engine, recipe: Recipe, base: Base, *, fresh: bool, source: str = "") -> str:
    """Build an image, look what is in it, and give it the tag that says so."""
    aside = f"swarmbook/{recipe.name}:building-{secrets.token_hex(4)}"  # another process may build the same
    labels = {LABEL: recipe.name, RECIPE: recipe.hash, BASE: base.reference}
    dockerfile = dockerfile_of(recipe.name, source or recipe.source)
    with doing("here", f"docker build -t {recipe.tag}") as say:

        def show(line: str) -> None:
            say(f"docker build -t {recipe.tag}: {line}")

        _build(engine, recipe, aside, base.reference, dockerfile, labels, show, fresh=fresh)
        # The list of packages is a label: it goes with the image wherever that goes, and adds no layer to it.
        _label(engine, aside, {PACKAGES: read_contents(engine, aside)}, show)
    tag = f"{recipe.tag}-{engine.image_content(aside)[:_DIGITS]}"
    tag_image(engine, aside, tag)
    untag_image(engine, aside)
    return tag


def _build(
    engine: Engine,
    recipe: Recipe,
    tag: str,
    base: str,
    dockerfile: str,
    labels: Mapping[str, str],
    say: Callable[[str], None],
    *,
    fresh: bool,
) -> None:
    context = _context(recipe.name)
    build_image(
        engine, tag, _archive(context), dockerfile, arguments={"BASE": base}, labels=labels, say=say, fresh=fresh
    )


def _label(engine: Engine, tag: str, labels: Mapping[str, str], say: Callable[[str], None]) -> None:
    context = _archive({"Dockerfile": f"FROM {tag}\n".encode()})
    build_image(engine, tag, context, "Dockerfile", arguments={}, labels=labels, say=say)


def _archive(context: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for file, content in context.items():
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(content), 0o644  # the same on every checkout, so that the engine's cache holds
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
