"""Phase 02, first half: the system's updates, and the packages that the storage layout and the parameters want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import Script, lines, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, name, number
from swarmbook.book.book import Book
from swarmbook.book.forecast import Forecast
from swarmbook.book.step import Step
from swarmbook.model.change import Action, Change, by_host, refuse_unknown
from swarmbook.model.checks import Check, equal
from swarmbook.model.material import Kind, Material, found
from swarmbook.params import Params
from swarmbook.phases.post_provision import layouts
from swarmbook.phases.post_provision.disk_probe import Disk, second_disk
from swarmbook.phases.support.passing import run_with_packages
from swarmbook.phases.support.systems import FAMILIES, OS_RELEASE, Family, family_of, read_os_release

__all__ = ["System", "Wanted", "packages_on", "system", "wanted_packages"]

#: Lists of packages that are older than this say nothing of updates, seconds.
_FRESH_S = 3600


@dataclass(frozen=True)
class System:
    """What a node runs, and what it has of what is wanted.

    Args:
        release: Its os-release.
        installed: Packages that are there, of those that any layout or the parameters may want.
        updates: How many updates wait, by the lists that are there; 0 when they were not asked for.
        lists_age: How old those lists are, seconds; None when there are none, or they were not asked for.
        disk: Its second disk: which layout it gets decides what has to be installed.
    """

    release: Mapping[str, str]
    installed: tuple[str, ...] = ()
    updates: int = 0
    lists_age: int | None = None
    disk: Disk = field(default_factory=Disk)

    @property
    def name(self) -> str:
        """For people."""
        return (
            self.release.get("PRETTY_NAME")
            or f"{self.release.get('ID', '')} {self.release.get('VERSION_ID', '')}".strip()
        )


@dataclass(frozen=True)
class Wanted:
    """What every node should have.

    Args:
        update: Whether the system is brought up to date.
        families: By node.
        packages: By node.
    """

    update: bool
    families: Mapping[str, Family]
    packages: Mapping[str, tuple[str, ...]]

    def missing(self, host: str, system: System) -> tuple[str, ...]:
        """List the packages that a node lacks."""
        return tuple(package for package in self.packages[host] if package not in system.installed)

    def stale(self, system: System) -> str:
        """Say why a system has to be brought up to date; empty where it need not."""
        if not self.update:
            return ""
        if system.updates:
            return f"{system.updates} updates wait"
        if system.lists_age is None or system.lists_age > _FRESH_S:
            return "its lists of packages are old"
        return ""


def wanted_packages(params: Params, seen: Mapping[str, System]) -> Wanted:
    """Return what every node should have.

    Raises:
        WorldError: A node runs a system that the book does not know.
    """
    families = {host: family_of(host, system.release) for host, system in seen.items()}
    packages = {
        host: tuple(
            dict.fromkeys(
                [*family.packages([*_tools(params, seen[host].disk), *_wall(params), "certificates"]), *params.packages]
            )
        )
        for host, family in families.items()
    }
    return Wanted(params.system_update, families, packages)


def _wall(params: Params) -> tuple[str, ...]:
    return ("wall",) if params.walled() else ()


def _tools(params: Params, disk: Disk) -> tuple[str, ...]:
    if params.storage_layout == "existing":
        return ()
    every: set[str] = set().union(*(layout.needs for layout in layouts.LAYOUTS.values()))
    kernel = tuple(every) if disk.kernel is None else disk.kernel
    layout = layouts.choose(params.storage_layout, kernel, disk.content, disk.unfinished)
    if layout is None:  # the next step says so by name
        return ()
    # No partition is made where the kernel would not read it, nor on a disk that has its layout.
    return tuple(tool for tool in layout.tools if tool != "partitions" or not (disk.bare or disk.content))


def _of_family(params: Params, family: Family) -> Script:
    every = dict.fromkeys([*family.names.values(), *params.packages])
    script = [sh("@!{which} | as installed", which=family.which(every))]
    if params.system_update:
        script += [
            sh("{ @!{updates}; } | as updates", updates=family.updates),
            sh("stat -c %Y @{lists} 2>/dev/null | as lists; date +%s | as now", lists=family.lists),
        ]
    return lines(*script)


def packages_on(params: Params) -> Probe[System]:
    """Ask what a node runs, and which packages it has; nothing is fetched for it.

    Args:
        params: Their ``packages`` and ``system_update`` say what is asked.
    """
    script = sh(
        """@!{release}
