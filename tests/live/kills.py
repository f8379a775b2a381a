"""The list of kills: which notebook, where in it, what is hit and how. Drawn from a seed, so that a list can be had again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

import swarmbook
from swarmbook.model.phases import PHASES, Kind

__all__ = ["KINDS", "MOMENTS", "Journey", "Kill", "journeys", "kills", "sample", "traced_cells"]

NOTEBOOKS = Path(swarmbook.__file__).resolve().parents[1] / "notebooks"

RUNNER, KERNEL, HELPER = "runner", "kernel", "helper"
LIMIT, DISK = "time limit", "full disk"
#: Every victim in every way that there is for it.
KINDS = (
    (RUNNER, "SIGKILL"), (RUNNER, "SIGTERM"), (RUNNER, "SIGINT"), (RUNNER, DISK),
    (KERNEL, "SIGKILL"), (KERNEL, "SIGTERM"), (KERNEL, "SIGINT"), (KERNEL, LIMIT),
    (HELPER, "SIGKILL"), (HELPER, "SIGTERM"), (HELPER, "SIGINT"),
)  # fmt: skip
#: before: the cell was sent and has not begun. after: it has ended and the runner does not know. between: on the way from one to the next.
MOMENTS = ("before", "inside", "after", "between")


@dataclass(frozen=True)
class Kill:
    """One kill.

    Args:
        number: Its number in the list.
        notebook: Number of the notebook.
        cell: Index of the code cell in the notebook as it lies in the book.
        moment: One of MOMENTS.
        border: Which border of the notebook's cells that is, 0 before the first; None inside a cell.
        share: When: of the cell's usual time for ``inside``, of a few milliseconds for ``between``.
        victim: What is hit.
        way: A signal, ``time limit`` or ``full disk``.
    """

    number: int
    notebook: str
    cell: int
    moment: str
    border: int | None
    share: float
    victim: str
    way: str

    @property
    def place(self) -> str:
        """As the trace names the cell."""
        return f"{self.notebook}:{self.cell}"

    def __str__(self) -> str:
        return f"{self.number:3}  {self.notebook} cell {self.cell}  {self.moment:<7}  {self.victim:<6}  {self.way}"


@dataclass(frozen=True)
class Journey:
    """Kills one after the other on one lab.

    ``build``: cancel what is there, then from nothing to the end. ``rebuild``: destroy, and build on the same machines. In both each
    kill is followed by a resume, which meets the next kill further on. ``finished``: single notebooks on a finished cluster.
    ``cancel``: all away.
    """

    kind: str
    kills: tuple[Kill, ...]


def traced_cells(nb: Any) -> list[int]:
    """Indices of the code cells that are traced: all but the parameters."""
    return [
        i
        for i, cell in enumerate(nb.cells)
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", [])
    ]


def _books() -> dict[str, list[int]]:
    return {
        path.name[:2]: traced_cells(nbformat.read(path, as_version=4))
        for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
        if PHASES[path.name[:2]].kind is not Kind.CARE
        if path.name >= "01"
    }


def _border(border: int, cells: list[int], rng: random.Random) -> tuple[int, str, int]:
    """One of the ways to meet it: behind the cell before, ahead of the cell behind, or on the way."""
    ways = [(cells[border - 1], "after", border), (cells[border - 1], "between", border)] if border else []
    if border < len(cells):
        ways.append((cells[border], "before", border))
    return rng.choice(ways)


def kills(seed: int) -> list[Kill]:
    """Every notebook in every kind of KINDS, spread over every border and every cell of it."""
    rng, found = random.Random(seed), []
    for notebook, cells in _books().items():
        steps = [(cell, "inside", None) for cell in cells[1:]]
        rng.shuffle(steps)
        borders = [_border(border, cells, rng) for border in range(len(cells) + 1)]
        helpers = [kind for kind in KINDS if kind[0] == HELPER]
        others = [kind for kind in KINDS if kind[0] != HELPER]
        rng.shuffle(others)
        # A helper is there only while a step works. The other places go to the other kinds, each place once before one gets a second.
        taken = [steps[i % len(steps)] for i in range(len(helpers))]
        left: list[tuple[int, str, int | None]] = [
            *borders,
            (cells[0], "inside", None),
            *(step for step in steps if step not in taken),
        ]
        again: list[tuple[int, str, int | None]] = [*steps, *(_border(b, cells, rng) for b in range(len(cells) + 1))]
        rng.shuffle(left)
        rng.shuffle(again)
        others += others[
            : max(len(left) - len(others), 0)
        ]  # where there are more places than kinds, some kinds come twice
        for (victim, way), (cell, moment, border) in zip([*helpers, *others], [*taken, *left, *again]):
            if moment == "between" and way in (LIMIT, DISK):  # both last longer than that moment
                moment = "after"
            if moment == "after" and (victim, way) == (KERNEL, "SIGINT"):  # the witness itself holds the cell there
                moment = "between"
            found.append((notebook, cell, moment, border, round(rng.uniform(0.05, 0.95), 2), victim, way))
    return [Kill(number, *what) for number, what in enumerate(found, 1)]


def _order(kill: Kill) -> tuple[int, int, int, int, int]:
    """90 comes first of a rebuild; in a notebook the places as they come."""
    cancels, destroys = kill.notebook == "91", kill.notebook == "90"
    return (not cancels, not destroys, int(kill.notebook), kill.cell, MOMENTS.index(kill.moment))


def journeys(seed: int) -> list[Journey]:
    """All kills of a seed, as journeys that one lab can take."""
    rng = random.Random(seed + 1)
    pools: dict[str, list[Kill]] = {}
    for kill in kills(seed):
        pools.setdefault(kill.notebook, []).append(kill)
    for pool in pools.values():
        rng.shuffle(pool)
        pool.sort(
            key=lambda kill: kill.moment == "inside"
        )  # taken from the end: the insides go where there is work to interrupt

    def draw(many: dict[str, int]) -> tuple[Kill, ...]:
        return tuple(
            sorted(
                (
                    pools[notebook].pop()
                    for notebook, count in many.items()
                    for _ in range(min(count, len(pools[notebook])))
                ),
                key=_order,
            )
        )

    late = dict.fromkeys(("03", "04", "05", "06", "07", "08"), 1)
    builds = [Journey("build", draw({"91": n, "01": 2, "02": 2, **late})) for n in (0, 4, 4)]
    rebuilds = [Journey("rebuild", draw({"90": n, **late})) for n in (4, 4, 3)]
    last = Journey("cancel", draw({"91": 11}))
    rest = [
        Journey("finished", draw(dict.fromkeys(pair, 11)))
        for pair in (("01", "02"), ("03", "04"), ("05", "06"), ("07", "08"))
    ]
    assert not any(pools.values()), pools
    return [
        builds[0],
        rest[0],
        rebuilds[0],
        rest[1],
        builds[1],
        rest[2],
        rebuilds[1],
        rest[3],
        builds[2],
        rebuilds[2],
        last,
    ]


def sample(seed: int) -> list[Journey]:
    """A few kills that meet every victim and every way: one lab from nothing to the end, and away again."""
    pool = kills(seed)
    random.Random(seed + 2).shuffle(pool)

    def take(notebook: str, *kinds: tuple[str, str]) -> Kill:
        fitting = [kill for kill in pool if kill.notebook == notebook and (kill.victim, kill.way) in kinds]
        return next((kill for kill in fitting if kill.moment == "inside"), fitting[0])

    build = [
        take("01", (RUNNER, "SIGKILL")), take("02", (HELPER, "SIGKILL"), (HELPER, "SIGTERM"), (HELPER, "SIGINT")), take("03", (RUNNER, "SIGTERM")),
        take("04", (KERNEL, "SIGKILL"), (KERNEL, "SIGTERM")), take("06", (RUNNER, DISK)), take("07", (RUNNER, "SIGKILL"), (RUNNER, "SIGINT"), (KERNEL, "SIGINT")),
    ]  # fmt: skip
    finished = [take("08", (KERNEL, LIMIT))]
    away = [take("91", (RUNNER, "SIGINT")), take("91", (KERNEL, "SIGKILL"))]
    return [
        Journey("build", tuple(build)),
        Journey("finished", tuple(finished)),
        Journey("cancel", tuple(sorted(away, key=_order))),
    ]
