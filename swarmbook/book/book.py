"""An open book: parameters, cluster and connections, on one phase; what its steps work on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from swarmbook.access.cluster import Cluster
from swarmbook.access.docker_api import Engine, connect
from swarmbook.access.fleet import Fleet, fan_out
from swarmbook.access.hosts import PATIENCE_S, Host
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.pki import Authority, Leaf, Purpose, Use, operator
from swarmbook.base.errors import EngineUnavailable
from swarmbook.book.display import display
from swarmbook.model.names import keep_names
from swarmbook.model.phases import PHASES
from swarmbook.model.rundir import RunFolder
from swarmbook.model.transcript import Transcript
from swarmbook.params import Params
from swarmbook.show.widgets import confirm_box, somebody_watches

__all__ = ["Book"]


class Book:
    """One phase of a book, open: what its steps work on.

    Args:
        phase: Number of the notebook.
        params: All parameters.
        cluster: The cluster; by default the one that the parameters name.
    """

    def __init__(self, phase: str, params: Params, *, cluster: Cluster | None = None) -> None:
        self._all = params
        self.turn_to(phase)
        self.cluster = cluster or Cluster(params.cluster)
        self.transcript = Transcript()
        #: When it was opened, on the monotonic clock.
        self.opened = time.monotonic()
        keep_names(params.names())
        self.cluster.register_secrets()
        self._fleet: Fleet | None = None
        self._asking = False
        self._engines: dict[str, Engine] = {}
        self._tunnels: dict[tuple[str, int], Endpoint] = {}
        self._open_tunnels = contextlib.ExitStack()
        self._tunnelling = threading.Lock()
        self._certifying = threading.Lock()
        self._granted: set[tuple[str, tuple[str, ...]]] = set()
        #: Seconds since 1970, member, state: what a step has seen while it waited.
        self.samples: list[tuple[float, str, str]] = []

    def turn_to(self, phase: str) -> None:
        """Go to another phase with the same connections."""
        self.phase = phase
        self.params: Params = self._all.view(phase)

    @property
    def leaving(self) -> list[str]:
        """Nodes of the inventory that the parameters name no longer, those that are left out aside."""
        return self.cluster.leaving([*self._all.nodes, *self._all.without])

    def over(self, names: Iterable[str]) -> Book:
        """Return a book of the same cluster and phase on other nodes of the inventory; it records to the same transcript.

        Args:
            names: The nodes, in order; the others are left out.
        """
        nodes = list(names)
        without = [*self._all.without, *self.cluster.leaving([*nodes, *self._all.without])]
        only = self._all.model_copy(update={"nodes": nodes, "without": without})
        other = Book(self.phase, only, cluster=self.cluster)
        other.transcript = self.transcript
        return other

    @property
    def _shrinks(self) -> bool:
        return bool(self.phase) and PHASES[self.phase].shrinks

    @property
    def nodes(self) -> list[Node]:
        """The nodes of the parameters, from the inventory; in a phase that shrinks, as far as they are there already."""
        if self._shrinks:
            return [node for node in self.cluster.nodes if node.name in self._all.nodes]
        return self.cluster.require_nodes(self._all.nodes, self.phase, self._all.without)

    def ready(self, names: Iterable[str] | None = None) -> list[str]:
        """Return those of these nodes that can be asked; of all nodes by default."""
        return list(self.params.nodes if names is None else names)

    def node(self, name: str) -> Node:
        """Return one node by name."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def fleet(self) -> Fleet:
        """SSH to every node that can be asked."""
        if self._fleet is None:
            self._fleet = Fleet(
                self.cluster, self.nodes, self.transcript, lambda: self._asking, max(PATIENCE_S, self._all.wait_timeout)
            )
        return self._fleet

    @property
    def asked(self) -> list[Host]:
        """The hosts that can be asked, if any of them was; else none."""
        return list(self._fleet) if self._fleet is not None else []

    def authority(self, purpose: Purpose) -> Authority:
        """Return the cluster's authority for a purpose.

        A cluster that was made with one authority for everything goes on trusting that one until all have the new one;
        but for the engines: they are reached through SSH, so theirs changes at once.
        """
        folder = self.cluster.pki_folder
        before = None if purpose is Purpose.ENGINE else folder
        with self._certifying:  # steps ask all nodes at once
            return Authority(folder / purpose.value, f"swarmbook {self.cluster.name} {purpose.value} CA", before)

    def leaf(self, purpose: Purpose, name: str, names: list[str], use: Use) -> Leaf:
        """Return a certificate for a purpose; the parameters say how long it lives, and when it is renewed."""
        params = self.params
        life, renew = timedelta(days=params.certificate_days), timedelta(days=params.certificate_renew_days)
        return self.authority(purpose).leaf(name, names, use, life=life, renew=renew)

    def engine(self, name: str) -> Engine:
        """Return the Docker SDK's client for a node's engine, over mutual TLS; it is kept open."""
        if name not in self._engines:
            if not Authority.there(self.cluster.pki_folder / Purpose.ENGINE.value):
                raise EngineUnavailable(
                    f"the engine's API on {name} is not set up yet",
                    where=name,
                    wanted="an authority for the engines",
                    seen="none",
                    next="swarmbook run PARAMS --only 03",
                )
            engines = self.authority(Purpose.ENGINE)
            end = self.reach(name, self.params.docker_api_port)
            self._engines[name] = connect(name, end, engines.file, operator(engines))
        return self._engines[name]

    def reach(self, name: str, port: int) -> Endpoint:
        """Return where a port of a node is reached from here; where it is not reached otherwise, through SSH.

        The tunnel stays open.
        """
        node = self.node(name)
        if not node.tunnelled(port):
            return node.reach(port)
        host = self.fleet[name]
        host.connection()  # at once for all, before it is their turn
        with self._tunnelling:
            if (name, port) not in self._tunnels:
                self._tunnels[name, port] = Endpoint(
                    "127.0.0.1", self._open_tunnels.enter_context(host.forward("127.0.0.1", port))
                )
            return self._tunnels[name, port]

    def engines(self, names: Iterable[str] | None = None) -> dict[str, Engine]:
        """Return the clients for several nodes' engines; of all nodes by default, as far as they can be asked."""
        return fan_out(self.engine, {name: name for name in self.ready(names)})

    def grants(self, word: str, things: list[str]) -> bool:
        """Tell whether the word was typed into a box for exactly these things.

        If not, show the box in a notebook that is being watched.

        Args:
            word: ORDER, DESTROY or CANCEL.
            things: All that it stands for. What was granted is granted once.
        """
        asked = (word, tuple(things))
        if asked in self._granted:
            self._granted.remove(asked)
            return True
        if somebody_watches():
            display(confirm_box(word, things, lambda: self._granted.add(asked)))
        return False

    def keep_files(self, files: Mapping[str, str]) -> None:
        """Put files into the run's folder, if a run has opened this book.

        Args:
            files: Contents by name.
        """
        if (folder := RunFolder.of_this_process()) is not None:
            for name, content in files.items():
                folder.keep(name, content)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Let hosts answer probes, and refuse everything else, while a step observes."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def close(self) -> None:
        """Close every connection."""
        for client in self._engines.values():
            client.close()
        self._open_tunnels.close()
        if self._fleet is not None:
            self._fleet.close()
