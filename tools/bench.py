"""Zero to verified with warm images, for several sizes of a lab: seconds per phase, the second run, what the notebooks cost.

Usage: python tools/bench.py [--nodes 3 5 7] [--repeat N] [--out bench-results/]

Drives the real command line on clusters of its own, each in a temporary folder, and cancels each of them at the end, also after a
failure or Ctrl-C. Writes OUT/bench.json and OUT/bench.svg. A target that is missed is reported and is no failure.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import yaml

from swarmbook.base.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
FORMAT = 1
#: What issue 2 asks for.
THREE_NODES_S, SEVEN_TO_THREE, SECOND_RUN_S, NOTEBOOK_S = 90.0, 1.8, 20.0, 1.5
_PACKAGES = ("swarmbook", "papermill", "nbclient", "ipykernel", "docker", "fabric")
_TAIL = 25
#: What a run may take to finish up after Ctrl-C before it is killed.
_FINISH_UP_S = 60


# -- what was measured; pure -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One run, or the median of several.

    Args:
        wall_seconds: From the command's start to its end, Python's own start included.
        changes: How many changes the run made.
        kernel_seconds: Waited for kernels to start.
        import_seconds: In the notebooks' bootstrap cells.
        step_seconds: In the notebooks' steps: what the hosts need.
        phases: Seconds by notebook, in order.
        costs: Seconds by notebook that are not its steps': kernel, imports, papermill, saving.
    """

    wall_seconds: float
    changes: int
    kernel_seconds: float
    import_seconds: float
    step_seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def other_seconds(self) -> float:
        """Wall time outside of any notebook: the command's own start, reading parameters."""
        return max(self.wall_seconds - sum(self.phases.values()), 0.0)

    @property
    def kernel_share(self) -> float:
        """Share of the wall time that went into kernels and imports."""
        return (self.kernel_seconds + self.import_seconds) / self.wall_seconds if self.wall_seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data, with what is derived."""
        return {
            **asdict(self),
            "other_seconds": round(self.other_seconds, 3),
            "kernel_share": round(self.kernel_share, 4),
        }


@dataclass(frozen=True)
class Size:
    """What was measured at one size of the lab: from nothing, and again with nothing to do; the single wall times too."""

    nodes: int
    managers: int
    fresh: Measured
    again: Measured
    fresh_walls: tuple[float, ...] = ()
    again_walls: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "nodes": self.nodes,
            "managers": self.managers,
            "fresh": {**self.fresh.to_json(), "each_wall_seconds": list(self.fresh_walls)},
            "again": {**self.again.to_json(), "each_wall_seconds": list(self.again_walls)},
        }


@dataclass(frozen=True)
class Target:
    """One target; ``met`` is None when it was not measured."""

    what: str
    wanted: str
    seen: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return "not measured" if self.met is None else "met" if self.met else "missed"


def measure(summary: Mapping[str, Any], wall_seconds: float) -> Measured:
    """Read the figures in one run's summary.json.

    Args:
        summary: Its content.
        wall_seconds: Of the whole command, measured from outside.
    """
    chapters = {f"{c['number']} {c['name']}": c for c in summary["chapters"] if c["status"] != "not-run"}
    steps = {name: sum(step["seconds"] for step in c["steps"]) for name, c in chapters.items()}
    return Measured(
        wall_seconds=round(wall_seconds, 3),
        changes=summary["changes"],
        kernel_seconds=round(sum(c["kernel_seconds"] for c in chapters.values()), 3),
        import_seconds=round(sum(c["import_seconds"] for c in chapters.values()), 3),
        step_seconds=round(sum(steps.values()), 3),
        phases={name: c["seconds"] for name, c in chapters.items()},
        costs={name: round(max(c["seconds"] - steps[name], 0.0), 3) for name, c in chapters.items()},
    )


def median(runs: Sequence[Measured]) -> Measured:
    """Return the median of several runs, figure by figure.

    Of changes it is the most, since one that should not be is one too many.
    """

    def middle(values: Iterator[float]) -> float:
        return round(statistics.median(values), 3)

    names = list(runs[0].phases)
    return Measured(
        wall_seconds=middle(r.wall_seconds for r in runs),
        changes=max(r.changes for r in runs),
        kernel_seconds=middle(r.kernel_seconds for r in runs),
        import_seconds=middle(r.import_seconds for r in runs),
        step_seconds=middle(r.step_seconds for r in runs),
        phases={name: middle(r.phases.get(name, 0.0) for r in runs) for name in names},
        costs={name: middle(r.costs.get(name, 0.0) for r in runs) for name in names},
    )


def managers_for(nodes: int) -> int:
    """Choose three managers where there are enough nodes, else one."""
    return 3 if nodes >= 3 else 1


def targets(sizes: Sequence[Size]) -> list[Target]:
    """Compare what was measured with what issue 2 asks for."""
    by = {size.nodes: size for size in sizes}
    three = by[3].fresh.wall_seconds if 3 in by else None
    seven = by[7].fresh.wall_seconds if 7 in by else None
    found = [
        Target(
            "zero to verified, 3 nodes",
            f"at most {THREE_NODES_S:.0f} s",
            f"{three:.1f} s" if three else "",
            three <= THREE_NODES_S if three else None,
        ),
        Target(
            "zero to verified, 7 nodes",
            f"at most {SEVEN_TO_THREE} times 3 nodes",
            f"{seven / three:.2f} times ({seven:.1f} s)" if three and seven else "",
            seven <= SEVEN_TO_THREE * three if three and seven else None,
        ),
    ]
    for size in sizes:
        again = size.again
        found.append(
            Target(
                f"second run, {size.nodes} nodes",
                f"at most {SECOND_RUN_S:.0f} s, 0 changes",
                f"{again.wall_seconds:.1f} s, {again.changes} changes",
                again.wall_seconds <= SECOND_RUN_S and again.changes == 0,
            )
        )
    costs = [
        (cost, name, size.nodes)
        for size in sizes
        for run in (size.fresh, size.again)
        for name, cost in run.costs.items()
    ]
    worst = max(costs, default=None)
    found.append(
        Target(
            "a notebook, beyond what the hosts need",
            f"at most {NOTEBOOK_S} s",
            f"{worst[0]:.2f} s at most ({worst[1]}, {worst[2]} nodes)" if worst else "",
            worst[0] <= NOTEBOOK_S if worst else None,
        )
    )
    return found


def columns(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Align rows of text in columns, numbers to the right."""
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide))).rstrip()
        for row in rows
    )


