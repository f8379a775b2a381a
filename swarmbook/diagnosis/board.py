"""A live status board of the nodes in a notebook: machine, engine, manager, Consul, Galera, refreshed while steps run.

It rewrites one output, as a picture and as a table with the same content: so it needs no widget, and a saved notebook has its
last state. It uses connections of its own and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from swarmbook.access.cluster import Cluster
from swarmbook.base.markup import tag
from swarmbook.base.secrets import mask
from swarmbook.book.book import Book
from swarmbook.diagnosis.shared_look import Page, SharedLook
from swarmbook.diagnosis.status import Row, status
from swarmbook.model.checks import Table
from swarmbook.model.health import Agent, ContainerState, EngineState, GaleraState, Role, SwarmState
from swarmbook.params import Params
from swarmbook.show.drawing import Card, Part, as_image, topology
from swarmbook.show.widgets import somebody_watches

__all__ = ["Board", "cards", "watch"]

_PARTS = ("machine", "engine", "manager", "Consul", "Galera")
#: Seconds between looks, when something changes and when nothing does; and after how many it stops.
_FIRST_S, _SLOWEST_S, _ENOUGH_S = 1.0, 3.0, 3600.0
#: How many times as long as a look takes it rests at least, when something changes and when nothing does: a look at nodes that are
#: busy takes longer, and a board that did not wait would add to that.
_REST, _REST_LONG, _REST_MOST_S = 3, 12, 20.0
#: Seconds after which a look says nothing any more of what was well: no one has watched since, and it may be another cluster.
_FORGET_S = 120.0


def cards(names: Sequence[str], rows: Sequence[Row], was: set[tuple[str, str]]) -> list[Card]:
    """Build a card for each node, with the state of its parts.

    Args:
        names: The nodes of the parameters.
        rows: Of those that could be asked, or did not answer.
        was: Node and part that were well once, to which is added: what was well and is not any more is broken, not still to come.
    """
    found = {row.node: row for row in rows}
    return [Card(name, tuple(_part(name, part, found.get(name), was) for part in _PARTS)) for name in names]


def _part(name: str, part: str, row: Row | None, was: set[tuple[str, str]]) -> Part:
    word, fine, coming = _word(part, row)
    if fine:
        was.add((name, part))
        return Part(part, word, "ok")
    how = "bad" if (name, part) in was else "wait" if coming else "none"
    return Part(part, word, how)


def _word(part: str, row: Row | None) -> tuple[str, bool, bool]:
    """Return the word for a part, whether it is well, and whether it is on its way."""
    if row is None:
        return ("not there" if part == "machine" else ""), False, False
    if part == "machine":
        return ("answers" if row.reachable else "no answer"), row.reachable, not row.reachable
    if not row.reachable:
        return "", False, False
    if part == "engine":
        return str(row.engine), row.engine is EngineState.ACTIVE, row.engine is EngineState.ACTIVATING
    if part == "manager":
        active = row.swarm is SwarmState.ACTIVE
        return _shown(row.swarm, row.role if active else None), active, row.swarm is SwarmState.PENDING
    if part == "Consul":
        running = row.consul is ContainerState.RUNNING
        return _shown(row.consul, row.agent if running else None), running, row.consul is not ContainerState.NONE
    if row.galera is GaleraState.NOT_WANTED:
        return "none wanted", True, False
    return (str(row.galera) if row.serves else row.member), row.serves, row.galera is not GaleraState.ABSENT


def _shown(state: SwarmState | ContainerState, more: Role | Agent | None) -> str:
    """Say what a node is, once it is that; until then, how far it is; nothing where there is nothing."""
    return str(more) if more is not None else "" if str(state) == "none" else str(state)


def table(seen: Sequence[Card]) -> Table:
    """Render the cards as a table."""
    return Table(["node", *_PARTS], [[card.name, *map(str, card.parts)] for card in seen])


class Board:
    """See the module.

    Args:
        params: The notebook's; what it does not declare has its default.
        cluster: The cluster.
        show: Writes the output: HTML and text.
        ask: How the nodes are.
        first_s: Seconds between looks when something changes.
        slowest_s: And when nothing does.
        shared: What other boards of the cluster see, too.
    """

    def __init__(
        self,
        params: Params,
        cluster: Cluster,
        show: Callable[[str, str], None],
        *,
        ask: Callable[[], Sequence[Row]] | None = None,
        first_s: float = _FIRST_S,
        slowest_s: float = _SLOWEST_S,
        shared: SharedLook | None = None,
    ) -> None:
        self._params, self._cluster, self._show = params, cluster, show
        self._ask = ask or self._look
        self._first_s, self._slowest_s = first_s, slowest_s
        self._shared = shared or SharedLook(_key(params, cluster))
        self._over = threading.Event()
        self._book: Book | None = None
        self._inventory = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start refreshing, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop refreshing; the last state stays."""
        self._over.set()

    def _run(self) -> None:
        began, shown = time.monotonic(), 0.0
        while not self._over.is_set() and time.monotonic() - began < _ENOUGH_S:
            page = self._shared.take(self._page)
            if page is not None and page.at != shown:
                shown = page.at
                with contextlib.suppress(Exception):  # the notebook may be closed
                    self._show(page.html, page.text)
            # Another board may be looking just now: what it sees is shown at the next turn.
            self._over.wait(max(self._first_s, page.due_s() if page is not None else 0.0))
        if self._book is not None:
            self._book.close()

    def _page(self, before: Page | None) -> Page:
        """Look at the nodes."""
        asked, asked_at = time.monotonic(), time.time()
        watched = before is not None and asked_at - before.at < _FORGET_S
        was = {(str(node), str(part)) for node, part in before.was} if before is not None and watched else set()
        try:
            seen = cards(self._params.nodes, self._ask(), was)
            rows = table(seen)
            words, same = rows.to_text(), before is not None and rows.to_text() == before.words
            title, clock = f"Cluster {self._cluster.name}", time.strftime("%H:%M:%S")
            # The table is for readers who cannot see the picture, and for pages that may hold none.
            picture = as_image(mask(topology(seen, title)))
            details = tag("details", tag("summary", f"as a table; updated {clock}"), rows.to_html())
            html, text = mask(f"{picture}{details}"), mask(f"{title}, updated {clock}\n{words}")
        except Exception as error:  # reported, and no more: a board that fails must not disturb the work below it
            words, same = "", True
            text = mask(f"the board cannot refresh: {getattr(error, 'what', None) or error}")
            html = tag("p", "✘ ", text)
        pause, times = (self._slowest_s, _REST_LONG) if same else (self._first_s, _REST)
        rest_s = max(pause, min(times * (time.monotonic() - asked), _REST_MOST_S))
        return Page(html, text, words, sorted(was), time.time(), rest_s)

    def _look(self) -> Sequence[Row]:
        """Ask over connections of its own; reconnect when machines have come or gone."""
        inventory = self._cluster.file.read_text() if self._cluster.exists() else ""
        if inventory != self._inventory and self._book is not None:
            self._book.close()
            self._book = None
        self._inventory = inventory
        known = [node.name for node in self._cluster.nodes if node.name in self._params.nodes] if inventory else []
        if not known:
            return []
        if self._book is None:
            managers = max((n for n in (1, 3, 5, 7) if n <= min(self._params.swarm_managers, len(known))), default=1)
            some = {
                "nodes": known,
                "swarm_managers": managers,
                "galera_nodes": [name for name in self._params.galera_nodes if name in known],
            }
            self._book = Book(
                "", self._params.model_copy(update=some), cluster=Cluster(self._cluster.name, self._cluster.root)
            )
        return status(self._book)


def _key(params: Params, cluster: Cluster) -> str:
    """Name what a board asks, and of whom: where one parameter that it goes by differs, it is another look."""
    asked = (params.nodes, params.galera_nodes, params.mariadb_cluster_name)
    return f"{cluster.root} {cluster.name} {asked}"


_boards: list[Board] = []


def watch(params: Params, cluster: Cluster) -> None:
    """Show a board where a person may be watching: in a notebook that no run executes. ``SWARMBOOK_BOARD=off`` shows none."""
    for board in _boards:
        board.stop()
    _boards.clear()
    if not somebody_watches() or os.environ.get("SWARMBOOK_BOARD") == "off":
        return
    from IPython.display import display

    handle: Any = display(
        {"text/plain": "asking the nodes", "text/html": "<p>asking the nodes</p>"}, raw=True, display_id=True
    )
    board = Board(params, cluster, lambda page, text: handle.update({"text/html": page, "text/plain": text}, raw=True))
    _boards.append(board)
    board.start()
