"""The Python environment that a run ran in, as a bill of materials in the run's folder."""

from __future__ import annotations

import json
import platform
from importlib import metadata

from swarmbook import __version__
from swarmbook.model.sbom import Component, Subject, cyclonedx

__all__ = ["FILE", "python_sbom"]

FILE = "sbom/python.cdx.json"


def python_sbom() -> str:
    """Return the bill of materials of this environment, as CycloneDX's JSON."""
    components = []
    for found in metadata.distributions():
        # Parsing all of METADATA, descriptions included, for two lines of it would take a second.
        text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
        head = dict(line.partition(": ")[::2] for line in text.partition("\n\n")[0].splitlines())
        if head.get("Name") and head.get("Version") and head["Name"].lower() != "swarmbook":
            components.append(Component.python(head["Name"], head["Version"]))
    python = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    subject = Subject("application", "swarmbook", __version__, properties=python)
    return json.dumps(cyclonedx(subject, components), indent=1) + "\n"
