"""What the members' agents say: who the writer is, who is open, who is fenced. One probe on each node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, container_id, line, name, number
from swarmbook.base.errors import OutOfOrder
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.support.members import member_name, of_service, service_name

__all__ = ["AGENT_PORT", "Replica", "Says", "agents_of", "ask_agents", "writer_among"]

#: Where a member's agent answers, on the overlay alone; ``agent.py`` of the galera image has the same.
AGENT_PORT = 9200


@dataclass(frozen=True)
class Replica:
    """How a member follows another cluster.

    Args:
        state: ``runs``, ``connects``, ``no source`` or ``stopped``.
        seconds: By how much it is behind, as far as it knows.
        received: GTIDs up to which it has received.
        error: What stopped it, or keeps it from connecting.
    """

    state: str
    seconds: int | None = None
    received: str = ""
    error: str = ""


@dataclass(frozen=True)
class Says:
    """What one member's agent says.

    Args:
        container: The member's.
        writer: Its member is the writer, and open.
        reader: Its member is Synced.
        read_only: Its member is fenced.
        state: wsrep's word.
        term: Of the election; 0 where there is none.
        writer_is: Name of the member that is the writer, as far as this one knows.
        asked: Name of the member that is to be the next one; None where the agent is of a version that does not say.
        follows: The cluster that is followed, so that no member is open; empty where none is.
        replica: How it is followed, where this member does so.
    """

    container: str
    writer: bool = False
    reader: bool = False
    read_only: bool = True
    state: str = ""
    term: int = 0
    writer_is: str = ""
    asked: str | None = None
    follows: str = ""
    replica: Replica | None = None

    @property
    def role(self) -> str:
        """What its member is, in a word."""
        if self.replica is not None:
            return "replica"
        return "writer" if self.writer else "reader" if self.reader else "neither"


_SCRIPT = """c=$(@!{running} -q | head -n 1)
[ -n "$c" ] || exit 0
echo "$c" | as container
docker exec "$c" curl -s -m 3 http://127.0.0.1:@{port}/ 2>/dev/null | as says"""


def agents_of(params: Params, node: str) -> Probe[Says | None]:
    """Ask the agent of a node's member; None where no member runs, or it has no agent.

    Args:
        params: The parameters.
        node: The node's name.
    """
    return Probe(sh(_SCRIPT, running=of_service(service_name(params, node)), port=AGENT_PORT), read_says)


def read_says(facts: Facts) -> Says | None:
    """Read the facts of :func:`agents_of`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    said = "".join(facts.get("says", ())).strip()
    if not said:
        return None
    data = json.loads(said)
    who, asked, standby = str(data["writer_is"]), data.get("asked"), data.get("standby")
    return Says(
        container_id("".join(facts["container"])),
        data["writer"] is True,
        data["reader"] is True,
        data["read_only"] is not False,
        line(str(data["state"])),
        number(str(data["term"])),
        name(who) if who else "",
        None if asked is None else name(str(asked)) if asked else "",
        line(str(standby["of"])) if standby else "",
        _replica(standby) if standby and "state" in standby else None,
    )


def _replica(said: Mapping[str, object]) -> Replica:
    seconds = said["seconds"]
    return Replica(
        line(str(said["state"])),
        None if seconds is None else number(str(seconds)),
        line(str(said["received"])),
        line(str(said["error"])),
    )


def ask_agents(book: Book, *, all_of_them: bool = True) -> Mapping[str, Says]:
    """Ask the agents of all members, by node.

    Args:
        book: The open book.
        all_of_them: Off to go on with those that answer, if any does.

    Raises:
        OutOfOrder: A member does not run, or is of a version without an agent.
    """
    found = book.fleet.each(
        lambda host: host.ask(agents_of(book.params, host.name), quiet=True), book.ready(book.params.members())
    )
    silent = [name for name, says in found.items() if says is None]
    if len(silent) == len(found) or (silent and all_of_them):
        raise OutOfOrder(
            f"run 07 first: no member with an agent on {', '.join(silent) or 'any node'}",
            where=", ".join(silent),
            wanted="a member on every node of galera_nodes, of this version's image",
            next="swarmbook run PARAMS --from 07",
        )
    return {name: says for name, says in found.items() if says is not None}


def writer_among(params: Params, says: Mapping[str, Says]) -> str:
    """Return the node whose member is the writer, by the newest that is known of the election; nothing where there is none.

    Args:
        params: The parameters.
        says: What the agents say, by node.
    """
    newest = max(says.values(), key=lambda one: one.term)
    return next((node for node in says if newest.term and member_name(params, node) == newest.writer_is), "")
