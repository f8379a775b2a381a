"""Where Consul comes from: HashiCorp's signed release, or the last package that Debian had of it."""

from __future__ import annotations

import threading

import requests

from swarmbook.base.activity import doing
from swarmbook.base.border import foreign

__all__ = ["RELEASES", "dockerfile_of", "reachable"]

RELEASES = "https://releases.hashicorp.com"
#: Seconds in which the releases have to answer, or Debian's package is taken. They are asked only before a build.
_PATIENCE_S = 4.0


def dockerfile_of(name: str, source: str) -> str:
    """Return the file that an image is built by.

    Args:
        name: The image.
        source: The parameter ``consul_source``: ``hashicorp``, ``debian``, or ``auto`` for what can be reached.
    """
    if name != "consul":
        return "Dockerfile"
    if source == "auto":
        source = "hashicorp" if reachable(RELEASES) else "debian"
    return "Dockerfile" if source == "hashicorp" else "Dockerfile.package"


def reachable(address: str, patience_s: float = _PATIENCE_S) -> bool:
    """Tell whether a server answers, within some seconds whatever the network does: looking up a name has no limit of its own.

    Args:
        address: Its URL.
        patience_s: How long it may take.
    """
    answers = threading.Event()

    def ask() -> None:
        try:
            response = requests.head(f"{address}/consul/", timeout=patience_s, allow_redirects=False)
        except Exception as error:
            if not foreign(error):
                raise
            return
        if response.status_code < 400:
            answers.set()

    with doing("here", f"curl -I {address}/consul/"):
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(patience_s)
    return answers.is_set()
