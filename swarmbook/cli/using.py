"""`use`: a small application on the cluster, from the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from swarmbook.cli.common import example, known_secrets, open_book, require_machines, say, with_json, with_parameters
from swarmbook.params import Params

if TYPE_CHECKING:
    from swarmbook.application.tally import Seen

__all__ = ["use"]

#: Seconds over which the line on the terminal counts, and from one line to the next where no one watches.
_LATELY_S, _EVERY_S = 3.0, 10.0


@click.command(epilog=example("swarmbook use params/lab.yaml --seconds 120"))
@with_parameters
@click.option(
    "--seconds",
    type=click.IntRange(1, 3600),
    metavar="N",
    help="How long the application works; Ctrl-C ends it before.  [default: use_seconds]",
)
@click.option("--keep", is_flag=True, help="Leave the application's tables in the database.")
@with_json
def use(params: Params, seconds: int | None, keep: bool, as_json: bool) -> None:
    """Run a small application on the cluster's endpoint (09), and hold what was acknowledged against what is there.

    Several connections make transfers between accounts, others read. Break what you like meanwhile. It ends with a table of
    figures, and with a verdict for each member: every commit that was acknowledged is there once, and the accounts hold together
    what they held before. Exit code 1: they do not; then the tables stay, too. The journals stay in use/CLUSTER in the book's folder.
    """
    from swarmbook.phases.use.folder import claimed
    from swarmbook.phases.use.step import clean, figures_table, held, run_it

    require_machines(params, "use")
    known_secrets(params)
    book = open_book(params)
    try:
        with claimed(book.cluster.name):
            with _line() as heard:
                ran = run_it(book, seconds or params.use_seconds, heard, stoppable=True)
            checks = held(book, ran.folder)
            if not (checks.failed or keep or params.use_keep):
                clean(book)
    finally:
        book.close()
    journals = os.path.relpath(ran.folder)
    if as_json:
        found = {"holds": not checks.failed, **ran.figures.to_json(), "checks": checks.to_json(), "journals": journals}
        say(json.dumps(found, indent=2))
    else:
        say(f"{figures_table(ran.figures).to_text()}\n\n{checks.to_text()}\n\nThe journals: {journals}")
    if checks.failed and as_json:
        sys.exit(1)
    checks.raise_for_failures("swarmbook status PARAMS; swarmbook logs PARAMS")


@contextlib.contextmanager
def _line() -> Iterator[Callable[[Seen], None]]:
    """Give what says how far the application is: one line that changes on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=0, bar_format="{desc}", file=sys.stderr, leave=True) as bar:
            yield lambda seen: bar.set_description_str(words(seen))
        return
    latest = [-_EVERY_S]

    def heard(seen: Seen) -> None:
        if seen.seconds - latest[0] >= _EVERY_S:
            latest[0] = seen.seconds
            say(words(seen), err=True)

    yield heard


def words(seen: Seen) -> str:
    """Say in one line how the application is doing.

    Args:
        seen: What it has done so far.
    """
    from swarmbook.application.figures import percentile, writers
    from swarmbook.base.plain import plain
    from swarmbook.show.load import milliseconds

    since = max(0.0, seen.seconds - _LATELY_S)
    lately = [commit.seconds for commit in seen.commits if commit.at >= since]
    silent = seen.seconds - (seen.commits[-1].at if seen.commits else 0.0)
    rate = len(lately) / (seen.seconds - since) if seen.seconds else 0.0
    writer: Any = writers(seen.met)[-1][1] if seen.met else "none"
    parts = [
        f"{seen.seconds:.0f} s",
        f"{len(seen.commits)} commits",
        f"{rate:.0f} per second",
        f"95 of 100 within {milliseconds(percentile(lately, 95))}" if lately else "",
        f"writer {writer}",
        f"no commit for {silent:.1f} s" if silent > 0.5 else "",
    ]
    return plain(" · ".join(part for part in parts if part))
