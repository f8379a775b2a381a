"""What lies where a backup is to be restored to: one probe on each node."""

from __future__ import annotations

from dataclasses import dataclass

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, line, number, word
from swarmbook.params import Params
from swarmbook.phases.restore.placing import REACHED
from swarmbook.phases.support.member_data import RESTORED, data_folder
from swarmbook.phases.support.members import of_service, service_name

__all__ = ["Place", "place_on", "read_place"]

#: More schemas than this are counted, and not named.
_NAMED = 40
_MOST = 10_000


@dataclass(frozen=True)
class Place:
    """A member's data folder on its node.

    Args:
        folder: It is there.
        data: It holds a datadir.
        founded: The cluster was founded there, or it was begun.
        mark: The snapshot that was put in place there, until a member has started on it.
        databases: Schemas in the datadir.
        replaced: How many earlier restores have left what they replaced: the highest number.
        free: Bytes that are free there.
        running: A member's container runs.
        reached: How far binary logs were replayed on what was put in place; nothing where none were.
    """

    folder: bool = False
    data: bool = False
    founded: bool = False
    mark: str = ""
    databases: tuple[str, ...] = ()
    replaced: int = 0
    free: int = 0
    running: bool = False
    reached: str = ""


_SCRIPT = """
d=@{folder}
{ [ ! -d "$d" ] || echo folder
{ [ ! -d "$d/data/mysql" ] && [ ! -e "$d/data/ibdata1" ]; } || echo data
{ [ ! -e "$d/bootstrapped" ] && [ ! -e "$d/bootstrap.used" ]; } || echo founded; } | as there
cut -d ' ' -f 1 "$d/@{mark}" 2>/dev/null | as mark
cat "$d/@{to}" 2>/dev/null | as reached
for f in "$d"/data/*/db.opt; do [ ! -e "$f" ] || basename "$(dirname "$f")"; done | as databases
ls -1 "$d" 2>/dev/null | sed -n 's/^replaced-\\([0-9]\\{1,6\\}\\)$/\\1/p' | as replaced
p=$d; while [ ! -d "$p" ]; do p=$(dirname "$p"); done
df --output=avail -B1 "$p" | tail -n 1 | tr -d ' ' | as free
@!{running} -q | as running
"""


def place_on(params: Params, node: str) -> Probe[Place]:
    """Ask what lies on a node.

    Args:
        params: The parameters.
        node: Its name.
    """
    running = of_service(service_name(params, node))
    return Probe(sh(_SCRIPT, folder=data_folder(params), mark=RESTORED, to=REACHED, running=running), read_place)


def read_place(facts: Facts) -> Place:
    """Read the facts of :func:`place_on`.

    Raises:
        ValueError: A fact is not what it should be.
    """
    there = set(facts["there"])
    names = sorted(line(each) for each in facts["databases"] if each)
    if len(names) > _MOST:
        raise ValueError(f"{len(names)} schemas")
    named = (*names[:_NAMED], *([f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []))
    return Place(
        "folder" in there,
        "data" in there,
        "founded" in there,
        word("".join(facts["mark"])),
        named,
        max((number(each, 999_999) for each in facts["replaced"] if each), default=0),
        number("".join(facts["free"])),
        any(facts["running"]),
        line(" ".join(facts.get("reached", ()))),
    )
