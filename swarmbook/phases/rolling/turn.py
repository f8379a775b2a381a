"""One node's turn: its member, its engine, or its whole system."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Probe, number, word
from swarmbook.base.errors import HostUnreachable, WorldError
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.machines.providers import provider_for
from swarmbook.model.change import Action
from swarmbook.phases.engine.probe import ENGINE, tasks
from swarmbook.phases.engine.restart import is_well, restart
from swarmbook.phases.galera.members import found_on
from swarmbook.phases.rolling.gate import swarm_manager
from swarmbook.phases.support.autolock import unlock_manager
from swarmbook.phases.support.members import running_of, service_name
from swarmbook.phases.support.passing import run_with_packages
from swarmbook.phases.support.systems import OS_RELEASE, family_of, read_os_release

__all__ = ["TURNS", "take_back"]

#: Changes with each boot: of a machine that is a container, the kernel's own id stays the same.
_BOOT: Probe[str] = Probe(
    sh("{ cat /proc/sys/kernel/random/boot_id; cut -d' ' -f22 /proc/1/stat; } | as boot"),
    lambda facts: f"{word(facts['boot'][0])} {number(facts['boot'][1])}",
)
_RELEASE: Probe[Mapping[str, str]] = Probe(OS_RELEASE, lambda facts: read_os_release(facts["os"]))
_UP: Probe[bool] = Probe(
    sh("systemctl is-active -q docker.service && echo yes | as up || : | as up"), lambda facts: any(facts["up"])
)


def _wait(book: Book, what: str, look: Callable[[], tuple[bool, str]], where: str, next: str) -> None:
    wait_for(what, look, timeout_s=book.params.wait_timeout, where=where, next=next, first_s=0.3, slowest_s=2.0)


def restart_member(book: Book, name: str) -> None:
    """Have the swarm replace a member's container, and wait until the new one is Synced.

    Args:
        book: The open book.
        name: The node.
    """
    params, host = book.params, book.fleet[name]
    service = service_name(params, name)
    ids = running_of(service)
    before = host.ask(ids, quiet=True)
    book.fleet[swarm_manager(book, name)].run(
        sh("docker service update --detach --force @{service} >/dev/null", service=service)
    )

    def look() -> tuple[bool, str]:
        now = host.ask(ids, quiet=True)
        member = host.ask(found_on(params, name, port=False), quiet=True)
        return bool(now) and not set(before).intersection(now) and member.synced, member.state

    _wait(book, f"the member on {name} is Synced again", look, name, f"swarmbook ssh {name} docker ps -a")


def restart_engine(book: Book, name: str) -> None:
    """Restart an engine, its tasks stopped cleanly before, and wait until they run again.

    Args:
        book: The open book.
        name: The node.
    """
    host = book.fleet[name]
    restart(book, host, host.ask(ENGINE, quiet=True))


def renew_system(book: Book, name: str) -> None:
    """Drain a node, bring its packages up to date, reboot it, and give it its tasks back.

    Args:
        book: The open book.
        name: The node.
    """
    host = book.fleet[name]
    ran = {task: status for task, status in host.ask(tasks, quiet=True).items() if is_well(status)}
    _availability(book, name, "drain")
    _wait(
        book,
        f"{name} is drained",
        lambda: (not (left := host.ask(tasks, quiet=True)), "; ".join(left)),
        name,
        f"swarmbook ssh {name} docker ps",
    )
    family = family_of(name, host.ask(_RELEASE, quiet=True))
    run_with_packages(
        host, sh("@!{refresh} && @!{upgrade}", refresh=family.refresh, upgrade=family.upgrade), book.params.wait_timeout
    )
    _reboot(book, host)
    take_back(book, name)

    def well() -> tuple[bool, str]:
        now = host.ask(tasks, quiet=True)
        late = [task for task in sorted(ran) if not is_well(now.get(task, ""))]
        return not late, "; ".join(f"{task}: {now.get(task, 'not started')}" for task in late)

    _wait(book, f"the tasks on {name} run again", well, name, f"swarmbook ssh {name} docker ps -a")


def take_back(book: Book, name: str) -> None:
    """Give a node that was drained its tasks again.

    Args:
        book: The open book.
        name: The node.
    """
    _availability(book, name, "active")


def _availability(book: Book, name: str, word: str) -> None:
    book.fleet[swarm_manager(book, name)].run(
        sh(
            "docker node update --availability @{word} $(docker node ls -q --filter @{filter}) >/dev/null",
            word=word,
            filter=f"node.label=name={name}",
        )
    )


def _reboot(book: Book, host: Host) -> None:
    """Reboot a machine, and wait until it answers as one that was booted since, with its engine."""
    before = host.ask(_BOOT, quiet=True)
    with contextlib.suppress(WorldError):  # it goes down while it answers
        host.run(sh("systemctl reboot"), check=False)
    provider = provider_for(book)

    def look() -> tuple[bool, str]:
        host.close()
        # A machine that is a container stays down when its system asks for a reboot. A host of your own is for no one else to start.
        if provider.name != "generic":
            found = provider.plan([host.name], provider.machines())
            if down := [change for change in found if change.action is Action.START_MACHINE]:
                provider.provision(down)
        try:
            return host.ask(_BOOT, quiet=True) != before and host.ask(_UP, quiet=True), "its engine is not up"
        except HostUnreachable as error:
            return False, error.seen or error.what
        except WorldError as error:
            return False, error.what

    _wait(
        book,
        f"{host.name} is back from its reboot",
        look,
        host.name,
        "look at its console; then: swarmbook status PARAMS",
    )
    unlock_manager(book, host.name)


#: What is done in a node's turn, by what rolls.
TURNS: Mapping[str, Callable[[Book, str], None]] = {
    "members": restart_member,
    "engines": restart_engine,
    "system": renew_system,
}
