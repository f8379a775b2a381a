"""The doors through which the application goes: the endpoint on each node, and each member by itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

from swarmbook.access.hosts import Host
from swarmbook.access.node import Endpoint
from swarmbook.access.pki import Purpose
from swarmbook.access.tls import NamedContext
from swarmbook.application.session import Failed, Login, Session, log_in
from swarmbook.base.errors import UsageError
from swarmbook.base.secrets import password
from swarmbook.book.book import Book
from swarmbook.phases.endpoint.ways import ends
from swarmbook.phases.support.members import endpoint_name, endpoint_service, member_name, service_name
from swarmbook.phases.support.sql import place_of

__all__ = ["Direct", "ThroughSsh", "login_of", "of_members", "of_role"]

#: Seconds that a node is asked for where a container is.
_ASK_S = 10.0


def login_of(book: Book) -> Login:
    """Return who the application is.

    Args:
        book: The open book.

    Raises:
        UsageError: The cluster has no user for applications.
    """
    params = book.params
    if not params.mariadb_user:
        raise UsageError(
            "the cluster has no database and no user for applications, so the application cannot log in",
            where=f"cluster {book.cluster.name}",
            wanted="mariadb_user and mariadb_database in the parameters",
            seen="both empty",
            next="set both, then: swarmbook run PARAMS --from 07",
        )
    name = f"{params.mariadb_cluster_name}-password"
    return Login(
        params.mariadb_user, book.cluster.secret(name, params.mariadb_password, password), params.mariadb_database
    )


class Direct:
    """An address that this computer reaches by itself.

    Args:
        name: Of the node.
        end: The address.
        login: Who logs in.
        context: Holds the server's certificate to the name of the address.
    """

    def __init__(self, name: str, end: Endpoint, login: Login, context: NamedContext) -> None:
        self.name, self._end, self._login, self._context = name, end, login, context

    def open(self) -> Session:
        """Log in by it."""
        return log_in(f"{self.name} ({self._end})", self._end.host, self._end.port, self._login, self._context)


class ThroughSsh:
    """A container of a node, reached through the cluster's own SSH.

    Args:
        host: The node.
        service: Whose container.
        login: Who logs in.
        context: Holds the server's certificate to the name that the service has for applications.
    """

    def __init__(self, host: Host, service: str, login: Login, context: NamedContext) -> None:
        self.name = host.name
        self._host, self._service, self._login, self._context = host, service, login, context
        self._guard = threading.Lock()
        self._open = contextlib.ExitStack()
        self._port = 0

    def open(self) -> Session:
        """Log in; the container is looked for where it was last, and where that fails, the next time looked for again.

        Raises:
            SwarmbookError: It cannot be reached, or no such container runs.
        """
        try:
            return log_in(f"{self.name} through SSH", "127.0.0.1", self._local(), self._login, self._context)
        except Failed:
            with self._guard:
                self._forget()
            raise

    def close(self) -> None:
        """Listen no more."""
        with self._guard:
            self._forget()

    def _local(self) -> int:
        """Return the port of this computer that leads to the container."""
        # One asks a node that may be gone, and keeps only itself waiting.
        if not self._guard.acquire(blocking=False):
            raise Failed("another one asks already", where=self.name, seen="it is looked for", next="try again")
        try:
            if not self._port:
                place = self._host.ask(place_of(self._service), timeout_s=_ASK_S, quiet=True)
                if not place.address:
                    raise Failed(
                        f"no container of {self._service} runs on {self.name}",
                        where=self.name,
                        seen=place.ended or "none",
                        next="swarmbook status PARAMS",
                    )
                self._port = self._open.enter_context(self._host.forward(place.address, 3306))
            return self._port
        finally:
            self._guard.release()

    def _forget(self) -> None:
        self._port = 0
        self._open.close()


def of_role(book: Book, role: str) -> list[Direct | ThroughSsh]:
    """Return the doors to a role, one on each node: by its published port, or else through SSH.

    Args:
        book: The open book.
        role: Writer or reader.
    """
    login, context = login_of(book), _contexts(book)
    found = ends(book, role)
    if found:
        return [Direct(node, end, login, context(end.host)) for node, end in found.items()]
    named = context(endpoint_name(book.params, role))
    service = endpoint_service(book.params, role)
    return [ThroughSsh(book.fleet[node], service, login, named) for node in book.ready()]


def of_members(book: Book) -> Mapping[str, ThroughSsh]:
    """Return the door to each member by itself, by node.

    Args:
        book: The open book.
    """
    login, context, params = login_of(book), _contexts(book), book.params
    return {
        node: ThroughSsh(book.fleet[node], service_name(params, node), login, context(member_name(params, node)))
        for node in book.ready(params.members())
    }


def _contexts(book: Book) -> Callable[[str], NamedContext]:
    bundle = book.authority(Purpose.DATABASE).bundle
    return lambda name: NamedContext.of(name, bundle)
