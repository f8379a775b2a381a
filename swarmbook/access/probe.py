"""A probe: a script that asks a host something, and the pure function that reads its answer. The only way facts come in.

One wire format. The script names each fact and pipes what belongs to it into ``as``::

    hostname | as name
    cat /etc/resolv.conf | as resolver

and the answer has the name alone on a line, below it the lines of the fact, each behind a blank. So nothing that a file
or a log says can look like another fact, and nothing is glued into JSON by a shell.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Generic, TypeVar

from swarmbook.access.commands import Script
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.plain import plain

__all__ = [
    "MOST_ANSWER",
    "Facts",
    "Probe",
    "Refused",
    "address",
    "container_id",
    "device",
    "line",
    "name",
    "network",
    "node_id",
    "number",
    "read_facts",
    "understood",
    "word",
]

T = TypeVar("T")

#: Marks each line as belonging to the fact; ``$a\\`` ends the last one, whether or not it came with its newline.
PROLOGUE = """as() { echo "$1"; sed -e 's/^/ /' -e '$a\\'; }\n"""

_NODE_ID = re.compile(r"[0-9a-z]{25}")
_CONTAINER_ID = re.compile(r"[0-9a-f]{12,64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,254}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+~:-]{0,79}")
_DEVICE = re.compile(r"/dev/[A-Za-z0-9][A-Za-z0-9_.:/@+=#%-]{0,250}")

#: Bytes of an answer. The longest of a healthy cluster, of 50 nodes with certificates and labels, is below a quarter of it.
MOST_ANSWER = 1 << 20
_LINE = 200


class Refused(WorldError):
    """A host's answer is not what it should be; nothing was done with it."""


Facts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Probe(Generic[T]):
    """A question and how its answer is read.

    Example:
        >>> free = Probe(sh("df --output=avail -B1 / | tail -n 1 | as free"), lambda facts: number(facts["free"][0].strip()))
        >>> free.answer("free\\n  41943040\\n", "sw1")
        41943040
        >>> free.answer("free\\n  a lot\\n", "sw1")
        Traceback (most recent call last):
        swarmbook.access.probe.Refused: the answer of sw1 is not what it should be; nothing was done with it...

    Args:
        script: Without :data:`PROLOGUE`, which :meth:`command` puts before it.
        read: Pure; from the facts to a type, or an error of :func:`refuse`.
    """

    script: Script
    read: Callable[[Facts], T]

    @property
    def command(self) -> Script:
        """What is run on the host."""
        return Script(PROLOGUE + self.script)

    def answer(self, output: str, host: str) -> T:
        """Read what a host printed.

        Args:
            output: All of it.
            host: Its name, for the message.

        Raises:
            Refused: It is not what it should be.
        """
        with understood(host):
            if len(output) > MOST_ANSWER:
                raise ValueError(f"{len(output)} characters")
            return self.read(read_facts(output))


@contextlib.contextmanager
def understood(host: str, next: str = "") -> Iterator[None]:
    """Refuse an answer that cannot be read.

    Args:
        host: Who gave it, for the message.
        next: What to do where it is no node.

    Raises:
        Refused: It is not what it should be.
    """
    try:
        yield
    # RecursionError: JSON of ten thousand brackets. ArithmeticError: a number that is infinite.
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        StopIteration,
        RecursionError,
        ArithmeticError,
    ) as error:
        raise Refused(
            f"the answer of {host} is not what it should be; nothing was done with it",
            where=host,
            seen=f"{type(error).__name__}: {str(error)[:300]}",
            next=next or f"swarmbook ssh {host}, and look at what answers there",
            code=Code.ANSWER_REFUSED,
        ) from None


def read_facts(output: str) -> dict[str, list[str]]:
    """Parse the facts in what a probe printed, by name; of a fact that comes twice, all lines.

    Raises:
        ValueError: A line belongs to no fact.
    """
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in output.split("\n"):
        if line.startswith(" "):
            if current is None:
                raise ValueError(f"a line of no fact: {line[:80]!r}")
            current.append(line[1:])
        elif line:
            current = found.setdefault(line.strip(), [])
    return found


# -- what a host may say -----------------------------------------------------------------------------------------------


def _match(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"no {what}: {text[:80]!r}")
    return text


def node_id(text: str) -> str:
    """Parse the id of a swarm or of a swarm's node."""
    return _match(_NODE_ID, text, "swarm id")


def container_id(text: str) -> str:
    """Parse a container's id, short or whole."""
    return _match(_CONTAINER_ID, text, "container id")


def name(text: str) -> str:
    """Parse the name of a container, volume, service, image or package."""
    return _match(_NAME, text, "name")


def names(lines: Iterable[str]) -> tuple[str, ...]:
    """Parse names, one a line."""
    return tuple(name(line) for line in lines if line)


def word(text: str) -> str:
    """Parse a word or a version, as programs print them; nothing is one, too."""
    return _match(_WORD, text, "word") if text else ""


def line(text: str) -> str:
    """Parse words that are shown to a person and go nowhere else: one line, cut."""
    return " ".join(plain(text).split())[:_LINE]


def device(text: str) -> str:
    """Parse the path of a device."""
    found = _match(_DEVICE, text, "device")
    if ".." in found.split("/"):
        raise ValueError(f"no device: {text[:80]!r}")
    return found


def number(text: str | int, most: int = 1 << 62) -> int:
    """Parse a count or a size that is not negative."""
    if isinstance(text, float):
        raise ValueError(f"no whole number: {text}")
    value = int(text)
    if not 0 <= value <= most:
        raise ValueError(f"not between 0 and {most}: {value}")
    return value


def address(text: str) -> str:
    """Parse an IPv4 address; a prefix length behind it is left out."""
    return str(IPv4Interface(text).ip if "/" in text else IPv4Address(text))


def network(text: str) -> str:
    """Parse an IPv4 network; host bits may be set."""
    return str(IPv4Network(text, strict=False))
