"""Images, built once and found again by the hash of what goes into them."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from swarmbook.base.activity import doing
from swarmbook.base.errors import EngineUnavailable, WorldError
from swarmbook.machines.host_engine import install_packages

__all__ = ["LABEL", "ensure_image", "image_name", "remove_images"]

LABEL = "swarmbook.image"
_BASE = "swarmbook/base"
_SUITE = "trixie"
_base_guard = threading.Lock()


def _context(name: str) -> dict[str, bytes]:
    folder = files("swarmbook.machines.images") / name
    return {
        entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), key=lambda e: e.name) if entry.is_file()
    }


def image_name(name: str, base: str) -> str:
    """The tag of an image as it would be built now.

    Args:
        name: A folder of ``swarmbook/images``.
        base: The base image it stands on, as the parameters name it.
    """
    digest = hashlib.sha256(base.encode())
    for file, content in _context(name).items():
        digest.update(file.encode() + b"\0" + content + b"\0")
    return f"swarmbook/{name}:{digest.hexdigest()[:12]}"


def ensure_image(client: Any, name: str, base: str) -> tuple[str, bool]:
    """Have an image on an engine.

    Args:
        client: The engine.
        name: A folder of ``swarmbook/images``.
        base: The base image; pulled where that works, else a Debian base is bootstrapped in its place.

    Returns:
        The tag, and whether it had to be built.

    Raises:
        WorldError: The build failed; carries its last lines.
    """
    tag = image_name(name, base)
    if _there(client, tag):
        return tag, False
    root, pulled = _base(client, base)
    dockerfile = "Dockerfile"
    if name == "consul" and not (pulled and _pull(client, "hashicorp/consul:1.20")):
        dockerfile = "Dockerfile.package"
    with doing("here", f"docker build -t {tag}") as say:
        _build(client, name, tag, root, dockerfile, say)
    return tag, True


def remove_images(client: Any) -> list[str]:
    """Remove every image that this library has built; returns their names."""
    removed: list[str] = []
    for image in client.images.list(filters={"label": LABEL}):
        names = image.tags or [image.short_id]
        client.images.remove(image.id, force=True)
        removed += names
    return sorted(removed)


def _there(client: Any, tag: str) -> bool:
    import docker.errors

    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _pull(client: Any, name: str) -> bool:
    import docker.errors

    if _there(client, name):
        return True
    try:
        client.images.pull(name)
    except (docker.errors.DockerException, OSError):
        return False
    return True


def _base(client: Any, wanted: str) -> tuple[str, bool]:
    """The base image's name on the engine, and whether it is the one that was asked for."""
    with _base_guard:
        if _pull(client, wanted):
            return wanted, True
        made = f"{_BASE}:{_SUITE}"
        if not _there(client, made):
            _bootstrap(client, made)
        return made, False


def _bootstrap(client: Any, tag: str) -> None:
    """A Debian base from the mirror this computer's own apt uses."""
    if shutil.which("mmdebstrap") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise EngineUnavailable(
                "the base image can neither be pulled nor bootstrapped",
                where="this computer",
                next="pull debian:trixie-slim by hand, or apt-get install mmdebstrap",
            )
        install_packages(["mmdebstrap"])
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder) / "base.tar"
        with doing("here", f"mmdebstrap --variant=minbase {_SUITE}   # the base image"):
            done = subprocess.run(
                ["mmdebstrap", "--variant=minbase", *left_out, _SUITE, str(tar)],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise WorldError(
                "the base image could not be bootstrapped",
                where=f"mmdebstrap {_SUITE}",
                seen=tail,
                next="look at the mirror in /etc/apt/sources.list",
            )
        repository, _, name = tag.partition(":")
        client.api.import_image(src=str(tar), repository=repository, tag=name, changes=[f"LABEL {LABEL}=base"])


def _build(client: Any, name: str, tag: str, base: str, dockerfile: str, say: Callable[[str], None]) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for file, content in _context(name).items():
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(content), 0o644  # the same on every checkout, so that the engine's cache holds
            tar.addfile(entry, io.BytesIO(content))
    context.seek(0)
    lines: list[str] = []
    for event in client.api.build(
        fileobj=context,
        custom_context=True,
        dockerfile=dockerfile,
        tag=tag,
        buildargs={"BASE": base},
        labels={LABEL: name},
        rm=True,
        forcerm=True,
        decode=True,
    ):
        lines += (said := str(event.get("stream", "")).splitlines())
        if said and said[0]:
            say(f"docker build -t {tag}: {said[0]}")
        if "error" in event:
            tail = "\n".join([*lines[-8:], event["error"]])
            raise WorldError(
                f"the image {name} could not be built",
                where=f"swarmbook/machines/images/{name}/{dockerfile}",
                seen=tail,
                next="mend what the last lines say and run again: it goes on from there",
            )
