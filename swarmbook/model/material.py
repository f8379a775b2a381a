"""What a run found deployed: images, packages and servers, each with its version or digest, host by host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError

__all__ = ["Kind", "Material", "found"]

_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:+~^/@-]{0,127}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Kind(str, Enum):
    """What sort of thing a material is; the word is the type of its package URL."""

    IMAGE = "docker"
    DEB = "deb"
    RPM = "rpm"
    SERVER = "generic"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Material:
    """One thing on one host.

    Args:
        host: The node it was found on.
        kind: What sort it is.
        name: An image's name without its tag, a package's, a server's.
        version: An image's tag; as a package manager or the server itself says it.
        digest: SHA-256 in hex, without its prefix, of what is known by its content: an image's id.
        origin: Whose package it is: the system's id.

    Example:
        >>> Material("sw1", Kind.SERVER, "consul", "1.20.6").uri
        'pkg:generic/consul@1.20.6'
    """

    host: str
    kind: Kind
    name: str
    version: str = ""
    digest: str = ""
    origin: str = ""

    @property
    def uri(self) -> str:
        """The package URL by which other tools know it."""
        version = f"@{quote(self.version, safe='')}" if self.version else ""
        name = quote(f"{self.origin}/{self.name}" if self.origin else self.name, safe="/")
        return f"pkg:{self.kind}/{name}{version}"

    def to_json(self) -> dict[str, str]:
        """Return it for the ledger."""
        return {**asdict(self), "kind": self.kind.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Material:
        """Read it from the ledger.

        Raises:
            KeyError, ValueError: It is none.
        """
        words = (str(data.get(key) or "") for key in ("name", "version", "digest", "origin"))
        return cls(str(data["host"]), Kind(data["kind"]), *words)


def found(host: str, kind: Kind, name: str, version: str, *, id: str = "", origin: str = "") -> Material:
    """Make a material of what a host said.

    Args:
        host: The node.
        kind: What sort it is.
        name: Its name.
        version: Its version.
        id: An image's id, ``sha256:...``.
        origin: Whose package it is.

    Raises:
        WorldError: What the host said is no name, version or id.
    """
    digest = _DIGEST.fullmatch(id)
    if not all(_WORD.fullmatch(word) for word in (name, version, origin or "x")) or bool(id) != bool(digest):
        raise WorldError(
            f"the answer of {host} is not what it should be; nothing was done with it",
            where=host,
            wanted=f"name and version of what is deployed ({kind.name.lower()})",
            seen=repr((name, version, id, origin))[:300],
            next=f"swarmbook ssh {host}, and look at what answers there",
            code=Code.ANSWER_REFUSED,
        )
    return Material(host, kind, name, version, digest[1] if digest else "", origin)
