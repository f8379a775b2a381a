"""Showing something in the notebook that runs, at once; outside of a notebook, nothing."""

from __future__ import annotations

import contextlib
from typing import Any

from swarmbook.base.secrets import mask
from swarmbook.show.drawing import as_image

__all__ = ["display", "show_picture"]


def show_picture(svg: str, words: str) -> None:
    """Show a picture above a step's table, as an output of its own.

    Args:
        svg: The picture.
        words: What is shown where there are no pictures.
    """
    display({"text/html": as_image(mask(svg)), "text/plain": mask(words)}, raw=True)


def display(what: Any, **how: bool) -> None:
    """Show an object, as IPython's ``display`` does.

    Args:
        what: Anything that knows how to show itself.
        how: Passed on.
    """
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import display as show

        if get_ipython() is not None:
            show(what, **how)
