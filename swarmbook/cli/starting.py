"""The command that gives readers a book of their own."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from swarmbook.access.cluster import home
from swarmbook.base.errors import UsageError
from swarmbook.base.files import write_atomic
from swarmbook.base.words import many, typed
from swarmbook.cli.common import example, say, with_json

__all__ = ["init"]


@click.command("init", epilog=example("swarmbook init mybook && cd mybook && swarmbook run params/lab.yaml"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]", required=False)
@click.option(
    "--diff",
    is_flag=True,
    help="Write nothing; show how DIR (default: the book here) differs from the book that this version ships.",
)
@click.option(
    "--from",
    "conf",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    metavar="swarm.conf",
    help="Take the settings of the 2016 walkthrough into DIR/params: its swarm.conf, or your swarm.local.",
)
@with_json
def init(folder: Path | None, diff: bool, conf: Path | None, as_json: bool) -> None:
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
    taken = _taken(folder, conf) if conf is not None else None
    written = copy_to(folder)
    if taken is not None:
        file, text = taken
        write_atomic(folder / file, text)
        written.append(str(file))
    if as_json:
        say(json.dumps({"folder": str(folder), "written": written}))
    else:
        say(
            f"{folder}: {many(len(written), 'file')} written"
            if written
            else f"{folder}: all files exist already; swarmbook init {folder} --diff compares them"
        )
        say(
            f"next: cd {typed(folder)} && "
            + (f"swarmbook plan {typed(taken[0])}" if taken else "swarmbook run params/lab.yaml")
        )


def _taken(folder: Path, conf: Path) -> tuple[Path, str]:
    """Read the walkthrough's settings; return the parameter file that they become, and its text.

    Raises:
        ParameterError: A setting is nothing that a parameter may be.
        UsageError: There is such a parameter file already.
    """
    from swarmbook.params import load_params
    from swarmbook.params.kinds import near_name
    from swarmbook.params.walkthrough import parameters_of, rendered

    name = near_name(conf.stem) or "swarm"
    file = Path("params", f"{name}.yaml")
    if (folder / file).exists():
        raise UsageError(
            f"{folder / file} is there already",
            where=str(folder / file),
            next="move it away, or give the file that you take the settings from another name",
        )
    text = rendered(parameters_of(conf.read_text(encoding="utf-8", errors="replace"), name), conf.name)
    with tempfile.TemporaryDirectory(prefix="swarmbook-") as aside:
        trial = Path(aside) / f"{conf.name}, as parameters"
        trial.write_text(text, encoding="utf-8")
        load_params(trial)
    return file, text
