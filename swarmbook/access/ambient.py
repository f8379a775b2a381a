"""Which engine is this computer's own: not one that `swarmbook env` has pointed the shell at."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["NODE_ENGINE", "OWN_ENGINE", "VARIABLES", "own_environment"]

#: By which Docker's clients find an engine.
VARIABLES = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
#: What `swarmbook env` has set DOCKER_HOST to, and what it was before.
NODE_ENGINE, OWN_ENGINE = "SWARMBOOK_NODE_ENGINE", "SWARMBOOK_OWN_ENGINE"


def own_environment(ambient: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment without what `swarmbook env` has set in it: the node it leads to is no place for a lab.

    Example:
        >>> own_environment({"DOCKER_HOST": "tcp://10.0.0.1:2376", "SWARMBOOK_NODE_ENGINE": "tcp://10.0.0.1:2376"})["DOCKER_HOST"]
        Traceback (most recent call last):
        KeyError: 'DOCKER_HOST'

    Args:
        ambient: The environment as it is.
    """
    own = dict(ambient)
    if own.get(NODE_ENGINE) and own[NODE_ENGINE] == own.get("DOCKER_HOST"):
        for name in VARIABLES:
            own.pop(name, None)
        if before := own.get(OWN_ENGINE):
            own["DOCKER_HOST"] = before
    return own
