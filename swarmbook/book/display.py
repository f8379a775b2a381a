"""Showing something in the notebook that runs, at once; outside of a notebook, nothing."""

from __future__ import annotations

import contextlib
from typing import Any

from swarmbook.base.secrets import mask
from swarmbook.show.drawing import as_image

__all__ = ["LivePicture", "display", "show_picture"]


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


class LivePicture:
    """A picture in the notebook's cell that changes; outside of a notebook it shows nothing."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, svg: str, words: str) -> None:
        """Show this in place of what was shown before.

        Args:
            svg: The picture.
            words: What is shown where there are no pictures.
        """
        with contextlib.suppress(ImportError):
            from IPython import get_ipython
            from IPython.display import display as show

            if get_ipython() is None:
                return
            data = {"text/html": as_image(mask(svg)), "text/plain": mask(words)}
            if self._handle is None:
                self._handle = show(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
