"""Who logs in where, as parameters say it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from swarmbook.access.node import Endpoint

__all__ = ["Login", "logins_of", "parse_login"]


@dataclass(frozen=True)
class Login:
    """Who logs in, and where."""

    user: str
    end: Endpoint

    def __str__(self) -> str:
        return f"{self.user}@{self.end}"


def parse_login(text: str) -> Login:
    """Parse ``[USER@]ADDRESS[:PORT]``; an IPv6 address stands in brackets. The defaults are root and port 22."""
    user, _, rest = text.rpartition("@")
    match = re.fullmatch(r"\[(?P<six>[^]]+)\](:(?P<port6>\d+))?|(?P<host>[^:]+)(:(?P<port>\d+))?", rest)
    assert match is not None, text  # the schema of the parameters has seen to it
    return Login(user or "root", Endpoint(match["six"] or match["host"], int(match["port6"] or match["port"] or 22)))


def logins_of(entries: Iterable[str]) -> dict[str, Login]:
    """Parse entries of the form ``NAME=[USER@]ADDRESS[:PORT]`` into logins by name."""
    return {name: parse_login(login) for name, _, login in (entry.partition("=") for entry in entries)}
