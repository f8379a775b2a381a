"""Writing to disk: always aside and renamed, so that a reader never sees half a file, and a power cut leaves the old one or the new."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

__all__ = ["runtime_folder", "write_atomic", "write_private"]


def runtime_folder() -> Path:
    """Return the folder for what lives no longer than this user's session; it may not be there yet."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/swarmbook-{os.getuid()}")


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file aside and rename it into place.

    Args:
        path: Where it goes; missing folders are made.
        content: Text (written as UTF-8) or bytes.
        mode: Permissions, set before there is any content.
    """
    data = content.encode() if isinstance(content, str) else content
    _make(path.parent)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(handle, mode)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _make(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing; each is written into the one above."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True, mode=mode)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Write a folder's names to the disk: without that, a power cut may leave the file's old content, or no file."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that we may write to and not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do that for folders
            raise
    finally:
        os.close(handle)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner may read; its folder likewise."""
    _make(path.parent, mode=0o700)
    write_atomic(path, content, mode=0o600)
