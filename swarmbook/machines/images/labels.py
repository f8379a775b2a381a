"""The labels of images that were built here."""

from __future__ import annotations

__all__ = ["BASE", "CONSUL_SOURCE", "CONSUL_VERSION", "LABEL", "RECIPE"]

#: What the image is: the name of its folder.
LABEL = "swarmbook.image"
RECIPE = "swarmbook.recipe"
#: The base it stands on, by its digest where a registry gave it one.
BASE = "swarmbook.base"
#: Of Consul's image: ``hashicorp`` or ``debian``, and which Consul it is.
CONSUL_SOURCE = "swarmbook.consul.source"
CONSUL_VERSION = "swarmbook.consul.version"
