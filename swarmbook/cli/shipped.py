"""The book as this version ships it, and folders that hold a copy: what is the reader's own in them, and what a newer version says otherwise."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swarmbook import __version__
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, OutOfOrder, WorldError
from swarmbook.base.files import write_atomic
from swarmbook.base.words import typed

__all__ = ["MARK", "Difference", "copy_to", "differences", "shipped"]

#: Remembers in a copy which version it came from, and what each file was then.
MARK = ".swarmbook.json"
_FILES = ("notebooks/*.ipynb", "params/*.yaml", "docs/*.md", "docs/*.svg", "docs/*.png", "docs/decisions/*.md")
_SHARE = "share/swarmbook/"


def shipped() -> dict[str, Path]:
    """Return the files of the book by their path in a copy.

    They are those of the checkout that this package runs from, else those that the wheel has installed.

    Raises:
        WorldError: The package was installed without them.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").exists() and (checkout / "notebooks").is_dir():
        return {
            path.relative_to(checkout).as_posix(): path for pattern in _FILES for path in sorted(checkout.glob(pattern))
        }
    found = {}
    for file in importlib.metadata.files("swarmbook") or []:
        _, share, rest = file.as_posix().partition(_SHARE)
        if share and Path(str(file.locate())).exists():
            found[rest] = Path(str(file.locate())).resolve()
    if not found:
        raise WorldError(
            "this installation does not contain the book",
            where=str(Path(__file__).parents[1]),
            wanted=f"files below {_SHARE} of the environment",
            seen="none",
            next="pip install --force-reinstall --no-deps swarmbook",
        )
    return dict(sorted(found.items()))


def _hash(path: str, data: bytes) -> str:
    """Hash what a person reads in a file: a notebook that was executed is not a changed one."""
    return hashlib.sha256("\n".join(_text(path, data)).encode()).hexdigest()


def _mark(folder: Path) -> tuple[str, dict[str, str]]:
    """Read which version a copy came from, and the hash of each file then."""
    try:
        data = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return str(data["version"]), {str(path): str(value) for path, value in data["files"].items()}
    except FileNotFoundError:
        raise OutOfOrder(
            "this folder holds no copy of the book",
            where=str(folder / MARK),
            wanted="a folder that swarmbook init has made",
            next="swarmbook init DIR",
            code=Code.NO_COPY_OF_THE_BOOK,
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorldError(
            "the record of the book's copy cannot be read",
            where=str(folder / MARK),
            seen=str(error),
            next=f"swarmbook init {typed(folder)} writes it again",
        ) from None


def copy_to(folder: Path) -> list[str]:
    """Copy the book into a folder; existing files stay as they are, so that an interrupted copy is completed.

    Args:
        folder: Made where it is not there.

    Returns:
        Paths of the files that were written.

    Raises:
        ForeignData: Notebooks or parameters of the same names are there that no earlier copy has put there.
    """
    files = shipped()
    there = [path for path in files if (folder / path).exists()]
    version, was = _mark(folder) if (folder / MARK).exists() else (__version__, {})
    now = {path: _hash(path, source.read_bytes()) for path, source in files.items()}
    strangers = [path for path in there if path not in was and _hash(path, (folder / path).read_bytes()) != now[path]]
    if strangers:
        raise ForeignData(
            "existing files would be mistaken for the book's",
            where=str(folder),
            wanted="a new folder, or one that swarmbook init has made",
            seen=", ".join(strangers[:5]) + (" ..." if strangers[5:] else ""),
            next="swarmbook init OTHER-FOLDER",
        )
    written = []
    for path, source in files.items():
        if path not in there:
            write_atomic(folder / path, source.read_bytes())
            written.append(path)
    # A file that was there keeps the mark of the version that it came from: what differs from that is the reader's.
    marks = {**now, **{path: was[path] for path in there if path in was}}
    write_atomic(folder / MARK, json.dumps({"version": version, "files": {**was, **marks}}, indent=2) + "\n")
    return written


@dataclass(frozen=True)
class Difference:
    """One file of a copy that is not as this version ships it.

    Args:
        path: Below the copy's folder.
        what: Whose change it is.
        lines: A unified diff from the copy to what is shipped; of a notebook, of its cells' text.
    """

    path: str
    what: str
    lines: tuple[str, ...] = ()


def differences(folder: Path) -> list[Difference]:
    """Compare a copy with the book that this version ships.

    Raises:
        OutOfOrder: The folder is no copy.
    """
    version, was = _mark(folder)
    files = shipped()
    found = []
    for path in sorted({*files, *was}):
        mine = (folder / path).read_bytes() if (folder / path).exists() else None
        theirs = files[path].read_bytes() if path in files else None
        if (mine and _hash(path, mine)) == (theirs and _hash(path, theirs)):
            continue
        what = _whose(path, version, mine, theirs, was)
        found.append(Difference(path, what, tuple(_diff(path, mine, theirs))))
    return found


def _whose(path: str, version: str, mine: bytes | None, theirs: bytes | None, was: Mapping[str, str]) -> str:
    origin = was.get(path)
    if theirs is None:
        return "not in this version any more"
    if mine is None:
        return "new in this version" if origin is None else "removed by you"
    mine_changed, theirs_changed = _hash(path, mine) != origin, _hash(path, theirs) != origin
    if mine_changed and theirs_changed:
        return f"changed by you, and in this version since {version}"
    return "changed by you" if mine_changed else f"changed in this version since {version}"


def _diff(path: str, mine: bytes | None, theirs: bytes | None) -> Iterable[str]:
    if mine is None or theirs is None:
        return
    yield from difflib.unified_diff(
        _text(path, mine), _text(path, theirs), f"yours/{path}", f"shipped/{path}", n=2, lineterm=""
    )


def _text(path: str, data: bytes) -> list[str]:
    """Return the lines that a person reads: of a notebook, its cells' text, since outputs and counts are no changes."""
    text = data.decode("utf-8", errors="replace")
    if not path.endswith(".ipynb"):
        return text.splitlines()
    try:
        cells = json.loads(text)["cells"]
        return [
            line
            for cell in cells
            for line in [f"# [{cell['cell_type']}] {cell.get('id', '')}", *"".join(cell["source"]).splitlines()]
        ]
    except (ValueError, KeyError, TypeError):
        return text.splitlines()
