"""The border: what libraries and the system raise becomes an error of ours, with what, where, seen and next.

An adapter puts :func:`border` around what it asks of its library, and says what it was about. What comes from no adapter
(a file of this computer, above all) becomes ours where a step ends, where several hosts are asked at once, and in the
command line: no one meets a library's words without ours around them. What is left is a fault of swarmbook's own.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable, HostUnreachable, ProviderError, SwarmbookError, WorldError
from swarmbook.base.secrets import mask

__all__ = ["KINDS", "Kind", "border", "foreign", "ours", "own_fault", "words"]

_MOST_WORDS = 1500
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_MORE = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Kind:
    """Libraries whose errors mean much the same.

    Args:
        packages: Where their classes, or the code that raises, are from.
        error: Ours.
        code: Its code.
        what: Its sentence.
        next: What to do.
    """

    packages: frozenset[str]
    error: type[SwarmbookError]
    code: Code
    what: str
    next: str


def _kind(packages: str, error: type[SwarmbookError], code: Code, what: str, next: str) -> Kind:
    return Kind(frozenset(packages.split()), error, code, what, next)


#: The first that knows an error's class, or else the code that raised it, names it.
KINDS = (
    _kind("docker", EngineUnavailable, Code.ENGINE_UNAVAILABLE, "a Docker Engine did not do what it was asked", "docker info"),
    _kind("paramiko fabric invoke nacl bcrypt", HostUnreachable, Code.CONNECTION_BROKE, "an SSH connection does not work", "swarmbook status PARAMS"),
    _kind("pymysql", WorldError, Code.DATABASE_FAILED, "a member does not do what it was asked", "swarmbook status PARAMS"),
    _kind("SoftLayer xmlrpc", ProviderError, Code.PROVIDER_FAILED, "SoftLayer's client failed", "slcli account summary"),
    _kind("requests urllib3 http urllib ssl socket", WorldError, Code.NO_ANSWER, "a service does not answer", "run it again; swarmbook status PARAMS"),
    _kind("yaml json tomllib configparser csv xml tarfile zipfile gzip zlib lzma bz2 binascii cryptography pydantic pydantic_core pyexpat jsonschema", WorldError, Code.NOT_UNDERSTOOD, "something that was read is not in the form it should be", "restore the file, or look at what wrote it"),
    _kind("nbformat nbclient papermill jupyter_client zmq", WorldError, Code.NOTEBOOK_FAILED, "a notebook, or its kernel, cannot be used", "swarmbook --debug run PARAMS shows where"),
    _kind("subprocess", WorldError, Code.PROGRAM_FAILED, "a program on this computer failed", "type it yourself and look"),
    _kind("filelock", WorldError, Code.FILE_FAILED, "a file of this computer cannot be locked", "wait for who holds it, and run again"),
)  # fmt: skip


def _packages(error: BaseException) -> Iterator[str]:
    """Yield the top packages an error is from: those of its class, then that of the code which raised it."""
    for cls in type(error).__mro__:
        if cls.__module__ != "builtins":
            yield cls.__module__.partition(".")[0]
    frames = _frames(error)
    if frames:
        yield str(frames[-1][0].f_globals.get("__name__", "")).partition(".")[0]


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    # Bounded: the trace of an error that two threads have raised at once can lead back into itself.
    return list(itertools.islice(traceback.walk_tb(error.__traceback__), 2000))


def _kind_of(error: BaseException) -> Kind | None:
    if isinstance(error, OSError) and error.errno in (*_NO_ROOM, *_NO_MORE):
        return None  # whatever it hit, this computer is what it is about
    for package in _packages(error):
        for kind in KINDS:
            if package in kind.packages:
                # A file that is not there is no file in the wrong form.
                plain_file = kind.code is Code.NOT_UNDERSTOOD and type(error).__module__ == "builtins"
                return None if plain_file and isinstance(error, OSError) else kind
    return None


def foreign(error: BaseException) -> bool:
    """Tell whether an error is of a library, of a codec or of the system: not ours, and no fault in our own code."""
    if isinstance(error, SwarmbookError) or not isinstance(error, Exception):
        return False
    return isinstance(error, (OSError, EOFError, UnicodeError)) or _kind_of(error) is not None


def words(error: BaseException) -> str:
    """Return what an error says, without a secret and without what it quotes of the text that it could not read."""
    name = type(error).__name__
    if isinstance(error, UnicodeError):  # what does not fit may be a secret
        reason, at = getattr(error, "reason", "") or name, getattr(error, "start", None)
        return f"{reason} at position {at}, {getattr(error, 'encoding', 'codec')}" if at is not None else str(reason)
    if (mark := getattr(error, "problem_mark", None)) is not None:
        return f"line {mark.line + 1}: {name}"
    if type(error).__module__.partition(".")[0] in ("pydantic", "pydantic_core"):
        return f"{name}: {getattr(error, 'title', '')}"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return errno.errorcode[error.errno]  # not the sentence by which a node's full disk is known
    if isinstance(error, OSError) and error.strerror:
        return mask(str(error.strerror))[:_MOST_WORDS]
    text = str(error).strip()
    # An exit code, or a bare `Channel closed.`, says little without its class.
    return mask(f"{name}: {text}" if text else name)[:_MOST_WORDS]


def ours(error: Exception, what: str = "", *, where: str = "", wanted: str = "", next: str = "") -> SwarmbookError:
    """Make an error of ours of any other.

    Args:
        error: What was raised; one of ours is returned as it is.
        what: The sentence; by default one that fits its kind.
        where: Host, file or object it is about; by default the file that it names.
        wanted: What was expected.
        next: What to do; by default what fits its kind.
    """
    if isinstance(error, SwarmbookError):
        return error
    kind = _kind_of(error)
    if kind is not None:
        cls, code, general, then = kind.error, kind.code, kind.what, kind.next
    elif isinstance(error, OSError):
        cls, (code, general, then) = WorldError, _of_this_computer(error)
    elif isinstance(error, UnicodeError):
        cls, code, general, then = WorldError, Code.NOT_TEXT, "a text is in another encoding", "save it as UTF-8"
    elif isinstance(error, EOFError):
        cls, code, general, then = WorldError, Code.CONNECTION_BROKE, "something ended too early", "run it again"
    else:
        return own_fault(error)
    file = error.filename if isinstance(error, OSError) else None
    return cls(
        what or general,
        where=where or (str(file) if file is not None else _raised_in(error)),
        wanted=wanted or None,
        seen=words(error) + (f": {file}" if where and file is not None else ""),
        next=next or then,
        code=code,
    )


def _of_this_computer(error: OSError) -> tuple[Code, str, str]:
    place = f"'{error.filename}'" if isinstance(error.filename, (str, Path)) else "."
    if error.errno in _NO_ROOM:
        return Code.NO_ROOM_HERE, "a file cannot be written: this computer has no room left for it", f"df -h {place}"
    if error.errno in _NO_MORE:
        return Code.TOO_MANY_FILES, "this process may open no more files", "ulimit -n 4096, and run it again"
    if error.errno in (errno.ENOMEM, errno.EAGAIN):
        return Code.NO_ROOM_HERE, "this computer has too little memory, or too many processes", "free -m; ulimit -u"
    if isinstance(error, ConnectionError) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT):
        return Code.NO_ANSWER, "a connection from this computer failed", "run it again; swarmbook status PARAMS"
    if isinstance(error, TimeoutError):
        return Code.NO_ANSWER, "an answer did not come in time", "run it again; swarmbook status PARAMS"
    return Code.FILE_FAILED, "a file or folder of this computer cannot be used", f"ls -ld {place}"


def _raised_in(error: BaseException) -> str:
    """Name our own line that had asked: the last frame of this package."""
    own = [
        (frame, line)
        for frame, line in _frames(error)
        if str(frame.f_globals.get("__name__", "")).startswith("swarmbook.")
    ]
    if not own:
        return "this computer"
    frame, line = own[-1]
    return f"{frame.f_globals['__name__']}, line {line}"


def own_fault(error: Exception) -> SwarmbookError:
    """Make an error of a fault in swarmbook itself, or of another file in place of a module it needs."""
    from swarmbook.base.shadows import shadows

    if shadowing := shadows():
        return WorldError(
            "a file of yours stands in the place of a module of Python's own",
            where=", ".join(shadowing),
            wanted="Python's own module of that name",
            seen=words(error),
            next="rename it, or take its folder out of PYTHONPATH: env -u PYTHONPATH swarmbook ...",
            code=Code.MODULE_SHADOWED,
        )
    return SwarmbookError(
        "swarmbook met an error that it does not know: a fault of its own",
        where=_raised_in(error),
        seen=words(error),
        next="the same with SWARMBOOK_DEBUG=1 in front shows the whole traceback, for a report",
        code=Code.OWN_FAULT,
    )


@contextlib.contextmanager
def border(what: str = "", *, where: str = "", wanted: str = "", next: str = "") -> Iterator[None]:
    """Make errors of ours of all that libraries, codecs and the system raise in here; a fault in our own code stays one.

    Args:
        what: The sentence, as of an error; by default one that fits what was raised.
        where: Host, file or object it is about.
        wanted: What was expected.
        next: What to do.

    Raises:
        SwarmbookError: Something foreign was raised.
    """
    try:
        yield
    except Exception as error:
        if not foreign(error):
            raise
        raise ours(error, what, where=where, wanted=wanted, next=next) from error
