"""Phase 02, first half: the system's updates, and the packages that the storage layout and the parameters want."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.hosts import Host
from swarmbook.book.book import Book, Change, StepResult, converge
from swarmbook.model.checks import Check, equal
from swarmbook.params import ParamView
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import Disk, ask
from swarmbook.phases.support.systems import FAMILIES, OS_RELEASE, Family, family_of, read_os_release

__all__ = ["System", "plan_system", "system"]


@dataclass(frozen=True)
class System:
    """What a node runs, and what it has of what is wanted.

    Args:
        release: Its os-release.
        installed: Packages that are there, of those that any layout or the parameters may want.
        updates: How many updates wait; 0 when they were not asked for.
        disk: Its second disk: which layout it gets decides what has to be installed.
    """

    release: Mapping[str, str]
    installed: tuple[str, ...] = ()
    updates: int = 0
    disk: Disk = field(default_factory=Disk)

    @property
    def name(self) -> str:
        """For people."""
        return (
            self.release.get("PRETTY_NAME")
            or f"{self.release.get('ID', '')} {self.release.get('VERSION_ID', '')}".strip()
        )


def _wanted(params: ParamView, host: str, system: System) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            [
                *family_of(host, system.release).packages([*_tools(params, system.disk), "certificates"]),
                *params.packages,
            ]
        )
    )


def _tools(params: ParamView, disk: Disk) -> tuple[str, ...]:
    if params.storage_layout == "existing":
        return ()
    every: set[str] = set().union(*(layout.needs for layout in layouts.LAYOUTS.values()))
    layout = layouts.choose(params.storage_layout, tuple(every) if disk.kernel is None else disk.kernel, disk.content)
    if layout is None:  # the next step says so by name
        return ()
    # No partition is made where the kernel would not read it, nor on a disk that has its layout.
    return tuple(tool for tool in layout.tools if tool != "partitions" or not (disk.bare or disk.content))


def _suppose(book: Book, seen: Mapping[str, System] | None) -> Mapping[str, System]:
    """A machine that is not there is taken for a Debian that lacks everything."""
    bare = System({"ID": "debian"}, (), int(book.params.system_update))
    return {name: (seen or {}).get(name) or bare for name in book.params.nodes}


def _script(params: ParamView, family: Family, refresh: bool) -> str:
    every = dict.fromkeys([*family.names.values(), *params.packages])
    lines = [family.query.format(packages=" ".join(map(shlex.quote, every))) + " | sed 's/^/have: /'"]
    if params.system_update:
        fresh = f"{family.refresh} || exit 1; " if refresh else ""
        lines.append(f"{fresh}{{ {family.updates}; }} | sed 's/^/updates: /'")
    return "; ".join(lines)


def _observe(book: Book) -> Mapping[str, System]:
    refresh = book.prospect is None  # a plan goes by the lists that are there
    apt, dnf = (_script(book.params, FAMILIES[name], refresh) for name in ("debian", "rhel"))
    script = f"{OS_RELEASE}\nif command -v dpkg-query >/dev/null; then {apt}\nelif command -v rpm >/dev/null; then {dnf}\nfi\ntrue"
    named = {
        node.name: node.disk if book.params.docker_disk == "auto" else book.params.docker_disk for node in book.nodes
    }

    def one(host: Host) -> System:
        lines = host.run(script, timeout_s=book.params.wait_timeout).stdout.splitlines()
        have = tuple(line.removeprefix("have: ") for line in lines if line.startswith("have: "))
        updates = next((int(line.split()[1]) for line in lines if line.startswith("updates: ")), 0)
        disk = Disk() if book.params.storage_layout == "existing" else ask(host, named[host.name])
        return System(read_os_release(lines), have, updates, disk)

    return book.fleet.each(one)


def plan_system(params: ParamView, seen: Mapping[str, System]) -> list[Change]:
    """Changes that bring packages and updates to what is wanted.

    Raises:
        WorldError: A node runs a system that the book does not know.
    """
    changes = []
    for name, system in seen.items():
        missing = _missing(params, name, system)
        if system.updates and params.system_update:
            changes.append(Change(name, "update", f"{system.updates} packages updated"))
        if missing:
            changes.append(Change(name, "install", f"installed {' '.join(missing)}", {"packages": list(missing)}))
    return changes


def _missing(params: ParamView, host: str, system: System) -> tuple[str, ...]:
    return tuple(package for package in _wanted(params, host, system) if package not in system.installed)


def _apply(book: Book, seen: Mapping[str, System], changes: list[Change]) -> None:
    by_host: dict[str, list[Change]] = {}
    for change in changes:
        by_host.setdefault(change.host, []).append(change)

    def one(host: Host) -> None:
        family = family_of(host.name, seen[host.name].release)
        for change in by_host[host.name]:
            command = family.upgrade if change.action == "update" else family.install_command(change.data["packages"])
            host.run(command, timeout_s=book.params.wait_timeout)

    book.fleet.each(one, by_host)


def _verify(params: ParamView, seen: Mapping[str, System]) -> list[Check]:
    rows = []
    for name, system in seen.items():
        wanted, missing = " ".join(_wanted(params, name, system)), _missing(params, name, system)
        rows.append(
            Check(
                name,
                f"packages ({system.name})",
                wanted,
                f"missing: {' '.join(missing)}" if missing else wanted,
                not missing,
            )
        )
        if params.system_update:
            rows.append(equal(name, "updates waiting", 0, system.updates))
    return rows


def system(book: Book) -> StepResult:
    """Bring the system up to date (when asked) and install what is missing.

    Raises:
        WorldError: A node runs a system that the book does not know; nothing was touched on any node.
    """
    return converge(
        book, observe=_observe, plan=plan_system, apply=_apply, verify=_verify, what="system packages", suppose=_suppose
    )
