"""Whether code does nothing but compute: an audit hook sees every file that is opened to write, every process and socket."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

_watched: set[int] = set()
_EVENTS = (
    "subprocess.Popen",
    "socket.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "shutil.",
)


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if threading.get_ident() not in _watched:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(_EVENTS):
        raise AssertionError(f"a side effect: {event} {arguments[:2]}")


sys.addaudithook(_hook)  # for good: there is no way to take one away


@contextlib.contextmanager
def no_side_effects() -> Iterator[None]:
    """Fail when the code inside writes a file, starts a process or opens a socket."""
    me = threading.get_ident()
    _watched.add(me)
    try:
        yield
    finally:
        _watched.discard(me)
