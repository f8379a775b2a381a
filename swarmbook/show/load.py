"""An application's load as a picture: commits per second and latency over time, the times without a commit, and who was the writer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from swarmbook.base.markup import Markup, tag
from swarmbook.base.words import cut
from swarmbook.show.drawing import picture, words_at

__all__ = ["load", "milliseconds"]

_WIDE, _LEFT, _LANE = 800, 72, 708
_RATE_TOP, _RATE_HIGH = 76, 116
_TIME_TOP, _TIME_HIGH = 224, 88
_HIGH = _TIME_TOP + _TIME_HIGH + 32
#: Latency is drawn from 1 ms to 10 s, each factor of ten as high as the others.
_FASTEST_S, _DECADES = 0.001, 4
_LABELLED = 3
#: Width of a letter, about.
_LETTER = 6.8


def milliseconds(seconds: float) -> str:
    """Say a latency in milliseconds, or in seconds from one on.

    Example:
        >>> milliseconds(0.0123), milliseconds(3.07)
        ('12 ms', '3.1 s')
    """
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def load(
    columns: Sequence[tuple[float, float, float | None, float | None]],
    wide: float,
    gaps: Sequence[tuple[float, float]],
    writers: Sequence[tuple[float, str]],
    title: str,
) -> str:
    """Draw it.

    Args:
        columns: Begin in seconds, commits per second, median and slowest latency in seconds; nothing where there is none.
        wide: Width of a column, seconds.
        gaps: Times without a commit, from when to when.
        writers: When each writer was first met, and its name.
        title: Of the picture.
    """
    begin = columns[0][0] if columns else 0.0
    end = max(columns[-1][0] + wide if columns else 1.0, begin + 1.0)
    most = _round_up(max((each for _, each, _, _ in columns), default=0.0))

    def at(moment: float) -> float:
        return _LEFT + _LANE * (min(max(moment, begin), end) - begin) / (end - begin)

    drawn = [words_at("ink name", 16, 26, title), *_axes(begin, end, most)]
    shown = [(max(one, begin), min(other, end)) for one, other in gaps if other > begin and one < end]
    for one, other in shown:
        across = max(at(other) - at(one), 1)
        for top, high in ((_RATE_TOP, _RATE_HIGH), (_TIME_TOP, _TIME_HIGH)):
            drawn.append(tag("rect", class_="void", x=f"{at(one):.1f}", y=top, width=f"{across:.1f}", height=high))
    for column, per_second, middle, slowest in columns:
        x, across = at(column), max(at(column + wide) - at(column) - 0.5, 0.5)
        tall = _RATE_HIGH * per_second / most
        drawn.append(
            tag(
                "rect", class_="work", x=f"{x:.1f}", y=f"{_RATE_TOP + _RATE_HIGH - tall:.1f}", width=f"{across:.1f}",
                height=f"{tall:.1f}",
            )
        )  # fmt: skip
        if middle is not None and slowest is not None:
            center = x + across / 2
            drawn.append(
                tag(
                    "path",
                    class_="stroke",
                    d=f"M{center:.1f} {_height(middle):.1f} V{_height(slowest):.1f}",
                    fill="none",
                )
            )
            drawn.append(tag("circle", class_="work", cx=f"{center:.1f}", cy=f"{_height(middle):.1f}", r=1.8))
    drawn += _marks([(at(moment), name) for moment, name in writers if begin <= moment <= end])
    drawn += _lengths(
        [((at(one) + at(other)) / 2, f"no commit for {other - one:.1f} s", other - one) for one, other in shown]
    )
    return picture(_WIDE, _HIGH, title, _summary(columns, shown, writers), drawn)


def _axes(begin: float, end: float, most: float) -> list[Markup]:
    drawn = [
        words_at("faint", 16, 212, "latency"),
        words_at("faint", _LEFT + 8, 212, "dot: half of the commits took no longer; stroke: up to the slowest"),
        words_at("faint", 8, 48, "commits/s"),
    ]
    for part in (0.0, 0.5, 1.0):
        y = _RATE_TOP + _RATE_HIGH * (1 - part)
        drawn.append(tag("path", class_="grid", d=f"M{_LEFT} {y:.1f} H{_LEFT + _LANE}", fill="none"))
        drawn.append(words_at("faint", _LEFT - 6, f"{y + 4:.1f}", f"{most * part:g}", "end"))
    for decade in range(_DECADES + 1):
        seconds = _FASTEST_S * 10**decade
        drawn.append(tag("path", class_="grid", d=f"M{_LEFT} {_height(seconds):.1f} H{_LEFT + _LANE}", fill="none"))
        words = f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
        words += "+" if decade == _DECADES else ""  # what took longer is drawn there, too
        drawn.append(words_at("faint", _LEFT - 6, f"{_height(seconds) + 4:.1f}", words, "end"))
    for tick in range(6):
        anchor = "start" if tick == 0 else "end" if tick == 5 else "middle"
        words = f"{begin + (end - begin) * tick / 5:.0f} s"
        drawn.append(words_at("faint", f"{_LEFT + _LANE * tick / 5:.1f}", _HIGH - 10, words, anchor))
    return drawn


def _lengths(places: Sequence[tuple[float, str, float]]) -> list[Markup]:
    """Say how long the longest gaps were, as far as there is room."""
    taken: list[float] = []
    drawn = []
    for x, words, _ in sorted(places, key=lambda place: -place[2])[:_LABELLED]:
        if all(abs(x - other) > (_LETTER + 0.7) * len(words) for other in taken):
            taken.append(x)
            drawn.append(_label("ink", x, 48, words))
    return drawn


def _marks(places: Sequence[tuple[float, str]]) -> list[Markup]:
    """Draw a line for each writer, and say its name as far as there is room up to the one after it."""
    drawn, room = [], float(_LEFT + _LANE)
    for x, name in reversed(places):
        drawn.append(tag("path", class_="mark", d=f"M{x:.1f} {_RATE_TOP - 5} V{_TIME_TOP + _TIME_HIGH}", fill="none"))
        for words in (f"{cut(name, 24)} is the writer", cut(name, 18)):
            wide = _LETTER * len(words)
            begin = min(x, _LEFT + _LANE - wide)  # the last one may stand before its line
            if begin + wide <= room:
                drawn.append(words_at("ink", f"{begin:.1f}", _RATE_TOP - 8, words))
                room = begin - _LETTER
                break
    return drawn


def _label(kind: str, x: float, y: float, words: str) -> Markup:
    """Put words above a place, and within the picture."""
    half = _LETTER * len(words) / 2
    return words_at(kind, f"{min(max(x, _LEFT + half), _LEFT + _LANE - half):.1f}", y, words, "middle")


def _height(seconds: float) -> float:
    """Return where a latency is drawn."""
    part = math.log10(max(seconds, _FASTEST_S) / _FASTEST_S) / _DECADES
    return _TIME_TOP + _TIME_HIGH * (1 - min(part, 1.0))


def _round_up(value: float) -> float:
    """Return the next round number: 10, 20, 50, 100, ..."""
    step = 10.0 ** max(1, math.floor(math.log10(value)) if value > 0 else 1)
    return next((step * each for each in (1, 2, 5, 10) if step * each >= value), step * 10)


def _summary(
    columns: Sequence[tuple[float, float, float | None, float | None]],
    gaps: Sequence[tuple[float, float]],
    writers: Sequence[tuple[float, str]],
) -> str:
    rates = [per_second for _, per_second, _, _ in columns]
    words = [f"up to {max(rates, default=0):.0f} commits per second"]
    words += [f"{other - one:.1f} s without a commit from {one:.1f} s on" for one, other in gaps]
    words += [f"{name} is the writer from {moment:.1f} s on" for moment, name in writers]
    return "; ".join(words)
