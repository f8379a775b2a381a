"""What images stand on: a base image of a registry, or a Debian that is bootstrapped here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_images import import_image, pull_image, tag_image
from swarmbook.base.activity import doing
from swarmbook.base.errors import EngineUnavailable, WorldError
from swarmbook.machines.host_engine import install_packages
from swarmbook.machines.images.labels import LABEL

__all__ = ["Base", "find_base", "suite_of"]

_NAME = "swarmbook/base"
#: Debian's releases that can be bootstrapped, and the one that stands for every other image.
_SUITES, _SUITE = ("trixie", "bookworm"), "trixie"
_guard = threading.Lock()


@dataclass(frozen=True)
class Base:
    """A base image that is on the engine.

    Args:
        reference: What it is, once and for all: a registry's digest, or a tag that names its content.
        pulled: Whether it is the one that was asked for.
    """

    reference: str
    pulled: bool


def find_base(engine: Engine, wanted: str, *, fresh: bool = False) -> Base:
    """Get a base image.

    Args:
        engine: Where.
        wanted: The base image; pulled where that works, else a Debian base is bootstrapped in its place.
        fresh: Pull or bootstrap it also if it is there.

    Raises:
        EngineUnavailable: It can be neither pulled nor bootstrapped.
        WorldError: The bootstrap failed.
    """
    with _guard:
        if pull_image(engine, wanted, again=fresh):
            return Base(engine.image_digest(wanted) or wanted, True)
        suite = suite_of(wanted)
        latest = f"{_NAME}:{suite}"
        if fresh or not engine.has_image(latest):
            _bootstrap(engine, suite, latest)
        tag = f"{latest}-{engine.image_content(latest)[:12]}"
        tag_image(engine, latest, tag)
        return Base(tag, False)


def suite_of(wanted: str) -> str:
    """Return the release of Debian that is bootstrapped where an image cannot be pulled.

    Example:
        >>> suite_of("debian:bookworm-slim"), suite_of("registry.example.com/base:7")
        ('bookworm', 'trixie')

    Args:
        wanted: The image's name.
    """
    return next((suite for suite in _SUITES if suite in wanted.rpartition(":")[2]), _SUITE)


def _bootstrap(engine: Engine, suite: str, tag: str) -> None:
    """Build a Debian base from the mirror that this computer's own apt uses."""
    if shutil.which("mmdebstrap") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise EngineUnavailable(
                "the base image can neither be pulled nor bootstrapped",
                where="this computer",
                next=f"pull debian:{suite}-slim by hand, or apt-get install mmdebstrap",
            )
        install_packages(["mmdebstrap"])
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder) / "base.tar"
        with doing("here", f"mmdebstrap --variant=minbase {suite}   # the base image"):
            done = subprocess.run(
                ["mmdebstrap", "--variant=minbase", *left_out, suite, str(tar)],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise WorldError(
                "the base image could not be bootstrapped",
                where=f"mmdebstrap {suite}",
                seen=tail,
                next="check the mirror in /etc/apt/sources.list"
                if os.geteuid() == 0
                # Without these it finds no way to make files that belong to root.
                else "apt-get install uidmap, which lets mmdebstrap work without root; or once as root: swarmbook images PARAMS --refresh",
            )
        import_image(engine, tar, tag, f"{LABEL}=base")
