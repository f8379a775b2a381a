"""Phase 24, third step: is all asked, do the rules work, does anything listen where it should not?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, line
from swarmbook.base.errors import WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.book.step import look
from swarmbook.model.checks import Check, CheckTable, equal
from swarmbook.params import Params
from swarmbook.phases.watch.api import PORT, Prometheus, Target, prometheus
from swarmbook.phases.watch.config import JOBS

__all__ = ["listeners", "prove", "wanted_targets"]

#: Ports of what watches; none of them on a node's own addresses.
_PORTS = (PORT, 9100, 9104)
#: Seconds beyond two looks that a target, or a rule, may take to be there.
_SLACK_S = 30


def listeners() -> Probe[tuple[str, ...]]:
    """Ask who listens on a port of what watches, on a node itself."""
    filters = " or ".join(f"sport = :{port}" for port in _PORTS)
    return Probe(
        sh("ss -Hltn @{filters} | awk '{print $4}' | as there", filters=f"( {filters} )"),
        lambda facts: _there(facts),
    )


def _there(facts: Facts) -> tuple[str, ...]:
    return tuple(line(each) for each in facts["there"] if each)


def wanted_targets(params: Params) -> Mapping[str, Sequence[str]]:
    """Return the nodes that each job should ask."""
    members = params.members()
    found = {"node": params.nodes, "member": members, "mysqld": members, "consul": params.managers()}
    return {job: sorted(found[job]) for job in JOBS}


@look()
def prove(book: Book) -> CheckTable:
    """Wait until all that should be asked answers, and see that every rule works and nothing listens on a node's own address."""
    params = book.params
    with prometheus(book) as asked:
        targets = _settled(book, asked)
        rules = asked.rules()
        firing = [alert for alert in asked.alerts() if alert.state == "firing"]
    rows: list[Check] = []
    for job, nodes in wanted_targets(params).items():
        asked_for = (each.node + ("" if each.health == "up" else " (down)") for each in targets if each.job == job)
        rows.append(equal("cluster", f"targets of {job}", ", ".join(nodes), ", ".join(sorted(asked_for))))
    broken = [name for name, health in rules if health == "err"]
    rows.append(equal("cluster", "rules that fail", "none", ", ".join(broken) or "none"))
    # What fires is no failure of this step: it is what was asked for.
    said = "; ".join(f"{alert.name} {alert.node}".strip() for alert in firing)
    rows.append(Check("cluster", "alerts that fire now", "any", said or "none", True))
    for node, found in book.fleet.each(lambda host: host.ask(listeners()), book.ready()).items():
        rows.append(equal(node, "what watches, on the node's own addresses", "nothing", ", ".join(found) or "nothing"))
    return CheckTable(rows)


def _settled(book: Book, asked: Prometheus) -> list[Target]:
    """Wait until each job asks the nodes that it should, and all answer; what is left then, the table says."""
    wanted = Counter((job, node) for job, nodes in wanted_targets(book.params).items() for node in nodes)
    last: list[Target] = []

    def done() -> tuple[bool, str]:
        last[:] = asked.targets()
        up = Counter((target.job, target.node) for target in last if target.health == "up")
        rules = [name for name, health in asked.rules() if health == "unknown"]
        late = [f"{job} {node}" for job, node in wanted - up]
        more = [f"{job} {node}" for job, node in Counter((t.job, t.node) for t in last) - wanted]
        errors = sorted({f"{target.job} {target.node}: {target.error}" for target in last if target.error})
        said = "; ".join([*(f"not up: {each}" for each in late), *(f"not ours: {each}" for each in more), *errors])
        return not late and not more and not rules, said or f"not evaluated yet: {', '.join(rules)}"

    try:
        wait_for(
            "all that is watched answers",
            done,
            timeout_s=min(book.params.wait_timeout, 2 * book.params.watch_interval + _SLACK_S),
            where=asked.node,
            next="swarmbook run PARAMS --only 24",
            first_s=0.5,
        )
    except WorldError:
        if not last:
            raise
    return last
