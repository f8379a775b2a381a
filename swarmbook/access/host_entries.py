"""Hosts as their owner has them in an OpenSSH configuration: read as ``ssh -F FILE`` reads it, and refused where that cannot be known.

Written here since paramiko's reader takes no ``Include``, runs what ``Match exec`` says, and cannot say which line a value is from.
Of each setting the first value counts, of ``IdentityFile`` every one (ssh_config(5)).
"""

from __future__ import annotations

import fnmatch
import getpass
import glob
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from swarmbook.base.border import words
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.base.words import typed

__all__ = ["Entry", "Said", "filled", "look_up", "unclear"]

#: Settings that say how one gets to a host; all others are of no account here.
_COUNT = frozenset(
    [
        "hostname",
        "user",
        "port",
        "identityfile",
        "identitiesonly",
        "identityagent",
        "certificatefile",
        "proxyjump",
        "proxycommand",
        "canonicalizehostname",
    ]
)
#: Of these two the first that is met counts.
_PROXIES = ("proxyjump", "proxycommand")
_DEEPEST = 16  # OpenSSH's own limit for files that include each other
_LINE = re.compile(r"\s*(?P<key>[A-Za-z0-9]+)(?:\s*=\s*|\s+|$)(?P<rest>.*)", re.DOTALL)
_CRITERIA = ("host", "originalhost", "user", "localuser")


@dataclass(frozen=True)
class Said:
    """A value, and where it is written."""

    value: str
    where: str


@dataclass
class Entry:
    """What a configuration says of a host.

    Args:
        name: What it is called there.
        user: Who is to log in, as far as the caller has said so.
        settings: The values that count, by setting.
        by: The line that names it, by more than ``*``; empty where none does.
        names: The names of all hosts that are met on the way, without patterns.
    """

    name: str
    user: str = ""
    settings: dict[str, list[Said]] = field(default_factory=dict)
    by: str = ""
    names: list[str] = field(default_factory=list)

    def first(self, key: str) -> Said | None:
        """Return the value that counts."""
        return next(iter(self.settings.get(key, ())), None)


def unclear(what: str, where: str, *, wanted: str = "", seen: str = "", next: str) -> UsageError:
    """Return the error of a configuration that does not say how to get to a host."""
    return UsageError(
        what, where=where, wanted=wanted or None, seen=seen or None, next=next, code=Code.SSH_CONFIG_UNCLEAR
    )


def look_up(file: Path, name: str, user: str = "") -> Entry:
    """Read what a configuration says of a host.

    Args:
        file: The configuration, absolute.
        name: What the host is called.
        user: Who is to log in, where that is said elsewhere; ``Match user`` goes by it.

    Raises:
        UsageError: It cannot be read, or only by running what it says.
    """
    entry = Entry(name, user)
    _read(file, entry, active=True, never=False, depth=0, by="")
    return entry


def _read(file: Path, entry: Entry, *, active: bool, never: bool, depth: int, by: str) -> None:
    """Read a file.

    Args:
        file: The file.
        entry: What is said so far.
        active: Whether its first lines count.
        never: Whether no line of it counts: it is included by one that does not.
        depth: How many files include it.
        by: The line that includes it; empty for the first.
    """
    if depth > _DEEPEST:
        raise unclear(
            "files of the SSH configuration include each other without end",
            by,
            next="take one of the Include lines away",
        )
    unknown = ""  # why it cannot be known whether the lines count, in a block of which only running something tells
    for number, line in enumerate(_lines(file, by), 1):
        match = _LINE.fullmatch(line)
        if not line.strip() or line.lstrip().startswith("#") or match is None:
            continue
        key, where = match["key"].lower(), f"{file}, line {number}"
        given = _split(match["rest"], where)
        if key == "host":
            active, unknown = _named(entry, given, where) and not never, ""
        elif key == "match":
            said, unknown = _matches(entry, given, where)
            active = said and not never
            unknown = "" if never else unknown
        elif key == "include":
            if unknown:
                raise _only_run(entry, where, unknown)
            for included in (each for pattern in given for each in _included(pattern)):
                _read(included, entry, active=active, never=never or not active, depth=depth + 1, by=where)
        elif key in _COUNT and given and (active or unknown):
            _take(entry, key, given, where, unknown)


def _take(entry: Entry, key: str, given: list[str], where: str, unknown: str) -> None:
    """Note a setting, if no earlier line has it."""
    several = key in ("identityfile", "certificatefile")
    proxied = key in _PROXIES and any(each in entry.settings for each in _PROXIES)
    if not several and (key in entry.settings or proxied):
        return
    if unknown:
        raise _only_run(entry, where, unknown)
    value = " ".join(given) if key == "proxycommand" else given[0]
    entry.settings.setdefault(key, []).append(Said(value, where))


