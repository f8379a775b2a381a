"""Phase 00: what will be built, and whether this computer has what that takes; nothing is touched."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

from swarmbook.book.book import Book
from swarmbook.book.display import show_picture
from swarmbook.book.step import look
from swarmbook.machines.providers import provider_for
from swarmbook.model.checks import Check, CheckTable, Table
from swarmbook.show.drawing import Card, Part, topology

__all__ = ["picture", "prerequisites"]

_GIB = 1 << 30
#: What the book leaves here: environment, keys, records; and for a lab's machines their images and disks as they fill, measured with three.
_DISK_GIB = 6
_MEMORY_GIB = 3
#: What the book is built on; their versions are the first question when something behaves otherwise than written.
_PARTS = ("Docker", "swarm", "Consul", "Galera")
_PACKAGES = ("papermill", "nbclient", "ipykernel", "ipywidgets", "fabric", "docker", "PyMySQL", "SoftLayer")


@look(hosts=0)
def picture(book: Book) -> Table:
    """Show what each node will be."""
    p = book.params
    offers = (
        {offer.name: offer.what for offer in provider_for(book).offers(p.nodes)} if p.provider != "softlayer" else {}
    )
    managers, members = p.managers(), p.members()
    rows = [
        [
            name,
            offers.get(name, "rented instance"),
            "engine",
            "manager" if name in managers else "worker",
            "server" if name in managers else "client",
            ("member, the first" if name == members[0] else "member") if name in members else "",
        ]
        for name in p.nodes
    ]
    cards = [
        Card(row[0], tuple(Part(part, word or "none", "none") for part, word in zip(_PARTS, row[2:]))) for row in rows
    ]
    show_picture(topology(cards, "What will stand on which node"), "what will stand on which node: the table below")
    return Table(["node", "machine", "Docker", "swarm", "Consul", "Galera"], rows)


@look(hosts=0)
def prerequisites(book: Book) -> CheckTable:
    """Compare what this computer has with what the book takes."""
    return CheckTable([*_here(book.cluster.root), *provider_for(book).prerequisites()])


def _here(root: Path) -> list[Check]:
    free, memory = shutil.disk_usage(root).free / _GIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    installed = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, version in installed.items() if not version]
    return [
        Check("here", "system", "Linux", platform.system(), platform.system() == "Linux"),
        Check("here", "Python", "3.10 or newer", platform.python_version(), sys.version_info >= (3, 10)),
        Check(
            "here",
            "packages",
            "all that the book is built on",
            f"missing: {', '.join(missing)}" if missing else "all there",
            not missing,
        ),
        Check(
            "here",
            "book's folder",
            "writable",
            "writable" if os.access(root, os.W_OK) else f"{root}: not writable",
            os.access(root, os.W_OK),
        ),
        Check("here", "free disk", f"{_DISK_GIB} GiB or more", _at_least(free, _DISK_GIB), free >= _DISK_GIB),
        Check("here", "memory", f"{_MEMORY_GIB} GiB or more", _at_least(memory, _MEMORY_GIB), memory >= _MEMORY_GIB),
        # Only `swarmbook ssh` and `scp` want it; the book itself does not.
        Check(
            "here",
            "OpenSSH client",
            "for swarmbook ssh",
            "there" if shutil.which("ssh") else "not there: apt-get install openssh-client",
            True,
        ),
    ]


def _at_least(value: float, wanted: int) -> str:
    """Return the same word each time it is enough: an executed notebook is compared with the one before."""
    return "enough" if value >= wanted else f"{value:.1f} GiB"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