if command -v dpkg-query >/dev/null; then @!{apt}
elif command -v rpm >/dev/null; then @!{dnf}
fi
true""",
        release=OS_RELEASE,
        apt=_of_family(params, FAMILIES["debian"]),
        dnf=_of_family(params, FAMILIES["rhel"]),
    )

    def read(facts: Facts) -> System:
        installed = tuple(name(line) for line in facts.get("installed", ()) if line)
        updates = number("".join(facts.get("updates", ())).strip() or "0", 1_000_000)
        stamps = ["".join(facts.get(fact, ())).strip() for fact in ("lists", "now")]
        age = max(number(stamps[1]) - number(stamps[0]), 0) if all(stamps) else None
        return System(read_os_release(facts["os"]), installed, updates, age)

    return Probe(script, read)


def _versions(family: Family, packages: tuple[str, ...]) -> Probe[list[tuple[str, str]]]:
    """Ask for name and version of packages that are installed."""

    def read(facts: Facts) -> list[tuple[str, str]]:
        pairs = [line.split(" ") for line in facts["versions"] if line]
        return [(name(package), version) for package, version in pairs]

    return Probe(sh("@!{ask} | as versions", ask=family.asks_versions(packages)), read)


class Software(Step[Mapping[str, System], Wanted]):
    """Bring the system up to date (when asked) and install what is missing.

    Raises:
        WorldError: A node runs a system that the book does not know; nothing was touched on any node.
    """

    name = "system packages"

    def observe(self, book: Book) -> Mapping[str, System]:
        params = book.params
        chosen = params.docker_disk
        named = {node.name: node.disk if chosen == "auto" else chosen for node in book.nodes}
        probe = packages_on(params)

        def one(host: Host) -> System:
            system = host.ask(probe, timeout_s=params.wait_timeout)
            if params.storage_layout == "existing":
                return system
            disk = host.ask(second_disk(named[host.name]))
            return System(system.release, system.installed, system.updates, system.lists_age, disk)

        return book.fleet.each(one)

    def want(self, book: Book, seen: Mapping[str, System]) -> Wanted:
        return wanted_packages(book.params, seen)

    def plan(self, wanted: Wanted, seen: Mapping[str, System]) -> list[Change]:
        changes = []
        for host, system in seen.items():
            if reason := wanted.stale(system):
                changes.append(Change(host, Action.UPDATE, because=reason))
            if missing := wanted.missing(host, system):
                changes.append(Change(host, Action.INSTALL, missing))
        return changes

    def apply(self, book: Book, wanted: Wanted, seen: Mapping[str, System], changes: list[Change]) -> None:
        refuse_unknown(changes, {Action.UPDATE: None, Action.INSTALL: None})
        hosts = by_host(changes)

        def one(host: Host) -> None:
            for change in hosts[host.name]:
                command = command_for(wanted.families[host.name], change)
                run_with_packages(host, command, book.params.wait_timeout)

        book.fleet.each(one, hosts)

    def verify(self, wanted: Wanted, seen: Mapping[str, System]) -> list[Check]:
        rows = []
        for host, system in seen.items():
            packages, missing = " ".join(wanted.packages[host]), wanted.missing(host, system)
            there = f"missing: {' '.join(missing)}" if missing else packages
            rows.append(Check(host, f"packages ({system.name})", packages, there, not missing))
            if wanted.update:
                rows.append(equal(host, "updates waiting", 0, system.updates))
        return rows

    def materials(self, book: Book, wanted: Wanted, seen: Mapping[str, System]) -> list[Material]:
        def one(host: Host) -> list[Material]:
            family, release = wanted.families[host.name], seen[host.name].release
            there = host.ask(_versions(family, wanted.packages[host.name]), timeout_s=book.params.wait_timeout)
            id, kind = release.get("ID", ""), Kind.DEB if family.name == "debian" else Kind.RPM
            # Debian's next release has no number.
            system = found(
                host.name, Kind.SERVER, id, release.get("VERSION_ID") or release.get("VERSION_CODENAME", "none")
            )
            return [system, *(found(host.name, kind, *package, origin=id) for package in there)]

        return [material for rows in book.fleet.each(one, seen).values() for material in rows]

    def assume(self, ahead: Forecast, params: Params, seen: Mapping[str, System] | None) -> Mapping[str, System]:
        # A machine that is not there is taken for a Debian that lacks everything.
        bare = System({"ID": "debian"})
        return {name: (seen or {}).get(name) or bare for name in params.nodes}


def command_for(family: Family, change: Change) -> Script:
    """Return what a change runs on its node."""
    if change.action is Action.UPDATE:
        return sh("@!{refresh} && @!{upgrade}", refresh=family.refresh, upgrade=family.upgrade)
    return family.install_command(change.things)


system = Software()
