"""Curves over time as SVG: each has a dash of its own besides its colour, and its name stands at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swarmbook.base.markup import tag
from swarmbook.base.words import cut
from swarmbook.show.drawing import picture, words_at

__all__ = ["Curve", "curves"]

_LEFT, _WIDE, _HIGH, _TOP, _PAGE = 64, 600, 120, 44, 800
#: How curves differ where colours are not: by their dashes.
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "4 6", "12 4", "1 5")


@dataclass(frozen=True)
class Curve:
    """A name, and points: seconds (those before now are negative) and values."""

    name: str
    points: Sequence[tuple[float, float]]


def curves(drawn: Sequence[Curve], title: str, unit: str = "") -> str:
    """Draw curves over one axis of time.

    Args:
        drawn: The curves; a point that is no finite number is a gap.
        title: Of the picture.
        unit: Of the values.
    """
    known = [(at, value) for curve in drawn for at, value in curve.points if math.isfinite(value)]
    first, last = min((at for at, _ in known), default=0.0), max((at for at, _ in known), default=0.0)
    top = max((value for _, value in known), default=0.0) or 1.0
    if first == last:  # one look so far: it stands at the end of a minute of which nothing is known
        first = last - 60
    span = last - first

    def x(at: float) -> float:
        return _LEFT + _WIDE * (at - first) / span

    def y(value: float) -> float:
        return _TOP + _HIGH * (1 - max(value, 0.0) / top)

    parts = [words_at("ink name", 16, 26, title)]
    for share in (0.0, 0.5, 1.0):
        height = y(top * share)
        parts.append(tag("path", class_="grid", d=f"M{_LEFT} {height:.0f} H{_LEFT + _WIDE}", fill="none"))
        parts.append(words_at("faint", _LEFT - 8, f"{height + 4:.0f}", f"{top * share:.3g}{unit}", "end"))
    for share in (0.0, 0.5, 1.0):
        at = first + span * share
        parts.append(words_at("faint", f"{x(at):.0f}", _TOP + _HIGH + 20, _time(at, span), "middle"))
    taken: list[float] = []
    summary = []
    for number, curve in enumerate(drawn):
        runs: list[list[str]] = [[]]
        for at, value in curve.points:
            if math.isfinite(value):
                runs[-1].append(f"{x(at):.1f} {y(value):.1f}")
            else:
                runs.append([])
        # A single point would be a line without a length.
        path = " ".join("M" + " L".join(run) + (" h3" if len(run) == 1 else "") for run in runs if run)
        values = [value for _, value in curve.points if math.isfinite(value)]
        if not values:
            continue
        dash = _DASHES[number % len(_DASHES)]
        parts.append(tag("path", class_="curve", d=path, fill="none", stroke_dasharray=dash))
        height = y(values[-1])
        while any(abs(height - other) < 14 for other in taken):
            height += 14
        taken.append(height)
        parts.append(
            words_at("ink", _LEFT + _WIDE + 8, f"{height + 4:.0f}", f"{cut(curve.name, 12)} {values[-1]:.3g}{unit}")
        )
        summary.append(f"{curve.name}: {min(values):.3g} to {max(values):.3g}{unit}, {values[-1]:.3g} at the end")
    high = _TOP + _HIGH + 36 + max(0, int(max(taken, default=0)) - _TOP - _HIGH)
    return picture(_PAGE, high, title, "; ".join(summary), parts)


def _time(at: float, span: float) -> str:
    if abs(at) < 0.5:
        return "now"
    return f"{at:.0f} s" if span < 180 else f"{at / 60:.1f} min"
