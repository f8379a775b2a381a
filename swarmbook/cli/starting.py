"""The command that gives readers a book of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from swarmbook.access.cluster import home
from swarmbook.base.errors import UsageError
from swarmbook.base.words import many
from swarmbook.cli.common import example, say, with_json

__all__ = ["init"]


@click.command("init", epilog=example("swarmbook init mybook && cd mybook && swarmbook run params/lab.yaml"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]", required=False)
@click.option(
    "--diff",
    is_flag=True,
    help="Write nothing; show how DIR (default: the book here) differs from the book that this version ships.",
)
@with_json
def init(folder: Path | None, diff: bool, as_json: bool) -> None:
    """Copy the notebooks and parameters into DIR, where you can run and change them.

    Existing files stay as they are. With --diff, exit code 1 means that something differs, by your changes or by this version's.
    """
    from swarmbook.cli.shipped import copy_to, differences

    if diff:
        target = folder or home()
        found = differences(target)
        if as_json:
            say(json.dumps([{"path": d.path, "what": d.what, "diff": list(d.lines)} for d in found], indent=2))
        else:
            for difference in found:
                say("\n".join([f"{difference.path}: {difference.what}", *difference.lines, ""]))
            say(
                f"{many(len(found), 'file')} {'differs' if len(found) == 1 else 'differ'}"
                if found
                else "same as this version ships"
            )
        sys.exit(1 if found else 0)
    if folder is None:
        raise UsageError("which folder?", wanted="a folder", next="swarmbook init mybook")
    written = copy_to(folder)
    if as_json:
        say(json.dumps({"folder": str(folder), "written": written}))
    else:
        say(
            f"{folder}: {many(len(written), 'file')} written"
            if written
            else f"{folder}: all files exist already; swarmbook init {folder} --diff compares them"
        )
        say(f"next: cd {folder} && swarmbook run params/lab.yaml")
