"""What a run found deployed: images, packages and servers, each with its version or digest, host by host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

__all__ = ["Kind", "Material"]


class Kind(str, Enum):
    """What sort of thing a material is; the word is the type of its package URL."""

    IMAGE = "oci"
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

    Example:
        >>> Material("sw1", Kind.SERVER, "consul", "1.20.6").uri
        'pkg:generic/consul@1.20.6'
    """

    host: str
    kind: Kind
    name: str
    version: str = ""
    digest: str = ""

    @property
    def uri(self) -> str:
        """The package URL by which other tools know it."""
        version = f"@{quote(self.version, safe='')}" if self.version else ""
        return f"pkg:{self.kind}/{quote(self.name, safe='/')}{version}"

    def to_json(self) -> dict[str, str]:
        """Return it for the ledger."""
        return {
            "host": self.host,
            "kind": self.kind.value,
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Material:
        """Read it from the ledger.

        Raises:
            KeyError, ValueError: It is none.
        """
        name, version, digest = (str(data.get(key) or "") for key in ("name", "version", "digest"))
        return cls(str(data["host"]), Kind(data["kind"]), name, version, digest)
