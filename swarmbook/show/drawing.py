"""Pictures as SVG, from data: what stands on which node, members' states over time, who worked when. Words and signs say all that colours say."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarmbook.base.markup import Markup, joined, tag
from swarmbook.base.words import cut

__all__ = [
    "SIGNS",
    "Card",
    "Part",
    "as_image",
    "busy",
    "picture",
    "states",
    "stretches",
    "timeline",
    "topology",
    "words_at",
]

#: By how a part is.
SIGNS: Mapping[str, str] = {"ok": "✔", "bad": "✘", "wait": "…", "none": "·"}

#: Every rule begins with the picture's own class: a style in a page holds for all of that page.
_STYLE = """<style>
  .sb .page { fill: #ffffff; stroke: #d0d7de } .sb .card { fill: #f6f8fa; stroke: #afb8c1 } .sb .grid { stroke: #d0d7de } .sb .ink { fill: #1f2328 } .sb .faint { fill: #59636e }
  .sb .ok { fill: #1a7f37 } .sb .bad { fill: #cf222e } .sb .wait { fill: #9a6700 } .sb .none { fill: #8c959f } .sb .edge-bad { stroke: #cf222e; stroke-width: 2 } .sb .work { fill: #0969da } .sb .stroke { stroke: #0969da } .sb .void { fill: #cf222e; fill-opacity: 0.14 } .sb .curve { stroke: #0969da; stroke-width: 1.5 } .sb .mark { stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .sb .page { fill: #0d1117; stroke: #3d444d } .sb .card { fill: #151b23; stroke: #656c76 } .sb .grid { stroke: #3d444d } .sb .ink { fill: #f0f6fc } .sb .faint { fill: #9198a1 }
    .sb .ok { fill: #3fb950 } .sb .bad { fill: #f85149 } .sb .wait { fill: #d29922 } .sb .none { fill: #656c76 } .sb .edge-bad { stroke: #f85149 } .sb .work { fill: #58a6ff } .sb .stroke { stroke: #58a6ff } .sb .void { fill: #f85149; fill-opacity: 0.22 } .sb .curve { stroke: #58a6ff } .sb .mark { stroke: #d29922 }
  }
  .sb text { font-family: system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif; font-size: 12px }
  .sb .name { font-size: 14px; font-weight: 600 } .sb .bar { fill: #ffffff }
</style>"""


def picture(wide: int, high: int, title: str, summary: str, drawn: Iterable[Markup]) -> Markup:
    """Build a picture that says in words what it shows; it has no ids, since several pictures stand in one page.

    Args:
        wide: Pixels.
        high: Pixels.
        title: What it is of.
        summary: What it shows.
        drawn: Its parts.
    """
    page = tag("rect", class_="page", x=0.5, y=0.5, width=wide - 1, height=high - 1, rx=8)
    inside = joined(("", tag("title", title), tag("desc", summary), Markup(_STYLE), page, *drawn, ""), "\n")
    return tag(
        "svg",
        inside,
        xmlns="http://www.w3.org/2000/svg",
        class_="sb",
        width=wide,
        height=high,
        viewBox=f"0 0 {wide} {high}",
        role="img",
        aria_label=f"{title}: {summary}",
    )


def words_at(kind: str, x: object, y: object, words: object, anchor: str | None = None) -> Markup:
    """Build words at a place of a picture.

    Args:
        kind: Classes of the style: ink or faint, say.
        x: From the left.
        y: From the top, of the line that they stand on.
        words: The words.
        anchor: ``middle`` or ``end`` where they do not begin there.
    """
    return tag("text", words, class_=kind, x=x, y=y, text_anchor=anchor)


def as_image(svg: str) -> Markup:
    """Wrap a picture for a page of HTML, as an image that carries its words.

    Not the SVG itself: who shows notebooks of others (JupyterLab before one trusts it, GitHub) takes SVG out of HTML, or only its
    style, which leaves it black (https://github.com/jupyter/nbviewer/issues/1037). An image JupyterLab leaves alone; so does GitHub,
    as its users say.

    Args:
        svg: One of the pictures of this module, with nothing left in it to mask: an image cannot be masked.
    """
    words = re.search(r'aria-label="([^"]*)"', svg)
    summary, data = words[1] if words else "", base64.b64encode(svg.encode()).decode()
    return tag("img", alt=Markup(summary), decoding="sync", src=f"data:image/svg+xml;base64,{data}")


@dataclass(frozen=True)
class Part:
    """One thing on a node.

    Args:
        name: What it is: machine, engine, manager, Consul, Galera.
        word: How it is, for a person.
        how: ok, bad, wait or none.
    """

    name: str
    word: str
    how: str

    def __str__(self) -> str:
        return f"{SIGNS[self.how]} {self.word}".rstrip()


@dataclass(frozen=True)
class Card:
    """One node with what is on it."""

    name: str
    parts: tuple[Part, ...]

    @property
    def bad(self) -> bool:
        """Whether something on it is broken."""
        return any(part.how == "bad" for part in self.parts)


_CARD, _GAP, _ACROSS = 204, 16, 4


def topology(cards: Sequence[Card], title: str = "What stands on which node") -> str:
    """Draw a card for each node, with a line for each part of it.

    Args:
        cards: The nodes, in order.
        title: Of the picture.
    """
    rows = (len(cards) + _ACROSS - 1) // _ACROSS
    across = min(len(cards), _ACROSS) or 1
    tall = 40 + 22 * max((len(card.parts) for card in cards), default=0)
    drawn = [words_at("ink name", _GAP, 26, title)]
    for at, card in enumerate(cards):
        x, y = _GAP + (at % _ACROSS) * (_CARD + _GAP), 42 + (at // _ACROSS) * (tall + _GAP)
        sign = " ✘" if card.bad else ""
        edge = "card edge-bad" if card.bad else "card"
        drawn.append(tag("rect", class_=edge, x=x, y=y, width=_CARD, height=tall, rx=6))
        drawn.append(words_at("ink name", x + 12, y + 22, f"{cut(card.name, 20)}{sign}"))
        for row, part in enumerate(card.parts):
            line = y + 46 + 22 * row
            drawn.append(words_at("faint", x + 12, line, part.name))
            drawn.append(words_at(part.how, x + 84, line, cut(str(part), 18)))
    summary = "; ".join(f"{card.name}: " + ", ".join(f"{part.name} {part}" for part in card.parts) for card in cards)
    return picture(max(across * (_CARD + _GAP) + _GAP, 2 * _CARD), 42 + rows * (tall + _GAP), title, summary, drawn)


_LABEL, _LANE, _WIDE = 110, 640, 800


def _axis(seconds: float, high: int) -> list[Markup]:
    drawn = []
    for tick in range(5):
        x = _LABEL + _LANE * tick / 4
        drawn.append(tag("path", class_="grid", d=f"M{x:.0f} 40 V{high - 26}", fill="none"))
        drawn.append(words_at("faint", f"{x:.0f}", high - 10, f"{seconds * tick / 4:.1f} s", "middle"))
    return drawn


#: What a member's state says of it: well, working at a transfer, not there. Any other word is one that is waited for.
_STATES = {"Synced": "ok", "Joiner": "work", "Donor": "work", "Joined": "work", "not running": "none"}


def states(samples: Sequence[tuple[float, str, str]], title: str = "Members' states") -> str:
    """Draw a lane for each member, from its first state to its last.

    Args:
        samples: Seconds since the begin, member, state; in the order in which they were seen.
        title: Of the picture.
    """
    members = list(dict.fromkeys(member for _, member, _ in samples))
    seconds = max((at for at, _, _ in samples), default=0.0) or 1.0
    high = 66 + 34 * len(members)
    drawn = [words_at("ink name", 16, 26, title), *_axis(seconds, high)]
    summary = []
    for lane, member in enumerate(members):
        y = 46 + 34 * lane
        drawn.append(words_at("ink", 16, y + 17, cut(member, 13)))
        spans = _spans([(at, state) for at, name, state in samples if name == member], seconds)
        summary.append(f"{member}: " + ", ".join(f"{state} from {begin:.1f} s" for begin, _, state in spans))
        for begin, end, state in spans:
            x, wide = _LABEL + _LANE * begin / seconds, max(_LANE * (end - begin) / seconds, 2)
            drawn.append(
                tag(
                    "rect",
                    tag("title", state),
                    class_=_STATES.get(state, "wait"),
                    x=f"{x:.1f}",
                    y=y,
                    width=f"{wide:.1f}",
                    height=24,
                )
            )
            if wide > 7 * len(state):
                drawn.append(words_at("bar", f"{x + wide / 2:.1f}", y + 16, state, "middle"))
    return picture(_WIDE, high, title, "; ".join(summary), drawn)


def _spans(seen: Sequence[tuple[float, str]], last: float) -> list[tuple[float, float, str]]:
    """List the states from when to when; what is the same twice is one."""
    changes = [(at, state) for number, (at, state) in enumerate(seen) if number == 0 or seen[number - 1][1] != state]
    ends = [at for at, _ in changes[1:]] + [last]
    return [(at, end, state) for (at, state), end in zip(changes, ends)]


def stretches(spans: Iterable[tuple[float, float]], near: float) -> list[tuple[float, float]]:
    """Join spans of time to stretches, where no more than ``near`` lies between them.

    What the eye could not tell apart is one bar.
    """
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin - joined[-1][1] <= near:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def busy(spans: Iterable[tuple[float, float]]) -> float:
    """Count the seconds that at least one of these spans lasted: what runs at the same time counts once."""
    return sum(end - begin for begin, end in stretches(spans, 0.0))


def timeline(work: Sequence[tuple[str, float, float]], title: str = "Who worked when") -> str:
    """Draw a lane for each host, with a bar for each stretch of work.

    Args:
        work: Host, begin and end in seconds since the begin.
        title: Of the picture.
    """
    hosts = sorted({host for host, _, _ in work})
    seconds = max((end for _, _, end in work), default=0.0) or 1.0
    high = 62 + 24 * len(hosts)
    drawn = [words_at("ink name", 16, 26, title), *_axis(seconds, high)]
    summary = []
    for lane, host in enumerate(hosts):
        y = 44 + 24 * lane
        spans = [(begin, end) for name, begin, end in work if name == host]
        bars, worked = stretches(spans, seconds / _LANE), busy(spans)
        drawn.append(words_at("ink", 16, y + 13, cut(host, 13)))
        drawn.append(words_at("faint", _WIDE - 8, y + 13, f"{worked:.1f} s", "end"))
        drawn += [
            tag(
                "rect",
                class_="work",
                x=f"{_LABEL + _LANE * begin / seconds:.1f}",
                y=y,
                width=f"{max(_LANE * (end - begin) / seconds, 1):.1f}",
                height=16,
            )
            for begin, end in bars
        ]
        summary.append(f"{host} {worked:.1f} s")
    return picture(_WIDE, high, title, f"{', '.join(summary)}, of {seconds:.1f} s", drawn)