def table(sizes: Sequence[Size]) -> str:
    """Render the result for a terminal: seconds per phase, and what the notebooks took of it."""
    names = list(dict.fromkeys(name for size in sizes for name in size.fresh.phases))
    head = ["seconds", "total", *(name[:2] for name in names), "other", "changes", "kernels+imports", "most a notebook"]
    rows = [head]
    for size in sizes:
        for what, run in ((f"{size.nodes} nodes", size.fresh), (f"{size.nodes} nodes, again", size.again)):
            rows.append(
                [
                    what,
                    f"{run.wall_seconds:.1f}",
                    *(f"{run.phases.get(name, 0.0):.1f}" for name in names),
                    f"{run.other_seconds:.1f}",
                    str(run.changes),
                    f"{run.kernel_seconds + run.import_seconds:.1f} ({run.kernel_share:.0%})",
                    f"{max(run.costs.values(), default=0.0):.2f}",
                ]
            )
    return columns(rows)


# -- the picture; pure -------------------------------------------------------------------------------------------------

_COLOURS = ("#3b7dd8", "#45b5c4", "#2a9d5c", "#b98500", "#7f8a2a", "#c76fa8", "#d9622b", "#7d62c4")
_REST = "#8a8f98"
_STYLE = """
.panel { fill: #ffffff; stroke: #d0d7de } .ink { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d8dee4 } .cut { stroke: #ffffff }
@media (prefers-color-scheme: dark) {
  .panel { fill: #0d1117; stroke: #3d444d } .ink { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #2a313c } .cut { stroke: #0d1117 }
}
text { font-family: system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif; font-size: 12px } .head { font-size: 16px; font-weight: 600 }
"""


def _ticks(most: float) -> list[float]:
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600) if most / s <= 8), 1800)
    return [step * i for i in range(int(most / step) + 1)]


