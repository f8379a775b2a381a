"""Images on an engine: pulled, built, imported, listed and removed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_types import labels
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.known import recognise

__all__ = [
    "Image",
    "build_image",
    "import_image",
    "labelled_images",
    "pull_image",
    "read_files",
    "remove_image",
    "tag_image",
    "untag_image",
]

_TAIL = 8
#: Bytes of an archive of a file that is read out of an image.
_MOST = 16 << 20


@dataclass(frozen=True)
class Image:
    """An image; without tags its short id names it.

    Args:
        id: As the engine has it.
        tags: All of them.
        created: When it was built, seconds since 1970.
        size: Bytes.
        labels: All of them.
    """

    id: str
    tags: tuple[str, ...]
    created: int = 0
    size: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return self.tags or (self.id.removeprefix("sha256:")[:12],)


def labelled_images(engine: Engine, label: str) -> list[Image]:
    """List the images that carry a label (``name``, or ``name=value``), the newest first."""
    with engine.asked("docker images"):
        found = engine.client.api.images(filters={"label": label})
    return [
        Image(
            str(entry["Id"]),
            tuple(tag for tag in entry.get("RepoTags") or () if tag != "<none>:<none>"),
            int(entry.get("Created") or 0),
            int(entry.get("Size") or 0),
            labels(entry.get("Labels")),
        )
        for entry in found
    ]


def remove_image(engine: Engine, image: Image) -> None:
    """Remove an image with all its tags."""
    with engine.asked(f"docker rmi {image.names[0]}"):
        engine.client.api.remove_image(image.id, force=True)


def tag_image(engine: Engine, image: str, tag: str) -> None:
    """Give an image one more tag."""
    repository, _, version = tag.rpartition(":")
    with engine.asked(f"docker tag {image} {tag}"):
        engine.client.api.tag(image, repository, version)


def untag_image(engine: Engine, tag: str) -> None:
    """Take a tag away from an image that has others."""
    with engine.asked(f"docker rmi {tag}"):
        engine.client.api.remove_image(tag, noprune=True)


def read_files(engine: Engine, image: str, paths: Sequence[str]) -> dict[str, bytes]:
    """Read files out of an image, without running anything of it.

    Args:
        engine: Where it is.
        image: Its name.
        paths: Of the files.

    Returns:
        A tar archive of each file that is there.

    Raises:
        WorldError: One is too large.
    """
    found = {}
    api = engine.client.api
    with engine.asked(f"docker create {image}"):
        container = str(api.create_container(image, ["true"])["Id"])
    try:
        for path in paths:
            try:
                with engine.asked(f"docker cp {container[:12]}:{path} -"):
                    chunks, _ = api.get_archive(container, path)
                    archive = bytearray()
                    for chunk in chunks:
                        archive += chunk
                        if len(archive) > _MOST:
                            raise WorldError("a file is too large to be read", where=f"{image}: {path}")
            except WorldError as error:
                if error.code is not Code.NOT_FOUND:
                    raise
                continue
            found[path] = bytes(archive)
    finally:
        with engine.asked(f"docker rm {container[:12]}"):
            api.remove_container(container, v=True, force=True)
    return found


def pull_image(engine: Engine, name: str, *, again: bool = False) -> bool:
    """Make sure that an engine has an image from a registry; tell whether it does now.

    Args:
        engine: Where.
        name: Its name.
        again: Ask the registry also if an image of that name is there.
    """
    there = engine.has_image(name)
    if there and not again:
        return True
    try:
        with engine.asked(f"docker pull {name}"):
            engine.client.images.pull(name)
    except WorldError:  # no registry within reach is no error: there is another way to a base
        return there
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
    fresh: bool = False,
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
        fresh: Use nothing of earlier builds.

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
            nocache=fresh,
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