def _only_run(entry: Entry, where: str, unknown: str) -> UsageError:
    return unclear(
        f"whether a line counts for {entry.name} is only known to who runs what its block asks for",
        where,
        wanted="a block of Host, or of Match with all, host, originalhost, user or localuser",
        seen=unknown,
        next=f"write the line into a block `Host {entry.name}` before it",
    )


def _named(entry: Entry, patterns: list[str], where: str) -> bool:
    entry.names += [each for each in patterns if not re.search(r"[*?!]", each)]
    found = _like(entry.name, patterns)
    if found and not entry.by and any(each != "*" and _like(entry.name, [each]) for each in patterns):
        entry.by = where
    return found


def _like(text: str, patterns: list[str]) -> bool:
    """Tell whether a text is like one of the patterns, and like none that begins with an exclamation mark."""

    def like(pattern: str) -> bool:
        return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))

    return any(like(each) for each in patterns if each[:1] != "!") and not any(
        like(each[1:]) for each in patterns if each[:1] == "!"
    )


def _matches(entry: Entry, given: list[str], where: str) -> tuple[bool, str]:
    """Tell whether the criteria of ``Match`` hold; if only running something tells, also why."""
    hostname = entry.first("hostname")
    user = entry.first("user")
    facts = {
        "host": hostname.value.replace("%h", entry.name) if hostname else entry.name,
        "originalhost": entry.name,
        "user": entry.user or (user.value if user else getpass.getuser()),
        "localuser": getpass.getuser(),
    }
    unknown, rest = "", list(given)
    while rest:
        word = rest.pop(0)
        negated, criterion = word.startswith("!"), word.lstrip("!").lower()
        if criterion == "all":
            holds = True
        elif criterion in _CRITERIA and rest:
            patterns = rest.pop(0)
            # As ssh has it: a host's pattern in small letters, the host as it is typed.
            holds = _like(facts[criterion], (patterns.lower() if "host" in criterion else patterns).split(","))
        elif criterion in ("final", "canonical"):
            # Without names that are made canonical there is no second reading, but the one that `final` itself asks for.
            unknown = f"Match {' '.join(given)}"
            continue
        else:
            unknown = f"Match {' '.join(given)}"
            rest[:1] = []
            continue
        if holds is negated:
            return False, ""
    return not unknown, unknown


def _lines(file: Path, by: str) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise unclear(
            "a file of the SSH configuration cannot be read",
            f"{file}, included by {by}" if by else str(file),
            seen=words(error),
            next=f"ls -l {typed(file)}; correct {'the Include line' if by else 'ssh_config in the parameters'}",
        ) from None


def _included(pattern: str) -> Iterator[Path]:
    path = os.path.expanduser(pattern)
    if not os.path.isabs(path):
        path = os.path.join(os.path.expanduser("~/.ssh"), path)
    yield from map(Path, sorted(glob.glob(path)))


def _split(text: str, where: str) -> list[str]:
    """Split the arguments of a line as OpenSSH does: quotes of both kinds, a backslash before a quote, a comment at the end."""
    found: list[str] = []
    rest = text.strip()
    while rest and not rest.startswith("#"):
        word, quote = "", ""
        while rest and (quote or not rest[0].isspace()):
            char, rest = rest[0], rest[1:]
            if (char == "\\" and rest[:1] in ("'", '"', "\\")) or (char == "\\" and not quote and rest[:1] == " "):
                word, rest = word + rest[0], rest[1:]
            elif char in ("'", '"') and quote in ("", char):
                quote = "" if quote else char
            else:
                word += char
        if quote:
            raise unclear("a quotation does not end", where, next=f"write the missing {quote} into that line")
        found.append(word)
        rest = rest.lstrip()
    return found


def filled(said: Said, name: str, host: str, port: int, user: str, *, only: str = "") -> str:
    """Put what they stand for in the place of a value's tokens.

    Args:
        said: The value.
        name: The host's name in the configuration.
        host: Its address.
        port: Its port.
        user: Who logs in.
        only: The tokens that may be there; empty for all that are known.

    Raises:
        UsageError: One is not known.
    """
    node = socket.gethostname()
    known = {
        "%": "%", "h": host, "n": name, "p": str(port), "r": user, "u": getpass.getuser(), "d": str(Path.home()), "i": str(os.getuid()), "l": node,
        "L": node.partition(".")[0],
    }  # fmt: skip

    def one(match: re.Match[str]) -> str:
        token, variable = match["token"], match["variable"]
        if variable is not None and not only and variable in os.environ:
            return os.environ[variable]
        if token is None or token not in known or (only and token not in only):
            raise unclear(
                f"what {match[0]} stands for is not known",
                said.where,
                seen=said.value,
                next="write out what it stands for",
            )
        return known[token]

    pattern = r"%(?P<token>.?)(?P<variable>(?!))?" if only else r"%(?P<token>.?)|\$\{(?P<variable>[^}]*)\}"
    return re.sub(pattern, one, said.value)
