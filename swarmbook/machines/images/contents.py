"""What is in an image: its packages, read once when it is built and kept as a label."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_images import read_files
from swarmbook.machines.images.labels import BASE
from swarmbook.model.sbom import Component, Subject, cyclonedx

__all__ = ["PACKAGES", "image_sbom", "installed_packages", "pack", "read_contents", "unpack"]

PACKAGES = "swarmbook.packages"
_STATUS = "/var/lib/dpkg/status"
_SYSTEM = "/usr/lib/os-release"
#: What a recipe took from elsewhere than a whole package: a line each, its package URL.
_ALSO = "/usr/share/swarmbook/also"
#: Far more than any list of packages has.
_MOST = 8 << 20


def read_contents(engine: Engine, tag: str) -> str:
    """Return what is in an image, as its label says it.

    Args:
        engine: Where the image is.
        tag: Its name.

    Raises:
        WorldError: It has no list of packages.
    """
    found = {path: _only_file(archive) for path, archive in read_files(engine, tag, (_STATUS, _SYSTEM, _ALSO)).items()}
    system = dict(
        line.partition("=")[::2] for line in found.get(_SYSTEM, "").replace('"', "").splitlines() if "=" in line
    )
    distro = system.get("ID", "debian")
    release = f"{distro}-{system.get('VERSION_ID', '')}".rstrip("-")
    purls = [
        f"pkg:deb/{distro}/{name}@{quote(version, safe='')}?arch={architecture}&distro={release}"
        for name, version, architecture in installed_packages(found.get(_STATUS, ""))
    ]
    also = [line.rpartition("@") for line in found.get(_ALSO, "").splitlines() if line]
    return pack([*purls, *(f"{what}@{quote(version, safe='')}" for what, _, version in also)])


def _only_file(archive: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if (stream := tar.extractfile(member)) is not None:
                return stream.read(_MOST).decode("utf-8", errors="replace")
    return ""


def installed_packages(status: str) -> list[tuple[str, str, str]]:
    """Return name, version and architecture of each package that dpkg's status file says is installed."""
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            found.append((fields["Package"], fields["Version"], fields["Architecture"]))
    return sorted(found)


def pack(purls: Iterable[str]) -> str:
    """Encode package URLs as a label: short, and the same each time."""
    return base64.b64encode(gzip.compress("\n".join(purls).encode(), mtime=0)).decode()


def unpack(label: str) -> list[str]:
    """Decode what :func:`pack` has encoded.

    Raises:
        ValueError: It is something else, or far too long.
    """
    try:
        with gzip.open(io.BytesIO(base64.b64decode(label, validate=True))) as stream:
            text = stream.read(_MOST + 1)
    except (OSError, EOFError) as error:
        raise ValueError(str(error)) from None
    if len(text) > _MOST:
        raise ValueError("too long")
    return text.decode().splitlines()


def image_sbom(tag: str, content: str, labels: Mapping[str, str]) -> str:
    """Return the bill of materials of an image as CycloneDX's JSON; empty for an image that has no list.

    Args:
        tag: Its tag.
        content: The SHA-256 of its layers.
        labels: Its labels.
    """
    if not (label := labels.get(PACKAGES, "")):
        return ""
    name, _, version = tag.rpartition(":")
    components = [Component.from_purl(purl) for purl in unpack(label)]
    subject = Subject("container", name, version, content, {"base": labels.get(BASE, "")})
    return json.dumps(cyclonedx(subject, components), indent=1) + "\n"
