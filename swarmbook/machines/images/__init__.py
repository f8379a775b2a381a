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

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_images import build_image, import_image, labelled_images, pull_image, remove_image
from swarmbook.base.activity import doing
from swarmbook.base.errors import EngineUnavailable, WorldError
from swarmbook.machines.host_engine import install_packages

__all__ = ["LABEL", "ensure_image", "image_name", "node_image", "remove_images"]

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
    """Return the tag of an image as it would be built now.

    Args:
        name: A folder of ``swarmbook/images``.
        base: The base image it stands on, as the parameters name it.
    """
    digest = hashlib.sha256(base.encode())
    for file, content in _context(name).items():
        digest.update(file.encode() + b"\0" + content + b"\0")
    return f"swarmbook/{name}:{digest.hexdigest()[:12]}"


def ensure_image(engine: Engine, name: str, base: str) -> tuple[str, bool]:
    """Make sure that an engine has an image.

    Args:
        engine: The engine.
        name: A folder of ``swarmbook/images``.
        base: The base image; pulled where that works, else a Debian base is bootstrapped in its place.

    Returns:
        The tag, and whether it had to be built.

    Raises:
        WorldError: The build failed; carries its last lines.
    """
    tag = image_name(name, base)
    if engine.has_image(tag):
        return tag, False
    root, pulled = _base(engine, base)
    dockerfile = "Dockerfile"
    if name == "consul" and not (pulled and pull_image(engine, "hashicorp/consul:1.20")):
        dockerfile = "Dockerfile.package"
    with doing("here", f"docker build -t {tag}") as say:
        _build(engine, name, tag, root, dockerfile, say)
    return tag, True


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


def _base(engine: Engine, wanted: str) -> tuple[str, bool]:
    """Get a base image; return its name on the engine, and whether it is the one that was asked for."""
    with _base_guard:
        if pull_image(engine, wanted):
            return wanted, True
        made = f"{_BASE}:{_SUITE}"
        if not engine.has_image(made):
            _bootstrap(engine, made)
        return made, False


def _bootstrap(engine: Engine, tag: str) -> None:
    """Build a Debian base from the mirror that this computer's own apt uses."""
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
                next="check the mirror in /etc/apt/sources.list",
            )
        import_image(engine, tar, tag, f"{LABEL}=base")


def _build(engine: Engine, name: str, tag: str, base: str, dockerfile: str, say: Callable[[str], None]) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for file, content in _context(name).items():
            entry = tarfile.TarInfo(file)
            entry.size, entry.mode = len(content), 0o644  # the same on every checkout, so that the engine's cache holds
            tar.addfile(entry, io.BytesIO(content))
    build_image(
        engine,
        tag,
        context.getvalue(),
        dockerfile,
        arguments={"BASE": base},
        labels={LABEL: name},
        say=lambda line: say(f"docker build -t {tag}: {line}"),
    )