def svg(sizes: Sequence[Size], caption: str) -> str:
    """Draw stacked bars, one for each size and one for its second run, a segment for each phase.

    It has a background of its own, light or dark as the reader's screen is, so that it can be read on any page.

    Args:
        sizes: What was measured.
        caption: One line below the title: machine and date.
    """
    width, left, right, bar, gap, top = 960, 128, 96, 24, 7, 124
    names = list(dict.fromkeys(name for size in sizes for name in size.fresh.phases))
    colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)} | {"other": _REST}
    most = max([run.wall_seconds for size in sizes for run in (size.fresh, size.again)], default=1.0) or 1.0
    scale = (width - left - right) / most
    bottom = top + len(sizes) * (2 * bar + gap + 20)
    height = bottom + 40
    total = "; ".join(
        f"{s.nodes} nodes {s.fresh.wall_seconds:.1f} s, again {s.again.wall_seconds:.1f} s" for s in sizes
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(f"Seconds from nothing to a verified cluster: {total}", quote=True)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="panel" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        '<text class="ink head" x="20" y="30">From nothing to a verified cluster, images warm</text>',
        f'<text class="faint" x="20" y="49">{escape(caption)}</text>',
    ]
    x, y = 20.0, 66
    for name in [*names, "other"]:  # the legend, in as many lines as it takes
        label = name.replace("_", " ") if name != "other" else "around the notebooks"
        long = 17 + 6.5 * len(label) + 16
        if x + long > width - 10:
            x, y = 20.0, y + 20
        out.append(f'<rect x="{x:.0f}" y="{y}" width="12" height="12" rx="2" fill="{colour[name]}"/>')
        out.append(f'<text class="ink" x="{x + 17:.0f}" y="{y + 10}">{escape(label)}</text>')
        x += long
    for tick in _ticks(most):
        at = left + tick * scale
        out.append(f'<line class="grid" x1="{at:.1f}" y1="{top - 8}" x2="{at:.1f}" y2="{bottom - 8}"/>')
        out.append(f'<text class="faint" x="{at:.1f}" y="{bottom + 8}" text-anchor="middle">{tick:.0f} s</text>')
    y = top
    for size in sizes:
        for what, run in ((f"{size.nodes} nodes", size.fresh), ("second run", size.again)):
            out.append(
                f'<text class="{"ink" if run is size.fresh else "faint"}" x="{left - 10}" y="{y + 16}" text-anchor="end">{what}</text>'
            )
            x = left
            for name, seconds in [*run.phases.items(), ("other", run.other_seconds)]:
                wide = seconds * scale
                if wide < 0.05:
                    continue
                out.append(
                    f'<rect class="cut" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{bar}" fill="{colour.get(name, _REST)}">'
                    f"<title>{escape(name)}: {seconds:.1f} s</title></rect>"
                )
                if wide >= 34:
                    out.append(
                        f'<text x="{x + wide / 2:.1f}" y="{y + 16}" text-anchor="middle" fill="#ffffff">{seconds:.1f}</text>'
                    )
                x += wide
            out.append(
                f'<text class="ink" x="{x + 8:.1f}" y="{y + 16}" font-weight="600">{run.wall_seconds:.1f} s</text>'
            )
            y += bar + gap
        y += 20 - gap  # between sizes
    out.append("</svg>")
    return "\n".join(out) + "\n"


# -- doing it ----------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """A command ended non-zero; carries its exit code, its error, and the end of what it printed."""

    def __init__(self, command: str, code: int, output: str) -> None:
        lines = output.rstrip().splitlines()
        tail = lines[-_TAIL:]
        # The error may be far above what the nodes were asked after it.
        first = next((number for number, line in enumerate(lines) if line.lstrip().startswith("where: ")), 0)
        error = lines[max(first - 1, 0) : first + 4] if 0 < first < len(lines) - len(tail) else []
        said = "\n".join(f"  {line}" for line in [*error, *(["..."] if error else []), *tail])
        super().__init__(f"{command}: exit {code}; the end of what it said:\n{said}")
        self.code = code


