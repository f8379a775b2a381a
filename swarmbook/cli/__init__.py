"""The command line: thin over the library.

Exit codes: 0 success, 1 a check failed, 2 the command or a parameter is wrong, 3 the environment is not as expected,
    130 interrupted.
"""

from __future__ import annotations

import os
from typing import Any

import click

from swarmbook import __version__
from swarmbook.base.border import ours
from swarmbook.cli import (
    caring,
    engines,
    following,
    images,
    keeping,
    looking,
    records,
    rotating,
    running,
    scheduling,
    serving,
    using,
    watching,
)
from swarmbook.cli.common import say
from swarmbook.cli.rehearsing import lab_hosts, rehearse_command
from swarmbook.cli.starting import init

__all__ = ["main"]


class _Group(click.Group):
    """Turns every error into one message and its exit code; a traceback only on request."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):  # the second one: at a question
            say("interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:  # who reads our output has gone; click ends in silence
            raise
        except (click.exceptions.Exit, click.ClickException):
            raise
        except Exception as caught:
            if os.environ.get("SWARMBOOK_DEBUG"):
                raise
            error = ours(caught)
            say(f"{type(error).__name__}: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="swarmbook")
@click.option("--debug", is_flag=True, help="Show Python's tracebacks.")
def main(debug: bool) -> None:
    """Build a MariaDB Galera cluster on Docker Swarm, with Consul, from notebooks that also run headless.

    Exit codes: 0 success, 1 a check failed, 2 the command or a parameter is wrong, 3 the environment is not as expected,
    130 interrupted.
    """
    if debug:
        os.environ["SWARMBOOK_DEBUG"] = "1"


for _room in (
    running,
    caring,
    keeping,
    rotating,
    serving,
    using,
    looking,
    engines,
    following,
    images,
    records,
    scheduling,
    watching,
):
    for _name in _room.__all__:
        main.add_command(getattr(_room, _name))
main.add_command(rehearse_command)
main.add_command(lab_hosts)
main.add_command(init)
