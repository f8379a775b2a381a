"""Drills: each fault is done to a lab while an application works, and every acknowledged commit is accounted for.

Usage: python -m tools.drills [--seeds 3] [--only FAULT...] [--params FILE] [--docs]

Without --params it builds a lab of its own, and takes it away. Writes drills.json; with --docs also docs/drills.json and
docs/what-happens-when.md. What takes longer than wanted is reported and is no failure; a commit that is missing is one, and so is a
cluster that is not whole again by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import yaml

from swarmbook.base.errors import SwarmbookError
from swarmbook.base.files import write_atomic
from swarmbook.book.book import Book
from swarmbook.params import load_params
from swarmbook.phases.drill.course import Result, hold
from swarmbook.phases.drill.faults import FAULTS
from tools.bench import ROOT, Failed, a_lab, columns, interrupt, machine
from tools.drills.page import page, rows

_ENDPOINT = {"with_endpoint": True, "endpoint_writer_port": 3307, "endpoint_reader_port": 3308}


@contextlib.contextmanager
def _own_lab() -> Iterator[Path]:
    with a_lab(3) as lab:
        data = {**yaml.safe_load(lab.params.read_text("utf-8")), **_ENDPOINT}
        lab.params.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
        lab.command("run")
        os.environ["SWARMBOOK_HOME"] = str(lab.home)
        yield lab.params


def _write(out: Path, results: Sequence[Result], docs: bool) -> None:
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    about = machine()
    text = json.dumps({"date": date, "machine": about, "drills": [asdict(one) for one in results]}, indent=1) + "\n"
    write_atomic(out / "drills.json", text)
    if docs:
        write_atomic(ROOT / "docs" / "drills.json", text)
        write_atomic(ROOT / "docs" / "what-happens-when.md", page(results, about, date))


def main(arguments: Sequence[str]) -> int:
    """Do the drills.

    Returns:
        0 where all was kept and all was whole again by itself, 1 where not, 2 for a usage error.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.drills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="tries of each fault (default: 3)")
    parser.add_argument(
        "--only", nargs="+", choices=list(FAULTS), default=list(FAULTS), metavar="FAULT", help=", ".join(FAULTS)
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="a lab that is there and has its endpoint (default: one of its own)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bench-results"), metavar="FOLDER", help="where drills.json goes"
    )
    parser.add_argument("--docs", action="store_true", help="write the page in docs, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    results: list[Result] = []
    try:
        with contextlib.nullcontext(options.params) if options.params else _own_lab() as params:
            for seed in range(1, options.seeds + 1):
                for name in options.only:
                    with contextlib.closing(Book("", load_params(params))) as book:
                        results.append(hold(book, name, seed, lambda seen: None).result)
                    print(f"{name}, seed {seed}: {json.dumps(asdict(results[-1]))}", flush=True)
                    _write(options.out, results, options.docs)
    except (SwarmbookError, Failed) as error:
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    print(columns(rows(results)))
    for one in results:
        for wrong in filter(None, [*one.wrong, one.not_done]):
            print(f"{one.fault}, seed {one.seed}: {wrong}", file=sys.stderr)
    return (
        0 if all(one.kept and one.whole_s is not None and not one.wrong and not one.not_done for one in results) else 1
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
