"""One run at a time on the nodes themselves, from whatever computer."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import socket
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone

from swarmbook.access.cluster import Cluster
from swarmbook.access.fleet import fan_out
from swarmbook.access.hosts import Host
from swarmbook.access.lease import SILENCE_S, Lease
from swarmbook.base.codes import Code
from swarmbook.base.errors import LockHeld
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book

__all__ = ["leased"]

_MARGIN_S = 30


def _folder(cluster: Cluster) -> str:
    """Tell a cluster's folder from every copy of it, here or elsewhere."""
    at = cluster.folder.stat()
    return hashlib.sha256(f"{uuid.getnode()} {socket.gethostname()} {at.st_dev}:{at.st_ino}".encode()).hexdigest()[:16]


@contextlib.contextmanager
def leased(book: Book, what: str) -> Iterator[None]:
    """Hold all nodes that a step has looked at while it changes something on them.

    A run of this same folder that was cut off from a node may still hold it there: it has ended, for the folder's own lock
    is ours. It is waited for until the node has noticed.

    Args:
        book: The open book.
        what: What is going on, for the message that another run gets.

    Raises:
        LockHeld: Another run changes something on one of them; names it, and since when.
    """
    since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    holder = f"{getpass.getuser()}@{socket.gethostname()}: {what}, since {since}"
    hosts = {host.name: host for host in book.asked}
    folder = _folder(book.cluster)
    held: dict[str, Lease] = {}

    def take(host: Host) -> Lease:
        def ask() -> tuple[bool, str]:
            held[host.name] = lease = Lease(host, book.cluster.name, holder, folder)
            return not lease.lost, lease.holder or ""

        wait_for(
            f"{host.name} notices that an earlier run has ended",
            ask,
            timeout_s=SILENCE_S + _MARGIN_S,
            where=host.name,
            next="run it again",
            code=Code.LOCK_HELD,
        )
        return held[host.name]

    try:
        leases = fan_out(take, hosts)
        busy = {name: lease.holder for name, lease in leases.items() if lease.holder is not None}
        if busy:
            raise LockHeld(
                f"the cluster {book.cluster.name} is being worked on from another computer, or another copy of its folder",
                where=", ".join(busy),
                wanted="no other run",
                seen="\n".join(dict.fromkeys(busy.values())),
                next="wait for it and run again; a run that was lost is forgotten after 90 s",
                code=Code.LOCK_HELD,
            )
        yield
    finally:
        fan_out(Lease.release, held)
