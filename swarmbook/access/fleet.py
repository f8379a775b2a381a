"""The hosts of a cluster, asked and changed all at once."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from swarmbook.access.cluster import Cluster
from swarmbook.access.hosts import PATIENCE_S, Host
from swarmbook.access.node import Node
from swarmbook.base.border import border
from swarmbook.base.errors import SwarmbookError
from swarmbook.model.transcript import Transcript

__all__ = ["Fleet", "fan_out"]

T = TypeVar("T")
_AT_ONCE = 16  # sshd's MaxStartups drops unauthenticated connections from 10 on; threads cost memory beyond use


class Fleet:
    """The hosts of a cluster; fans out over them, bounded, keeping every error."""

    def __init__(
        self,
        cluster: Cluster,
        nodes: Iterable[Node],
        transcript: Transcript,
        only_asked: Callable[[], bool] = lambda: False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.hosts: dict[str, Host] = {
            node.name: Host(node, cluster, transcript, only_asked=only_asked, patience_s=patience_s) for node in nodes
        }

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def __len__(self) -> int:
        return len(self.hosts)

    def each(self, work: Callable[[Host], T], names: Iterable[str] | None = None) -> dict[str, T]:
        """Do something on many hosts at once.

        Example:
            >>> book.fleet.each(lambda host: host.run(sh("uname -r")).stdout.strip())  # doctest: +SKIP
            {'sw1': '6.1.0-28-amd64', 'sw2': '6.1.0-28-amd64', 'sw3': '6.1.0-28-amd64'}

        Args:
            work: Called with each host.
            names: On which; all by default.

        Returns:
            A result per host, in order.

        Raises:
            SwarmbookError: The first error, naming every host that failed.
        """
        chosen = [self.hosts[name] for name in (self.hosts if names is None else names)]
        return fan_out(work, {host.name: host for host in chosen})

    def leave_out(self, names: Iterable[str]) -> None:
        """Ask these no more."""
        for name in names:
            if (host := self.hosts.pop(name, None)) is not None:
                host.close()

    def close(self) -> None:
        """Close every connection."""
        for host in self:
            host.close()


K = TypeVar("K")


def _bordered(work: Callable[[K], T], name: str, item: K) -> T:
    with border(where=name):
        return work(item)


def fan_out(work: Callable[[K], T], items: Mapping[str, K]) -> dict[str, T]:
    """Do something for several named things at once; all are finished before an error is raised.

    Example:
        >>> fan_out(len, {"sw1": "two", "sw2": "three"})
        {'sw1': 3, 'sw2': 5}

    Raises:
        SwarmbookError: The first error in order; its ``where`` names the others that failed as well.
    """
    if not items:
        return {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(items))) as pool:
        futures = {name: pool.submit(_bordered, work, name, item) for name, item in items.items()}
    # Leaving the pool has waited for all of them.
    failed = {name: error for name, future in futures.items() if (error := future.exception())}
    if failed:
        first = next(iter(failed.values()))
        if isinstance(first, SwarmbookError) and len(failed) > 1:
            others = ", ".join(list(failed)[1:])
            first.where = f"{first.where or next(iter(failed))}; failed as well: {others}"
            further = [
                f"{name}: {getattr(error, 'what', None) or repr(error)}" for name, error in list(failed.items())[1:]
            ]
            first.seen = "\n".join([*filter(None, [first.seen]), *further])
        raise first
    return {name: future.result() for name, future in futures.items()}
