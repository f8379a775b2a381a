"""Short-lived containers that ask from inside what only an inside can know: DNS, reach, MTU."""

from __future__ import annotations

import secrets
import shlex
from types import TracebackType

from swarmbook.access.hosts import Host
from swarmbook.book.book import Book
from swarmbook.machines.images import image_name
from swarmbook.phases.support import stack

__all__ = ["Probes"]

_LABEL = "swarmbook.probe"


class Probes:
    """A container on every node, removed again whatever happens.

    Args:
        book: The open book.
        network: An attachable overlay network; empty: the engine's default bridge.
    """

    def __init__(self, book: Book, network: str = "") -> None:
        self._book = book
        self._network = network
        self._name = f"swarmbook-probe-{secrets.token_hex(4)}"
        #: Each container's address on that network, by node.
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Probes:
        image = image_name(
            "consul", self._book.params.lab_base_image
        )  # it is on every node by now, and has ping and getent
        labels = [f"{_LABEL}=1", f"{stack.CLUSTER_LABEL}={self._book.cluster.name}"]
        network = self._network or "bridge"
        script = f"""docker ps -aq {" ".join(f"--filter label={label}" for label in labels)} | xargs -r docker rm -f >/dev/null
docker run -d --name {self._name} {" ".join(f"--label {label}" for label in labels)} --network {network} --entrypoint sleep {image} 600 >/dev/null || exit 1
docker inspect --format '{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}' {self._name}"""
        try:
            self.addresses = self._book.fleet.each(lambda host: host.run(script, timeout_s=90).stdout.strip())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._book.fleet.each(lambda host: host.run(f"docker rm -f {self._name} >/dev/null 2>&1", check=False))

    def ask(self, host: Host, script: str, timeout_s: float = 60) -> list[str]:
        """Run a script inside a node's container.

        Returns:
            The lines it printed, errors included.
        """
        return host.run(
            f"docker exec {self._name} sh -c {shlex.quote(script)} 2>&1", check=False, timeout_s=timeout_s
        ).stdout.splitlines()
