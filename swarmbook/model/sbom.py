"""A bill of materials in CycloneDX's JSON (https://cyclonedx.org/docs/1.6/json/): what something is made of.

The document is deterministic: the same components give the same bytes, its serial number included.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

__all__ = ["Component", "Subject", "cyclonedx"]

_PURL = re.compile(
    r"pkg:(?P<type>[a-z]+)/(?:(?P<namespace>[^?#@]+)/)?(?P<name>[^/?#@]+)@(?P<version>[^?#]+)(?:[?#].*)?"
)


@dataclass(frozen=True, order=True)
class Component:
    """One thing that another is made of.

    Args:
        purl: Its package URL.
        name: Its name.
        version: Its version.
    """

    purl: str
    name: str
    version: str

    @classmethod
    def from_purl(cls, purl: str) -> Component:
        """Read a component from its package URL.

        Raises:
            ValueError: It is none, or names no version.
        """
        if not (found := _PURL.fullmatch(purl)):
            raise ValueError(f"no package URL with a version: {purl[:200]}")
        return cls(purl, unquote(found["name"]), unquote(found["version"]))

    @classmethod
    def python(cls, name: str, version: str) -> Component:
        """Return a distribution of the Python Package Index."""
        return cls(f"pkg:pypi/{quote(re.sub(r'[-_.]+', '-', name).lower())}@{quote(version)}", name, version)


@dataclass(frozen=True)
class Subject:
    """What a bill is of.

    Args:
        kind: CycloneDX's word for it: ``container`` or ``application``.
        name: Its name.
        version: Its version; an image's tag.
        sha256: Hash of its content, where it has one.
        properties: What else is known of it.
    """

    kind: str
    name: str
    version: str
    sha256: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def cyclonedx(subject: Subject, components: Iterable[Component]) -> dict[str, Any]:
    """Return a bill of materials.

    Args:
        subject: What it is of.
        components: What that is made of, in any order.
    """
    listed = [
        {"type": "library", "bom-ref": c.purl, "name": c.name, "version": c.version, "purl": c.purl}
        for c in sorted(set(components))
    ]
    about: dict[str, Any] = {
        "type": subject.kind,
        "bom-ref": f"{subject.name}@{subject.version}",
        "name": subject.name,
        "version": subject.version,
    }
    if subject.sha256:
        about["hashes"] = [{"alg": "SHA-256", "content": subject.sha256}]
    if properties := [{"name": f"swarmbook:{k}", "value": v} for k, v in sorted(subject.properties.items()) if v]:
        about["properties"] = properties
    body = {"metadata": {"component": about}, "components": listed}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    # Not drawn, but made of the content, in the form that the format wants of it: a UUID.
    serial = uuid.UUID(bytes=digest[:16], version=4)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **body,
    }
