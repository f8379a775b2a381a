"""The ways to hosts of one's own, and the keys for them, as the parameters name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swarmbook.access.identities import in_words
from swarmbook.access.ssh_keys import fingerprint, public_part
from swarmbook.access.ways import Asked, Way, identities_of
from swarmbook.book.book import Book
from swarmbook.model.checks import Check

__all__ = ["key_checks", "ways_of"]


def ways_of(book: Book) -> dict[str, Way]:
    """Find the way to each host of the parameters.

    Raises:
        UsageError: The SSH configuration does not say it.
    """
    p = book.params
    asked = Asked(book.cluster.root, p.ssh_config, p.ssh_key_file, p.ssh_agent, p.ssh_jump)
    return asked.ways(p.hosts)


def _steps(name: str, way: Way) -> Iterator[tuple[str, Way]]:
    yield name, way
    if way.jump is not None:
        yield from _steps("the jump host", way.jump)


def key_checks(book: Book) -> list[Check]:
    """Say which keys would be tried at which hosts.

    Raises:
        UsageError: There is none for one of them.
        WorldError: An agent is not there, or holds none of them.
    """
    hosts: dict[str, list[str]] = {}
    for name, way in ways_of(book).items():
        for whom, step in _steps(name, way):
            keys = [
                f"{step.files[0].value}, {fingerprint(public_part(Path(step.files[0].value)))}"
                if each.own
                else in_words(each)
                for each in identities_of(step, whom)
            ]
            whose = hosts.setdefault("; or ".join(keys), [])
            if whom not in whose:
                whose.append(whom)
    wanted = "a private key without a passphrase, or one that an agent holds"
    one = len(hosts) == 1
    return [
        Check("here", "SSH key" if one else f"SSH key for {', '.join(whose)}", wanted, seen, True)
        for seen, whose in hosts.items()
    ]
