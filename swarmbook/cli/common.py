"""What several commands share: the argument PARAMS, ``--json``, ``--cluster``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ..params import Params, load_params

__all__ = ["example", "open_book", "with_json", "with_parameters"]


def example(text: str) -> str:
    """A command's epilog."""
    return f"\b\nExample:\n  {text}"


def with_parameters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument PARAMS, read and checked before anything else."""

    @click.argument("params", type=click.Path(dir_okay=False), metavar="PARAMS")
    @wraps(command)
    def wrapped(params: str, **options: Any) -> Any:
        return command(params=load_params(params), **options)

    return wrapped


with_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def open_book(params: Params) -> Any:
    """The book on these parameters, in no phase."""
    from ..book import Book

    return Book("", params)
