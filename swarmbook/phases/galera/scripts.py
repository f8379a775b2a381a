"""The initial scripts: what lies in their folder is run once, on the founder, or refused before anything is founded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.base.words import many

__all__ = ["KINDS", "Progress", "Scripts", "initial_scripts"]

#: What is run: SQL, packed or not, and scripts for bash. In any case of letters.
KINDS = (".sql", ".sql.gz", ".sql.xz", ".sql.zst", ".sql.bz2", ".sh")
#: What MariaDB's client reads from another file: ``source NAME`` or ``\\. NAME`` at the beginning of a statement.
_SOURCE = re.compile(rb"^\s*(?:source|\\\.)\s+(\S.*?)\s*;?\s*$", re.IGNORECASE)
#: A line after which the next one begins a statement.
_ENDS = re.compile(rb"(?:^\s*(?:--.*|#.*|/\*.*\*/\s*;?|delimiter\s.*)?|;\s*(?:--.*)?|\$\$|//)\s*$", re.IGNORECASE)
#: A line that is longer is data.
_LONGEST = 4096
_OPENERS: Mapping[str, Callable[[Path], Any]] = {
    ".sql": lambda path: path.open("rb"),
    ".sql.gz": gzip.GzipFile,
    ".sql.bz2": bz2.BZ2File,
    ".sql.xz": lzma.LZMAFile,
}
_REASONS = {
    ".zip": "an archive: unpack it",
    ".tar": "an archive: unpack it",
    ".tgz": "an archive: unpack it",
    ".tar.gz": "an archive: unpack it",
    ".7z": "an archive: unpack it",
    ".gz": "packed, but no .sql.gz: rename it if it is SQL",
    ".xz": "packed, but no .sql.xz: rename it if it is SQL",
    ".zst": "packed, but no .sql.zst: rename it if it is SQL",
    ".bz2": "packed, but no .sql.bz2: rename it if it is SQL",
    ".sql.lz4": "packed in a way that is not known: use gz, xz, zst or bz2",
    ".dump": "no script names it: rename it to .sql, or have a script source it",
}
_OTHERWISE = "no script, and no script names it"


@dataclass(frozen=True)
class Scripts:
    """What goes to the founder.

    Args:
        files: All files, scripts and what they read, in the order of their names.
        run: Names of those that are run, in their order.
    """

    files: tuple[Path, ...] = ()
    run: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far the script that runs has got.

    Args:
        name: The script.
        read: Bytes of it that were read.
        size: All of its bytes.
        seconds: Since it began.
        statement: First words of the statement that the server works on; its values stay there.
    """

    name: str
    read: int
    size: int
    seconds: int
    statement: str = ""

    def __str__(self) -> str:
        at = f", at {self.statement}" if self.statement else ""
        share = f"{self.read / 1e6:,.1f} of {self.size / 1e6:,.1f} MB, " if self.read else ""
        return f"runs {self.name}: {share}{self.seconds} s{at}"


def initial_scripts(folder: str, *, look: bool = True) -> Scripts:
    """Look at every entry of the folder of initial scripts.

    Args:
        folder: ``mariadb_init_scripts``; empty: there is none.
        look: Look into the folder; else only whether it is there.

    Raises:
        UsageError: The folder is not there, or an entry cannot be loaded; names each with the reason.
    """
    if not folder:
        return Scripts()
    at = Path(folder).expanduser()
    if not at.is_dir():
        raise UsageError(
            "the folder of initial scripts is not there",
            where=str(at.resolve()),
            wanted=f"a folder with {_in_words()}",
            next="correct mariadb_init_scripts in the parameters",
            code=Code.INIT_SCRIPTS_NOT_THERE,
        )
    if not look:
        return Scripts()
    try:
        entries = sorted(at.iterdir(), key=lambda path: path.name)
        wrong, scripts = _looked_at(entries)
    except OSError as error:
        raise UsageError(
            "the folder of initial scripts cannot be read",
            where=str(error.filename or at.resolve()),
            seen=str(error.strerror or error),
            next="make it readable, or correct mariadb_init_scripts in the parameters",
            code=Code.INIT_SCRIPTS_REFUSED,
        ) from None
    if not scripts.run and not wrong:
        wrong = {".": f"no script in it: wanted {_in_words()}"}
    if wrong:
        raise UsageError(
            f"{many(len(wrong), 'entry', 'entries')} of the folder of initial scripts would not be loaded, "
            "and they are run only once: nothing was founded",
            where=str(at.resolve()),
            wanted=f"{_in_words()}, and what they read",
            seen="\n".join(f"{name}: {why}" for name, why in wrong.items()),
            next="put right what is listed, or move it out of the folder",
            code=Code.INIT_SCRIPTS_REFUSED,
        )
    return scripts


def _in_words() -> str:
    return ", ".join(f"*{kind}" for kind in KINDS)


def _kind(name: str) -> str:
    return next((kind for kind in sorted(KINDS, key=len, reverse=True) if name.lower().endswith(kind)), "")


def _looked_at(entries: Sequence[Path]) -> tuple[dict[str, str], Scripts]:
    """Sort the entries into scripts, what these read, and what is wrong with the others."""
    wrong = {path.name: why for path in entries if (why := _no_file(path))}
    files = [path for path in entries if path.name not in wrong]
    scripts = [path for path in files if _kind(path.name)]
    others = {path.name: path for path in files if not _kind(path.name)}
    read: set[str] = set()
    for path in scripts:
        try:
            for name in _reads(path, others):
                if name in others or name in {each.name for each in scripts}:
                    read.add(name)
                else:
                    wrong[path.name] = f"reads {name}, which is not in the folder: it is all that the script can see"
        except (OSError, EOFError, lzma.LZMAError) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            wrong[path.name] = f"cannot be unpacked: {error}"
    wrong |= {name: _why(name) for name in others if name not in read}
    kept = tuple(path for path in files if path.name not in wrong)
    return wrong, Scripts(kept, tuple(path.name for path in kept if path in scripts and path.name not in read))


def _no_file(path: Path) -> str:
    if path.is_dir():
        return "a folder: the scripts of folders within are not run"
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    if not path.is_file():
        return "no file"
    if not path.name.isprintable() or "\\" in path.name:
        return "a name with characters that cannot be printed"
    return ""


def _why(name: str) -> str:
    endings = sorted(_REASONS, key=len, reverse=True)
    return next((_REASONS[ending] for ending in endings if name.lower().endswith(ending)), _OTHERWISE)


def _reads(path: Path, others: Iterable[str]) -> Iterator[str]:
    """List the files that a script reads: those that SQL sources, and those whose names a script for bash holds."""
    kind = _kind(path.name)
    if kind == ".sh":
        text = path.read_bytes()
        yield from (name for name in others if name.encode() in text)
        return
    opener = _OPENERS.get(kind)
    if opener is None:  # packed in a way that Python cannot read: the founder can
        return
    with opener(path) as lines:
        begins = True
        while line := lines.readline(_LONGEST):
            whole = line.endswith(b"\n") or len(line) < _LONGEST
            if begins and whole and (found := _SOURCE.match(line)):
                name = found[1].decode(errors="replace").strip("'\"")
                yield name.removeprefix("./")
                continue
            if line.strip():
                begins = whole and bool(_ENDS.search(line))
