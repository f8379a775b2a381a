"""Whether the swarm has replaced the containers of services that were deployed again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from swarmbook.access.docker_types import Service

__all__ = ["Updates"]

#: The swarm forgets how the last update went when the next one is asked for, and begins a moment later, more than a moment on a busy
#: machine. One that moves no container (another placement that the same node fulfils) never begins, seconds.
_BEGINS_S = 30.0


class Updates:
    """The updates that were asked for just now."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def late(self, services: Mapping[str, Service], names: Iterable[str]) -> dict[str, str]:
        """Return those that are not through, with the state of each.

        Args:
            services: As the swarm lists them, by name.
            names: Which were deployed.
        """
        return {
            name: services[name].update or "not begun"
            for name in names
            if name in services and not self._through(services[name])
        }

    def _through(self, service: Service) -> bool:
        if service.update:
            return service.update == "completed"
        return not service.rolls or time.monotonic() - self._began > _BEGINS_S
