"""What the notebooks' bootstrap cell calls.

A run imports this module in a kernel before its notebook's turn has come, so nothing here may read parameters or hold
a lock at import; what the phases need is imported so that a warm kernel has it.
"""

from __future__ import annotations

import importlib
from collections.abc import MutableMapping
from typing import Any

from swarmbook.base.border import border
from swarmbook.book.book import Book
from swarmbook.diagnosis import board
from swarmbook.model.phases import PHASES
from swarmbook.params import params_from_namespace

__all__ = ["open_book"]


def open_book(phase: str, namespace: MutableMapping[str, Any]) -> Book:
    """Open one phase of the book on the parameters of its notebook.

    Example:
        >>> book = open_book("05", globals())  # doctest: +SKIP
        >>> swarm.nodes_table(book)  # doctest: +SKIP

    Args:
        phase: Number of the notebook, such as ``"04"``.
        namespace: The notebook's variables: ``globals()``.

    Returns:
        The book, whose steps the phase's functions take.

    Raises:
        ParameterError: Everything that is wrong with the parameters, in one message.
    """
    earlier = namespace.get("book")
    with border():
        if isinstance(earlier, Book):  # the cell was run again, with other parameters perhaps
            earlier.close()
        params = params_from_namespace(phase, namespace)
        book = Book(phase, params)
        board.watch(params, book.cluster)
    return book


def _warm() -> None:
    import fabric  # noqa: F401
    import pymysql  # noqa: F401

    for module in {step.partition(":")[0] for phase in PHASES.values() for step in phase.steps}:
        importlib.import_module(f"swarmbook.phases.{module}")


_warm()
