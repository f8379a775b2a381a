"""The generic provider: hosts you own, by address. It creates, starts and removes none of them."""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.fleet import fan_out
from swarmbook.access.hosts import Host
from swarmbook.access.logins import Login
from swarmbook.access.node import Identity, Jump, Node
from swarmbook.access.probe import Facts, Probe, address
from swarmbook.access.ssh_keys import scan_host_key
from swarmbook.access.turned_away import NO_GREETING
from swarmbook.access.ways import Way, identities_of
from swarmbook.base.codes import Code
from swarmbook.base.errors import HostUnreachable, LoginRefused, OutOfOrder, UsageError, WaitTimeout, WorldError
from swarmbook.base.files import write_private
from swarmbook.base.wait import wait_for
from swarmbook.base.words import subject
from swarmbook.book.book import Book
from swarmbook.machines.providers.base import Found, Offer
from swarmbook.machines.providers.own_keys import key_checks, ways_of
from swarmbook.model.change import Action, Change
from swarmbook.model.checks import Check
from swarmbook.model.health import MachineState
from swarmbook.show.progress import Progress

__all__ = ["GenericProvider"]

_ASK = sh(
    """cat /etc/machine-id 2>/dev/null | as id
ip -o -4 address show scope global | sed 's/.* inet \\([0-9.]*\\).*/\\1/' | as has
ip -4 route get 192.0.2.1 2>/dev/null | sed -n 's/.* src \\([0-9.]*\\).*/\\1/p' | as source"""
)


@dataclass(frozen=True)
class About:
    """What a host says about itself.

    Args:
        id: Its machine id; empty where it has none.
        has: Its IPv4 addresses.
        source: The address that it sends from.
    """

    id: str = ""
    has: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


def _about(said: Facts) -> About:
    id = "".join(said["id"]).strip()
    if id and not re.fullmatch(r"[0-9a-f]{32}", id):
        raise ValueError(f"no machine id: {id[:80]!r}")
    return About(id, tuple(address(line) for line in said["has"]), tuple(address(line) for line in said["source"]))


ABOUT: Probe[About] = Probe(_ASK, _about)
#: What the book puts on every node, the first from 03 on and the second in 02; 90 takes them away.
_OURS = ("/etc/swarmbook", "/etc/swarmbook-wall")


