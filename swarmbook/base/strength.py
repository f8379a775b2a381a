"""Whether a value may be a secret: long enough, not what everyone tries, no word of our own, and typed the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["SHORTEST", "unfit"]

#: Characters that a secret has at least.
SHORTEST = 8
_FEWEST_DIFFERENT = 5
#: What lists of leaked passwords begin with, without digits and signs around them.
_COMMON = frozenset(
    [
        "password",
        "passwort",
        "passw0rd",
        "pass",
        "admin",
        "administrator",
        "letmein",
        "welcome",
        "willkommen",
        "qwerty",
        "qwertz",
        "qwertyuiop",
        "qwertzuiop",
        "asdfgh",
        "asdfghjkl",
        "zxcvbn",
        "zxcvbnm",
        "yxcvbnm",
        "iloveyou",
        "monkey",
        "dragon",
        "football",
        "baseball",
        "sunshine",
        "princess",
        "master",
        "superman",
        "batman",
        "trustno",
        "shadow",
        "michael",
        "changeme",
        "changeit",
        "changethis",
        "default",
        "secret",
        "topsecret",
        "geheim",
        "geheimnis",
        "hello",
        "hallo",
        "login",
        "root",
        "toor",
        "test",
        "testing",
        "tester",
        "guest",
        "demo",
        "example",
        "sample",
        "temp",
        "temporary",
        "user",
        "username",
        "database",
        "mysql",
        "mariadb",
        "galera",
        "consul",
        "swarm",
        "swarmbook",
        "docker",
        "cluster",
        "overlay",
        "hashicorp",
        "codership",
        "wsrep",
        "server",
        "service",
        "backend",
        "replication",
    ]
)
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm")
_LEET = str.maketrans("013457@$!", "oleastasi")


def unfit(value: str, words: Iterable[str] = ()) -> str:
    """Return why a value may not be a secret; empty if it may. The reason does not repeat it.

    Example:
        >>> unfit("galera")
        'it has 6 characters'
        >>> unfit("Galera-2026!")
        'it is a common word with digits or signs around it'
        >>> unfit("Vo4ieghu8eeNgei")
        ''

    Args:
        value: The value.
        words: Names of the book and of the cluster; a part of one would be hidden wherever that name is shown, and be read off there.
    """
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        return "it has a line end or another control character in it, which not every program passes on"
    if len(value) < SHORTEST:
        return f"it has {len(value)} characters"
    if len(set(value)) < _FEWEST_DIFFERENT:
        return "it has hardly any different characters"
    lower = value.casefold()
    if any(lower in row or lower in row[::-1] for row in _ROWS):
        return "it is a row of keys, letters or digits"
    core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", lower)
    if {core, core.translate(_LEET), re.sub(r"[\W\d_]+$", "", lower.translate(_LEET))} & _COMMON:
        return "it is a common word with digits or signs around it"
    if not core:
        digits = re.sub(r"\D", "", lower)
        if len(set(digits)) < _FEWEST_DIFFERENT or len(digits) <= SHORTEST:
            return "it is digits and signs only, and few of them"
    if any(lower in word.casefold() for word in words):
        return "it is a word, or a part of one, that the book or this cluster uses as a name"
    return ""
