"""The two pictures of a report, from data: when each step ran, and what stands on which node.

Not those of ``drawing``: these are parts of a page, as wide as it is, down to a telephone, and take its colours.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmbook.base.markup import Markup, joined, tag
from swarmbook.base.words import cut, many
from swarmbook.model import states
from swarmbook.model.phases import PHASES
from swarmbook.model.record import Record
from swarmbook.model.results import StepRecord
from swarmbook.record.page import muted
from swarmbook.show.drawing import busy, stretches

__all__ = ["lanes", "topology"]

_WIDE = 1000
_FINE = (states.COMPLETED, *states.UNREACHED)


def _lane(name: str, bars: Iterable[tuple[float, float, str, str]], seconds: float, note: str) -> Markup:
    """Draw one row of bars, stretched to whatever width there is.

    A bar is (begin, end, class, title), in seconds since the run's begin.
    """
    scale = _WIDE / max(seconds, 0.001)
    drawn = []
    for begin, end, kind, title in bars:
        x = min(max(begin * scale, 0), _WIDE - 2)
        width = min(max((end - begin) * scale, 2), _WIDE - x)
        words = [tag("title", title)] if title else []
        drawn.append(tag("rect", *words, class_=kind, x=f"{x:.1f}", y=3, width=f"{width:.1f}", height=14))
    picture = tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {_WIDE} 20",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name}: {note}",
    )
    return tag("div", tag("span", name, class_="name"), picture, tag("span", note, class_="num"), class_="lane")


def lanes(record: Record) -> Markup:
    """Return a row per notebook with its steps, and a row per host with its commands."""
    timed = [step for step in record.steps if step.began]
    if not timed:
        return muted("No step has a time.")
    begin = min([record.began] * bool(record.began) + [step.began for step in timed])
    seconds = max([record.seconds] + [step.began + step.seconds - begin for step in timed])
    words = (
        "From the run's begin, left, to its end. Each bar is a step; neighbours differ in shade. "
        "In the gaps, kernels start and notebooks are saved."
    )
    parts: list[object] = [muted(words)]
    for chapter in record.chapters:
        own = [step for step in chapter.steps if step.began]
        bars = [_bar(step, step.began - begin, at) for at, step in enumerate(own)]
        sign = "" if chapter.status in _FINE else f" ✘ {chapter.status}"
        took = f"{chapter.seconds:.1f} s" if own else "not run"
        parts.append(_lane(f"{chapter.number} {chapter.name}{sign}", bars, seconds, took))
    hosts: dict[str, list[tuple[float, float]]] = {}
    for command in record.commands:
        hosts.setdefault(command.host, []).append((command.began - begin, command.began + command.seconds - begin))
    if hosts:
        parts += [tag("h3", "Commands, host by host"), muted("At the far right: seconds that host worked.")]
    for host, spans in sorted(hosts.items()):
        work = [(*bar, "work", "") for bar in stretches(spans, seconds / _WIDE)]
        parts.append(_lane(f"{host}, {many(len(spans), 'command')}", work, seconds, f"{busy(spans):.1f} s"))
    ticks = tag("span", *(tag("span", f"{seconds * part / 4:.0f} s") for part in range(5)), class_="axis")
    parts.append(tag("div", tag("span", class_="name"), ticks, tag("span"), class_="lane", aria_hidden="true"))
    return joined(parts)


def _bar(step: StepRecord, start: float, at: int) -> tuple[float, float, str, str]:
    kind = "badstep" if step.status not in _FINE else "step odd" if at % 2 else "step"
    title = f"{step.title}: {step.status}, {step.seconds:.1f} s from {start:.1f} s on"
    return start, start + step.seconds, kind, title


def topology(record: Record) -> Markup:
    """Return a card per node, in the swarm's frame, on the overlay network that joins them."""
    known = record.parameters
    nodes = [str(node) for node in known.get("nodes") or []]
    if not nodes:
        return muted("The run's parameters name no nodes.")
    managers = nodes[: int(known["swarm_managers"])] if isinstance(known.get("swarm_managers"), int) else []
    members = [str(node) for node in known.get("galera_nodes") or nodes] if "mariadb_cluster_name" in known else []
    cards = []
    for at, node in enumerate(nodes, 1):
        own = [check for _, check in record.checks if check.host == node]
        roles = []
        if managers:
            roles.append("◆ swarm manager" if node in managers else "◇ swarm worker")
        if "consul_https_port" in known:
            roles.append("◆ Consul server" if node in managers else "◇ Consul client")
        if node in members:
            roles.append(f"◆ Galera: {known['mariadb_cluster_name']}")
        bad, joins, place = (
            sum(not check.ok for check in own),
            bool(known.get("overlay_subnet")),
            f"{at} of {len(nodes)}",
        )
        cards.append(_card(node, record.addresses.get(node, ""), roles, len(own), bad, place, joins))
    names = [
        f"cluster {known.get('cluster', '')}",
        f"datacenter {known['datacenter']}" if known.get("datacenter") else "",
        f"overlay network {known.get('overlay_network', '')}, {known['overlay_subnet']}"
        if known.get("overlay_subnet")
        else "",
    ]
    frame = tag("div", tag("b", " · ".join(filter(None, names))), tag("div", *cards, class_="nodes"), class_="frame")
    reached = {step.number for step in record.steps if step.status == states.COMPLETED}
    if {phase.number for phase in PHASES.values() if phase.builds} <= reached:
        return frame
    return joined((frame, muted("As the parameters want it: this run did not build or see all of it.")))


def _card(node: str, address: str, roles: list[str], checks: int, bad: int, place: str, joins: bool) -> Markup:
    height, bus = 86 + 30 * len(roles), 78 + 30 * len(roles)
    drawn: list[object] = [
        tag("rect", class_="box boxbad" if bad else "box", x=6, y=4, width=198, height=bus - 20, rx=8),
        tag("text", cut(node, 14), class_="h", x=18, y=26),
        tag("text", address, class_="s", x=192, y=26, text_anchor="end"),
    ]
    for row, role in enumerate(roles):
        y = 36 + 30 * row
        drawn.append(tag("rect", class_="role", x=16, y=y, width=178, height=25, rx=4))
        drawn.append(tag("text", cut(role, 24), x=26, y=y + 17))
    sign, words, kind = ("", "not checked", "s") if not checks else ("✔ ", f"{many(checks, 'check')} ok", "tg")
    if bad:
        sign, words, kind = "✘ ", f"{bad} of {many(checks, 'check')} failed", "tb"
    drawn.append(tag("text", f"{sign}{words}", class_=kind, x=18, y=bus - 25))
    if joins:
        drawn.append(tag("line", class_="drop", x1=105, y1=bus - 16, x2=105, y2=bus))
        drawn.append(tag("line", class_="bus", x1=0, y1=bus, x2=210, y2=bus))
    label = f"{node} {address}".strip() + f": {', '.join(role[2:] for role in roles)}; {words}; node {place}"
    return tag(
        "svg", *drawn, width=210, height=height, viewBox=f"0 0 210 {height}", role="img", aria_label=label
    )  # fmt: skip
