"""The two pictures of a report, from data: when each step ran, and what stands on which node.

Not those of ``drawing``: these are parts of a page, as wide as it is, down to a telephone, and take its colours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from swarmbook.model.phases import PHASES
from swarmbook.record.record import Record
from swarmbook.show.drawing import busy, stretches

__all__ = ["lanes", "topology"]

_WIDE = 1000


def _e(text: object) -> str:
    return html.escape(str(text))


def _lane(name: str, bars: Iterable[tuple[float, float, str, str]], seconds: float, note: str) -> str:
    """One row: bars of (begin, end, class, title) in seconds since the run's begin, stretched to whatever width there is."""
    scale = _WIDE / max(seconds, 0.001)
    drawn = []
    for begin, end, kind, title in bars:
        x = min(max(begin * scale, 0), _WIDE - 2)
        width = min(max((end - begin) * scale, 2), _WIDE - x)
        told = f"<title>{_e(title)}</title>" if title else ""
        drawn.append(f'<rect class="{kind}" x="{x:.1f}" y="3" width="{width:.1f}" height="14">{told}</rect>')
    picture = f'<svg viewBox="0 0 {_WIDE} 20" preserveAspectRatio="none" role="img" aria-label="{_e(f"{name}: {note}")}">{"".join(drawn)}</svg>'
    return f'<div class="lane"><span class="name">{_e(name)}</span>{picture}<span class="num">{_e(note)}</span></div>'


def lanes(record: Record) -> str:
    """A row per notebook with its steps, and a row per host with its commands."""
    timed = [step for step in record.steps if step.began]
    begin = min([record.began] * bool(record.began) + [step.began for step in timed], default=0.0)
    seconds = max([record.seconds] + [step.began + step.seconds - begin for step in timed])
    if not timed:
        return '<p class="muted">No step has a time.</p>'
    parts = []
    for number, name, status, took, _ in record.chapters:
        steps = [step for step in timed if step.number == number]
        bars = []
        for at, step in enumerate(steps):
            start = step.began - begin
            kind = (
                "badstep"
                if step.status not in ("completed", "not-run", "pending")
                else "step odd"
                if at % 2
                else "step"
            )
            bars.append(
                (
                    start,
                    start + step.seconds,
                    kind,
                    f"{step.title}: {step.status}, {step.seconds:.1f} s from {start:.1f} s on",
                )
            )
        sign = {"completed": "", "not-run": "", "pending": ""}.get(status, f" ✘ {status}")
        parts.append(_lane(f"{number} {name}{sign}", bars, seconds, f"{took:.1f} s" if steps else "not run"))
    hosts: dict[str, list[tuple[float, float]]] = {}
    for command in record.commands:
        hosts.setdefault(command.host, []).append((command.began - begin, command.began + command.seconds - begin))
    if hosts:
        parts.append('<h3>Commands, host by host</h3><p class="muted">At the far right: seconds that host worked.</p>')
        for host, spans in sorted(hosts.items()):
            parts.append(
                _lane(
                    f"{host}, {len(spans):,} commands",
                    [(*bar, "work", "") for bar in stretches(spans, seconds / _WIDE)],
                    seconds,
                    f"{busy(spans):.1f} s",
                )
            )
    ticks = "".join(f"<span>{seconds * part / 4:.0f} s</span>" for part in range(5))
    axis = f'<div class="lane" aria-hidden="true"><span class="name"></span><span class="axis">{ticks}</span><span></span></div>'
    return f'<p class="muted">From the run\'s begin, left, to its end. Each bar is a step; neighbours differ in shade. In the gaps, kernels start and notebooks are saved.</p>{"".join(parts)}{axis}'


def topology(record: Record) -> str:
    """A card per node, in the swarm's frame, on the overlay network that joins them."""
    known = record.parameters
    nodes = [str(node) for node in known.get("nodes") or []]
    if not nodes:
        return '<p class="muted">The run\'s parameters name no nodes.</p>'
    managers = nodes[: int(known["swarm_managers"])] if isinstance(known.get("swarm_managers"), int) else []
    reached = {step.number for step in record.steps if step.status == "completed"}
    members = [str(node) for node in known.get("galera_nodes") or nodes] if "mariadb_cluster_name" in known else []
    addresses = {}
    for check in record.checks:
        if check.host in nodes and (found := re.search(r"\bat (\d+\.\d+\.\d+\.\d+)\b", check.name)):
            addresses[check.host] = found[1]
    cards = []
    for at, node in enumerate(nodes):
        checks = [check for check in record.checks if check.host == node]
        bad = sum(not check.ok for check in checks)
        roles = []
        if managers:
            roles.append("◆ swarm manager" if node in managers else "◇ swarm worker")
        if "consul_https_port" in known:
            roles.append("◆ Consul server" if node in managers else "◇ Consul client")
        if node in members:
            roles.append(f"◆ Galera: {known['mariadb_cluster_name']}")
        cards.append(
            _card(
                node,
                addresses.get(node, ""),
                roles,
                len(checks),
                bad,
                at,
                len(nodes),
                bool(known.get("overlay_subnet")),
            )
        )
    network = (
        f"overlay network {known.get('overlay_network', '')}, {known['overlay_subnet']}"
        if known.get("overlay_subnet")
        else ""
    )
    names = [
        f"cluster {known.get('cluster', '')}",
        f"datacenter {known['datacenter']}" if known.get("datacenter") else "",
        network,
    ]
    head = " · ".join(_e(name) for name in names if name)
    note = (
        ""
        if {phase.number for phase in PHASES.values() if phase.builds} <= reached
        else '<p class="muted">As the parameters want it: this run did not build or see all of it.</p>'
    )
    return f'<div class="frame"><b>{head}</b><div class="nodes">{"".join(cards)}</div></div>{note}'


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _card(node: str, address: str, roles: list[str], checks: int, bad: int, at: int, total: int, joined: bool) -> str:
    height, bus = 86 + 30 * len(roles), 78 + 30 * len(roles)
    lines = [f'<rect class="box{" boxbad" if bad else ""}" x="6" y="4" width="198" height="{bus - 20}" rx="8"/>']
    lines.append(
        f'<text class="h" x="18" y="26">{_e(_cut(node, 14))}</text><text class="s" x="192" y="26" text-anchor="end">{_e(address)}</text>'
    )
    for row, role in enumerate(roles):
        y = 36 + 30 * row
        lines.append(
            f'<rect class="role" x="16" y="{y}" width="178" height="25" rx="4"/><text x="26" y="{y + 17}">{_e(_cut(role, 24))}</text>'
        )
    told, kind = (
        (f"✘ {bad} of {checks} checks failed", "tb")
        if bad
        else (f"✔ {checks} checks ok", "tg")
        if checks
        else ("not checked", "s")
    )
    lines.append(f'<text class="{kind}" x="18" y="{bus - 25}">{told}</text>')
    if joined:
        lines.append(
            f'<line class="drop" x1="105" y1="{bus - 16}" x2="105" y2="{bus}"/><line class="bus" x1="0" y1="{bus}" x2="210" y2="{bus}"/>'
        )
    label = _e(
        f"{node} {address}: {', '.join(role[2:] for role in roles)}; {told[2:] if checks else told}; node {at + 1} of {total}"
    )
    return f'<svg width="210" height="{height}" viewBox="0 0 210 {height}" role="img" aria-label="{label}">{"".join(lines)}</svg>'
