"""Short-lived containers that ask from inside what only an inside can know: DNS, reach, MTU."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from types import TracebackType

from swarmbook.access.commands import Script, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Probe, address
from swarmbook.base.errors import CommandFailed
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.phases.support import stack
from swarmbook.phases.support.images import image_there

__all__ = ["Probes"]

_LABEL = "swarmbook.probe"
#: Seconds that a probe outlives the longest wait for it.
_LIFE_S = 600
#: moby's words, daemon/container_operations.go; it says no more than that a manager has not answered in time.
_NO_ADDRESS_YET = "attaching to network failed"


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
        # Consul's image is on every node by now, and has ping and getent.
        image = image_there(self._book, "consul")
        labels = [f"{_LABEL}=1", f"{stack.CLUSTER_LABEL}={self._book.cluster.name}"]
        network = self._network or "bridge"
        start = _start(self._name, labels, network, image, 2 * self._book.params.wait_timeout + _LIFE_S)
        try:
            self.addresses = self._book.fleet.each(lambda host: self._started(host, start))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _started(self, host: Host, start: Probe[str]) -> str:
        """Start a node's container; return its address.

        For a network of the swarm an engine waits 20 s for a manager to assign an address, and then gives up: a busy manager
        takes longer than that.
        """

        def attempt() -> tuple[bool, str]:
            try:
                return True, host.ask(start)
            except CommandFailed as error:
                if _NO_ADDRESS_YET not in (error.seen or ""):
                    raise
                return False, error.seen or ""

        return wait_for(
            f"a container on the network {self._network or 'bridge'} starts",
            attempt,
            timeout_s=self._book.params.wait_timeout,
            where=host.name,
            next=f"swarmbook ssh {host.name} journalctl -u docker -n 50; or raise wait_timeout in the parameters",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove = sh("docker rm -f @{name} >/dev/null 2>&1", name=self._name)
        self._book.fleet.each(lambda host: host.run(remove, check=False))

    def ask(self, host: Host, script: Script) -> list[str]:
        """Run a script inside a node's container.

        Args:
            host: The node.
            script: What its shell runs.

        Returns:
            The lines it printed, errors included.
        """
        command = sh("docker exec @{name} sh -c @{script} 2>&1", name=self._name, script=script)
        return host.run(command, check=False).stdout.splitlines()


def _start(container: str, labels: Sequence[str], network: str, image: str, life_s: int) -> Probe[str]:
    """Start a container in place of those that are left over; answer with its address.

    Args:
        container: Its name.
        labels: For it; those that carry all of them are left over.
        network: The network it is on.
        image: What it is made of.
        life_s: Seconds after which it ends, should no one remove it.
    """
    return Probe(
        sh(
            """docker ps -aq @{old} | xargs -r docker rm -f >/dev/null
docker run -d --name @{name} @{labels} --network @{network} --entrypoint sleep @{image} @{life} >/dev/null || exit 1
docker inspect --format @{format} @{name} | as address""",
            old=[word for label in labels for word in ("--filter", f"label={label}")],
            labels=[word for label in labels for word in ("--label", label)],
            name=container,
            network=network,
            image=image,
            life=life_s,
            format=f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}',
        ),
        lambda facts: address("".join(facts["address"])),
    )
