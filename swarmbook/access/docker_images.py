"""Images on an engine: pulled, built, imported, listed and removed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swarmbook.access.docker_api import Engine
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.known import recognise

__all__ = ["Image", "build_image", "import_image", "labelled_images", "pull_image", "remove_image"]

_TAIL = 8


@dataclass(frozen=True)
class Image:
    """An image; without tags its short id names it."""

    id: str
    tags: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.tags or (self.id.removeprefix("sha256:")[:12],)


def labelled_images(engine: Engine, label: str) -> list[Image]:
    """List the images that carry a label (``name``, or ``name=value``), the newest first."""
    with engine.asked("docker images"):
        found = engine.client.api.images(filters={"label": label})
    return [
        Image(str(entry["Id"]), tuple(tag for tag in entry.get("RepoTags") or () if tag != "<none>:<none>"))
        for entry in found
    ]


def remove_image(engine: Engine, image: Image) -> None:
    """Remove an image with all its tags."""
    with engine.asked(f"docker rmi {image.names[0]}"):
        engine.client.api.remove_image(image.id, force=True)


def pull_image(engine: Engine, name: str) -> bool:
    """Make sure that an engine has an image from a registry; tell whether it does now."""
    if engine.has_image(name):
        return True
    try:
        with engine.asked(f"docker pull {name}"):
            engine.client.images.pull(name)
    except WorldError:  # no registry within reach is no error: there is another way to a base
        return False
    return True


def import_image(engine: Engine, archive: Path, tag: str, label: str) -> None:
    """Make an image of the archive of a file system.

    Args:
        engine: Where.
        archive: A tar file.
        tag: What the image is called.
        label: ``name=value``, put on it.
    """
    repository, _, version = tag.partition(":")
    with engine.asked(f"docker import {tag}"):
        engine.client.api.import_image(src=str(archive), repository=repository, tag=version, changes=[f"LABEL {label}"])


def build_image(
    engine: Engine,
    tag: str,
    context: bytes,
    dockerfile: str,
    *,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Build an image.

    Args:
        engine: Where.
        tag: What it is called.
        context: A tar archive.
        dockerfile: Its name in there.
        arguments: Of the build.
        labels: For the image.
        say: Called with the first line of each of the engine's steps.

    Raises:
        WorldError: The build failed (``build-failed``); carries its last lines.
    """
    lines: list[str] = []
    with engine.asked(f"docker build -t {tag}"):
        for event in engine.client.api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            dockerfile=dockerfile,
            tag=tag,
            buildargs=dict(arguments),
            labels=dict(labels),
            rm=True,
            forcerm=True,
            decode=True,
        ):
            lines += (printed := str(event.get("stream", "")).splitlines())
            if printed and printed[0]:
                say(printed[0])
            if "error" in event:
                words = str(event["error"])
                raise WorldError(
                    f"the image {tag} could not be built",
                    where=dockerfile,
                    seen="\n".join([*lines[-_TAIL:], words]),
                    next="fix what the last lines report and run again: it continues from there",
                    code=recognise(words) or Code.BUILD_FAILED,
                )
