"""Files that stand in the place of Python's own modules: a ``secrets.py`` in a folder of PYTHONPATH, say."""

from __future__ import annotations

import os
import sys

__all__ = ["shadows"]


def shadows() -> list[str]:
    """List the files on Python's path that hide a module of its own, whether or not it has been imported yet."""
    own = os.path.realpath(os.path.dirname(os.__file__))
    found = []
    for entry in sys.path:
        folder = os.path.realpath(entry or os.curdir)
        if folder == own:
            break  # what comes later hides nothing
        try:
            names = sorted(os.listdir(folder))
        except OSError:  # no folder, such as the archive with the standard library
            continue
        for name in names:
            module, _, ending = name.partition(".")
            whole = os.path.join(folder, name)
            if module not in sys.stdlib_module_names:
                continue
            if ending == "py" or (not ending and os.path.isfile(os.path.join(whole, "__init__.py"))):
                found.append(whole)
    return found