@contextlib.contextmanager
def _unbroken(doing: str) -> Iterator[None]:
    """Let no signal break what has to be done.

    It sets handlers, since a signal that is ignored would stay ignored in children.
    """
    wait = f"{doing}; please wait"
    before = {
        sign: signal.signal(sign, lambda *_: print(wait, file=sys.stderr)) for sign in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


class Lab:
    """A lab of the benchmark's own: a name, a folder, and the command line on it."""

    def __init__(self, nodes: int) -> None:
        self.nodes, self.managers = nodes, managers_for(nodes)
        self.name = f"bench-{secrets.token_hex(3)}"
        self.home = Path(tempfile.mkdtemp(prefix="swarmbook-bench-"))
        (self.home / "notebooks").symlink_to(ROOT / "notebooks")
        (self.home / "params").mkdir()
        self.params = self.home / "params" / "bench.yaml"
        base = yaml.safe_load((ROOT / "params" / "lab.yaml").read_text("utf-8"))
        names = [f"sw{i}" for i in range(1, nodes + 1)]
        # The same Consul on every computer; with client agents, Debian's has to be asked for by name.
        own = {"cluster": self.name, "nodes": names, "swarm_managers": self.managers, "consul_source": "debian"}
        self.params.write_text(yaml.safe_dump({**base, **own}, sort_keys=False), "utf-8")

    def command(self, verb: str, *options: str) -> float:
        """Run ``swarmbook VERB``; return the wall time.

        Raises:
            Failed: It ended non-zero.
        """
        program = Path(sys.executable).with_name("swarmbook")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SWARMBOOK_")}
        log = self.home / "output.txt"
        began = time.monotonic()
        with log.open("wb") as stream:
            # In a session of its own: Ctrl-C comes to us alone, and we pass it on once.
            child = subprocess.Popen(
                [str(program), verb, str(self.params), *options],
                cwd=self.home,
                env={**environment, "SWARMBOOK_HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = child.wait()
            except KeyboardInterrupt:
                with _unbroken("finishing up"):
                    child.send_signal(signal.SIGINT)
                    try:
                        child.wait(_FINISH_UP_S)
                    except subprocess.TimeoutExpired:
                        child.kill()
                        child.wait()
                raise
        if code:
            raise Failed(f"swarmbook {verb} ({self.nodes} nodes)", code, log.read_text("utf-8", "replace"))
        return time.monotonic() - began

    def run(self) -> Measured:
        """Run the whole book, and measure it."""
        wall = self.command("run")
        newest = max((self.home / "runs" / self.name).glob("*/summary.json"))
        return measure(json.loads(newest.read_text("utf-8")), wall)

    def end(self) -> None:
        """Take it all away; if that fails, what is left stays where it can be found."""
        try:
            self.command("cancel", "--yes")
        except Failed as error:
            print(
                f"{error}\nLeft behind. To take it away: SWARMBOOK_HOME={self.home} swarmbook cancel {self.params} --yes",
                file=sys.stderr,
            )
            return
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def a_lab(nodes: int) -> Iterator[Lab]:
    """Yield a lab, and take it away at the end, come what may; a second Ctrl-C does not stop that."""
    lab = Lab(nodes)
    try:
        yield lab
    finally:
        with _unbroken("taking the lab away"):
            lab.end()


def bench(nodes: int, repeat: int) -> Size:
    """Measure one size: from nothing, again, away; as often as asked."""
    fresh, again = [], []
    for turn in range(repeat):
        with a_lab(nodes) as lab:
            which = f" ({turn + 1} of {repeat})" if repeat > 1 else ""
            fresh.append(lab.run())
            print(f"{nodes} nodes{which}: {fresh[-1].wall_seconds:.1f} s, {fresh[-1].changes} changes", flush=True)
            again.append(lab.run())
            print(
                f"{nodes} nodes, again{which}: {again[-1].wall_seconds:.1f} s, {again[-1].changes} changes", flush=True
            )
    walls = tuple(r.wall_seconds for r in fresh), tuple(r.wall_seconds for r in again)
    return Size(nodes, managers_for(nodes), median(fresh), median(again), *walls)


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _engine() -> str:
    from swarmbook.access.docker_api import local_engine

    engine = local_engine()
    return engine.about().version if engine is not None else ""


def machine() -> dict[str, Any]:
    """Describe the machine that it ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "memory_gib": round(memory, 1),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "docker_engine": _engine(),
        "versions": _versions(),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def write(out: Path, sizes: Sequence[Size], about: Mapping[str, Any], repeat: int, date: str) -> None:
    """Write bench.json and bench.svg."""
    found = [{**asdict(target), "verdict": target.verdict} for target in targets(sizes)]
    data = {
        "format": FORMAT,
        "date": date,
        "machine": dict(about),
        "repeat": repeat,
        "sizes": [s.to_json() for s in sizes],
        "targets": found,
    }
    write_atomic(out / "bench.json", json.dumps(data, indent=1) + "\n")
    caption = f"{about['cores']} cores, {about['memory_gib']:.0f} GiB, Linux {about['kernel']}, {date}" + (
        f", median of {repeat}" if repeat > 1 else ""
    )
    write_atomic(out / "bench.svg", svg(sizes, caption))


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog="Example: python tools/bench.py --nodes 3 --repeat 3"
    )
    parser.add_argument(
        "--nodes", type=int, nargs="+", default=[3, 5, 7], metavar="N", help="sizes of the lab (default: 3 5 7)"
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="how often each size is built; medians are shown (default: 1)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "bench-results",
        metavar="FOLDER",
        help="where the results go (default: bench-results)",
    )
    options = parser.parse_args(arguments)
    if not all(1 <= n <= 50 for n in options.nodes):
        parser.error("--nodes: between 1 and 50 each")
    if options.repeat < 1:
        parser.error("--repeat: 1 or more")
    return options


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Measure, write, tell."""
    options = _arguments(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    sizes: list[Size] = []
    try:
        with a_lab(1) as lab:
            print(f"images made warm: {lab.command('run', '--to', '03'):.1f} s, not counted", flush=True)
        for nodes in dict.fromkeys(options.nodes):
            sizes.append(bench(nodes, options.repeat))
            write(
                options.out, sizes, machine(), options.repeat, date
            )  # what was measured so far is kept if the next size fails
    except Failed as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("interrupted; what was built has been taken away", file=sys.stderr)
        return 130
    print(f"\n{table(sizes)}\n")
    print(
        columns(
            [["target", "wanted", "measured", ""], *([t.what, t.wanted, t.seen, t.verdict] for t in targets(sizes))],
            left=(0, 1, 2, 3),
        )
    )
    print(f"\nwritten: {options.out / 'bench.json'}, {options.out / 'bench.svg'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