class GenericProvider:
    """See :class:`swarmbook.machines.providers.base.Provider`.

    Args:
        book: The open book.
        first_s: First pause between looks at a host that does not answer, seconds.
        slowest_s: Longest pause, seconds.
    """

    name = "generic"

    def __init__(self, book: Book, *, first_s: float = 0.5, slowest_s: float = 5) -> None:
        self._book = book
        self._first_s, self._slowest_s = first_s, slowest_s
        self._met: dict[str, Node] = {}

    # -- what the parameters and the inventory say -------------------------------------------------------------

    def _ways(self) -> dict[str, Way]:
        return ways_of(self._book)

    def _known(self) -> dict[str, Node]:
        return {node.name: node for node in self._book.cluster.nodes}

    def prerequisites(self) -> list[Check]:
        try:
            return key_checks(self._book)
        except (UsageError, WorldError) as error:
            wanted = error.wanted or "a private key without a passphrase, or an agent that holds it"
            return [Check("here", "SSH key", wanted, f"{error.where}: {error.what}", False)]

    def offers(self, names: Sequence[str]) -> list[Offer]:
        ways = self._ways()
        return [Offer(name, f"your host {ways[name]}", 0.0) for name in names]

    def machines(self) -> list[Found]:
        def one(node: Node) -> Found:
            try:
                self._met[node.name] = self._meet(node.name)
                state, note = MachineState.RUNNING, ""
            except LoginRefused:
                raise
            except HostUnreachable as error:
                self._met.pop(node.name, None)
                state, note = MachineState.SILENT, error.seen or error.what
            return Found(node.name, node.id, state, node.private_address, node.public_address, note)

        ways = self._ways()
        return list(fan_out(one, {name: node for name, node in self._known().items() if name in ways}).values())

    def states(self) -> dict[str, str]:
        def one(node: Node) -> str:
            if node.jump is not None:
                return f"a host of yours behind {node.jump.ssh}"
            try:
                with socket.create_connection((node.ssh.host, node.ssh.port), 3):
                    return f"a host of yours; something listens at {node.ssh}"
            except OSError as error:
                return f"a host of yours; nothing listens at {node.ssh} ({error.strerror or error})"

        return fan_out(one, self._known())

    def plan(self, names: Sequence[str], found: Sequence[Found]) -> list[Change]:
        there = {machine.name: machine for machine in found}
        ways = self._ways()
        changes = []
        for name in names:
            if name not in there:
                changes.append(Change(name, Action.ADOPT, because=str(ways[name])))
            elif there[name].state is not MachineState.RUNNING:
                changes.append(Change(name, Action.AWAIT_MACHINE, because=there[name].word))
        return changes

    def provision(self, changes: Sequence[Change]) -> None:
        """Do nothing: the machines are yours. :meth:`wait` logs in to the new ones."""

    # -- meeting them ------------------------------------------------------------------------------------------

    def wait(self, names: Sequence[str]) -> list[Node]:
        """Wait for the hosts that were met before, and log in to the new ones.

        A new one has to be there: a wrong address would be waited for in vain.
        """
        known = self._known()
        with Progress() as progress:

            def one(name: str) -> Node:
                if name in self._met:
                    return self._met.pop(name)
                if name in known:
                    return self._wait_for(name, progress)
                try:
                    return self._meet(name)
                except HostUnreachable as error:
                    if error.code is not Code.LOGIN_NOT_YET:
                        raise
                return self._wait_for(name, progress)  # it starts: that passes

            return list(fan_out(one, {name: name for name in names}).values())

    def _wait_for(self, name: str, progress: Progress) -> Node:
        started = time.monotonic()
        met: list[Node] = []
        starting: list[str] = []

        def look() -> tuple[bool, str]:
            try:
                met.append(self._meet(name))
                return True, ""
            except LoginRefused:
                raise
            except HostUnreachable as error:
                seen = error.seen or error.what
                # An sshd that has refused several logins of ours may answer nothing for a while (PerSourcePenalties).
                if error.code is Code.LOGIN_NOT_YET and not (starting and NO_GREETING in seen):
                    starting[:] = [seen]
                elif starting:
                    seen = f"{starting[0]}; and now: {seen}"
                progress.show(f"{name}: no answer for {time.monotonic() - started:.0f} s ({seen})")
                return False, seen

        login = self._ways()[name].login
        try:
            wait_for(
                f"{name} to answer over SSH",
                look,
                timeout_s=self._book.params.wait_timeout,
                where=f"{name} ({login})",
                next="it is your host, and only you can start it: start it, then run again",
                first_s=self._first_s,
                slowest_s=self._slowest_s,
                code=Code.HOST_OFF,
            )
        except WaitTimeout as error:
            if starting:
                error.code = Code.LOGIN_NOT_YET
                error.next = "its start takes long: look at its console (systemctl list-jobs), or raise wait_timeout in the parameters"
            raise
        return met[0]

    def _meet(self, name: str) -> Node:
        """Log in to a host, once, and ask for what the phases need to know.

        Raises:
            HostUnreachable: It does not answer.
            LoginRefused: It does not take the key.
            WorldError: Its user may not become root, or its address among the nodes is unknown.
        """
        way, known = self._ways()[name], self._known().get(name)
        login = way.login
        same = (
            known is not None and (known.ssh, known.user) == (login.end, login.user) and self._book.cluster.pins(known)
        )
        with self._gateway(way.jump, known.jump if known is not None else None) as (jump, by):
            key = known.host_key if known is not None and same else self._first_contact(name, login, by)
            node = Node(name, "", "", login.end.host, login.end, key, user=login.user, jump=jump, tunnel=True)
            with self._logged_in(node, self._identities(way, name, known)) as host:
                about = self._ask(host, login)
                node = replace(node, identity=host.identity)
        private = self._private_address(name, login, about, known)
        return replace(node, id=about.id[:12], private_address=private)

    @staticmethod
    def _identities(way: Way, name: str, known: Node | Jump | None) -> list[Identity]:
        """Return the keys to try; first the one that was accepted before."""
        found = identities_of(way, name)
        return sorted(found, key=lambda each: known is None or each != known.identity)

    @contextlib.contextmanager
    def _logged_in(self, node: Node, identities: Sequence[Identity] = ()) -> Iterator[Host]:
        """Yield a host that is known by the node's own pins: the inventory has none of it yet."""
        with tempfile.TemporaryDirectory(prefix="swarmbook-") as folder:
            pins = Path(folder, "known_hosts")
            write_private(pins, self._book.cluster.pins_of(node))
            host = Host(node, self._book.cluster, self._book.transcript, pins, identities=identities)
            try:
                yield host
            except LoginRefused as error:
                if error.code is not Code.LOGIN_REFUSED or not all(each.own for each in identities or [node.identity]):
                    raise
                by = f"-o ProxyJump={node.jump.user}@{node.jump.ssh} " if node.jump is not None else ""
                error.next = f"ssh-copy-id {by}-i {self._book.cluster.key_file}.pub -p {node.ssh.port} {node.user}@{node.ssh.host}; or name another ssh_key_file"
                raise
            finally:
                host.close()

    @contextlib.contextmanager
    def _gateway(self, way: Way | None, known: Jump | None) -> Iterator[tuple[Jump | None, Any]]:
        """Yield a jump host, and its open transport; twice None where there is none.

        Args:
            way: The way to it.
            known: What the inventory has of it.
        """
        if way is None:
            yield None, None
            return
        login = way.login
        with self._gateway(way.jump, known.jump if known is not None else None) as (further, by):
            if (
                known is not None
                and (known.ssh, known.user) == (login.end, login.user)
                and self._book.cluster.pins(known)
            ):
                key = known.host_key
            else:
                key = self._first_contact("the jump host", login, by)
            node = Node("the jump host", "", "", login.end.host, login.end, key, user=login.user, jump=further)
            with self._logged_in(node, self._identities(way, "the jump host", known)) as host:
                transport = host.connection().transport
                yield Jump(login.end, key, login.user, host.identity, further), transport

    def _first_contact(self, name: str, login: Login, by: Any) -> str:
        try:
            return scan_host_key(login.end, by=by)
        except LoginRefused:
            raise
        except HostUnreachable as error:
            error.what = f"{name} does not answer over SSH"
            if error.code is not Code.LOGIN_NOT_YET:
                error.code = Code.JUMP_OR_ADDRESS_WRONG
            error.where = f"{name} ({login})"
            error.next = f"is the address right, and reachable from here? ssh -p {login.end.port} {login.user}@{login.end.host}; correct hosts or ssh_jump{', or the entry in ' + self._book.params.ssh_config if self._book.params.ssh_config else ''}"
            raise

    def _ask(self, host: Host, login: Login) -> About:
        about = host.ask(ABOUT)
        if not about.id:
            raise WorldError(
                f"{host.name} has no machine id",
                where=f"{host.name}: /etc/machine-id",
                wanted="a Linux with systemd",
                seen="nothing",
                next="systemd-machine-id-setup on that host",
                code=Code.MACHINE_ID_MISSING,
            )
        return about

    def _private_address(self, name: str, login: Login, about: About, known: Node | None) -> str:
        """Return the address at which the other nodes reach a host.

        It is what the parameters say, else what it was, else the address it is known by, else what it sends from.
        """
        asked = dict(entry.split("=") for entry in self._book.params.private_addresses)
        has = about.has
        if name in asked:
            return str(asked[name])  # the preflight tells when the host does not have it
        candidates = [known.private_address if known is not None else "", *_addresses(login.end.host), *about.source]
        found = next((candidate for candidate in candidates if candidate in has), None)
        if found is None:
            raise WorldError(
                f"it is unknown at which address the other nodes reach {name}",
                where=f"{name} ({login})",
                wanted="an IPv4 address of its own, which is in the parameters or which it sends from",
                seen=", ".join(has) or "no IPv4 address",
                next=f"name it: private_addresses: [{name}=ADDRESS] in the parameters",
                code=Code.ADDRESS_UNKNOWN,
            )
        return found

    # -- the end -----------------------------------------------------------------------------------------------

    def parts(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return nothing: the hosts are yours."""
        return []

    def remove(self, names: Sequence[str]) -> None:
        """Do nothing: the hosts are yours."""

    def doomed(self) -> list[str]:
        """Return nothing: the hosts stay. But they are not forgotten while the cluster runs on them.

        Raises:
            OutOfOrder: 90 has not taken the book off them.
        """

        def one(node: Node) -> bool:
            with self._logged_in(node) as host:
                return host.run(sh("ls -d @{ours} 2>/dev/null | grep -q .", ours=_OURS), check=False).ok

        try:
            carrying = [name for name, carries in fan_out(one, self._known()).items() if carries]
        except (HostUnreachable, WaitTimeout) as error:
            error.next = f"start it; if it is gone for good: rm -r {self._book.cluster.folder}"
            raise
        if carrying:
            raise OutOfOrder(
                f"run 90 first: {subject(carrying, 'still carries', 'still carry')} the cluster",
                where=", ".join(carrying),
                wanted="hosts as they were before the book: 91 removes no host of yours, and forgets how to reach them",
                seen=f"{' or '.join(_OURS)} exists",
                next="swarmbook destroy PARAMS",
                code=Code.CLUSTER_STILL_THERE,
            )
        return []

    def destroy(self) -> list[str]:
        self.doomed()
        return []


def _addresses(host: str) -> list[str]:
    """Return the IPv4 addresses to which a name leads from here."""
    with contextlib.suppress(OSError):
        return list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, None, socket.AF_INET)))
    return []
