"""The way to each host: who logs in where, with which keys, by way of whom; from the parameters, and the SSH configuration that they name."""

from __future__ import annotations

import difflib
import getpass
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from swarmbook.access.host_entries import Entry, Said, filled, look_up, unclear
from swarmbook.access.identities import held_by, lacks_key
from swarmbook.access.logins import Login
from swarmbook.access.node import Endpoint, Identity
from swarmbook.access.ssh_config import ENVIRONMENT
from swarmbook.access.ssh_keys import public_beside, read_private
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.words import typed

__all__ = ["Asked", "Way", "identities_of"]

_LOGIN = re.compile(
    r"((?P<user>[^@]+)@)?(\[(?P<six>[^]]+)\]|(?P<host>[^:]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*))(:(?P<port>\d{1,5}))?"
)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._:-]*)")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
#: ssh as its own ProxyCommand, as it was written before there was ProxyJump.
_BY_SSH = re.compile(
    r"(exec )?(/usr/bin/)?ssh( -[aqxT]+)* (-W \[?%h\]?:%p (?P<last>[\w@.:-]+)|(?P<first>[\w@.:-]+) -W \[?%h\]?:%p)"
)
_DEEPEST = 8


@dataclass(frozen=True)
class Way:
    """How one gets in to a host.

    Args:
        login: Who logs in, and where.
        files: The keys that are named for it, each with where it is named.
        only: Whether no other key is to be tried.
        agent: Where the agent listens that may be asked; empty for none.
        by: What it is called in the SSH configuration, and where; empty where there is none.
        jump: The way to its jump host.
    """

    login: Login
    files: tuple[Said, ...] = ()
    only: bool = False
    agent: str = ""
    by: str = ""
    jump: Way | None = None

    def __str__(self) -> str:
        by = f" ({self.by})" if self.by else ""
        return f"{self.login}{by}" + (f" by way of {self.jump}" if self.jump is not None else "")


@dataclass(frozen=True)
class Asked:
    """What the parameters say of ways.

    Args:
        root: The book's folder, where relative paths start.
        config: ``ssh_config``.
        key: ``ssh_key_file``.
        agent: ``ssh_agent``.
        jump: ``ssh_jump``.
    """

    root: Path
    config: str = ""
    key: str = ""
    agent: str = ""
    jump: str = ""

    def ways(self, hosts: Iterable[str]) -> dict[str, Way]:
        """Find the way to each host of entries ``NAME=[USER@]HOST[:PORT]``.

        Raises:
            UsageError: The SSH configuration cannot be read, or does not say how to get to one.
        """
        return {name: self.way(login) for name, _, login in (entry.partition("=") for entry in hosts)}

    def way(self, login: str, jump: str | None = None, depth: int = 0) -> Way:
        """Find the way to one host.

        Args:
            login: ``[USER@]HOST[:PORT]``.
            jump: The jump host, whatever else is said of one; empty for none, None for what is said.
            depth: How many hosts it leads to.
        """
        match = _LOGIN.fullmatch(login)
        assert match is not None, login  # the schema, or who read it, has seen to it
        user, host, port = match["user"] or "", match["six"] or match["host"], match["port"]
        if depth == 0 and jump is None and self.jump:
            jump = self.jump
        if not self.config:
            way = Way(Login(user or "root", Endpoint(host, int(port or 22))), agent=self._agent)
            return self._with_key(way, jump, depth)
        file = self._path(self.config)
        entry = look_up(file, host, user)
        number = int(port) if port else self._port(entry)
        user = user or _checked(entry.first("user"), _USER, "a user's name") or getpass.getuser()
        address = self._address(entry, file)
        files = tuple(
            Said(os.path.expanduser(filled(said, host, address, number, user)), said.where)
            for said in entry.settings.get("identityfile", ())
            if said.value != "none"
        )
        _certificates(entry, files, lambda said: filled(said, host, address, number, user))
        only = (said := entry.first("identitiesonly")) is not None and said.value.lower() == "yes"
        by = f"{host} in {entry.by}" if entry.by else ""
        way = Way(Login(user, Endpoint(address, number)), files, only, self._agent_of(entry), by)
        if jump is None:
            jump = _jump(entry)
        way = self._with_key(way, jump, depth)
        if way.jump is None and entry.first("hostname") is None:
            _refuse_unknown(entry, file)
        return way

    def _with_key(self, way: Way, jump: str | None, depth: int) -> Way:
        if not way.files and self.key:
            way = replace(way, files=(Said(str(self._path(self.key)), "ssh_key_file"),))
        if not jump:
            return way
        if depth == _DEEPEST:
            raise unclear(
                "jump hosts lead to each other without end",
                self.config or "ssh_jump",
                seen=jump,
                next="correct the ProxyJump lines",
            )
        *earlier, last = jump.split(",")
        return replace(way, jump=self.way(last, ",".join(earlier) or None, depth + 1))

    def _path(self, named: str) -> Path:
        return self.root / Path(named).expanduser()

    @property
    def _agent(self) -> str:
        return self.agent if self.agent in ("", ENVIRONMENT) else str(self._path(self.agent))

    def _agent_of(self, entry: Entry) -> str:
        """Return the agent of an entry: that of the parameters, if the entry does not rule it out."""
        said = entry.first("identityagent")
        if said is None or not self.agent:
            return self._agent
        if said.value == "none":
            return ""
        named = ENVIRONMENT if said.value in (ENVIRONMENT, f"${ENVIRONMENT}") else os.path.expanduser(said.value)
        if named != self._agent:
            raise unclear(
                f"{entry.name} wants another agent than the parameters name",
                said.where,
                wanted=said.value,
                seen=f"ssh_agent: {self.agent}",
                next=f"ssh_agent: {said.value} in the parameters, or take the line away",
            )
        return named

    @staticmethod
    def _port(entry: Entry) -> int:
        said = entry.first("port")
        if said is None:
            return 22
        if not said.value.isdigit() or not 0 < int(said.value) < 65536:
            raise unclear("this is no port", said.where, seen=said.value, next="correct that line")
        return int(said.value)

    @staticmethod
    def _address(entry: Entry, file: Path) -> str:
        said = entry.first("hostname")
        value = filled(said, entry.name, entry.name, 0, "", only="%h") if said is not None else entry.name
        canonical = entry.first("canonicalizehostname")
        if canonical is not None and canonical.value.lower() != "no":
            raise unclear(
                f"which name {entry.name} has in the end is only known to ssh",
                canonical.where,
                wanted="CanonicalizeHostname no",
                seen=canonical.value,
                next=f"write `Host {entry.name}` with HostName and `CanonicalizeHostname no` before that line",
            )
        return _checked(Said(value, said.where if said is not None else str(file)), _HOST, "an address")


def _checked(said: Said | None, pattern: re.Pattern[str], what: str) -> str:
    if said is not None and not pattern.fullmatch(said.value):
        raise unclear(f"this is not {what} that swarmbook takes", said.where, seen=said.value, next="correct that line")
    return said.value if said is not None else ""


def _certificates(entry: Entry, files: Iterable[Said], fill: Callable[[Said], str]) -> None:
    for said in entry.settings.get("certificatefile", ()):
        beside = [f"{each.value}-cert.pub" for each in files]
        if said.value != "none" and os.path.expanduser(fill(said)) not in beside:
            raise unclear(
                "a certificate that does not lie beside its key is not used",
                said.where,
                wanted=" or ".join(beside) or "an IdentityFile to which it belongs",
                seen=said.value,
                next="put it beside the key, under that name",
            )


def _jump(entry: Entry) -> str | None:
    """Return by way of whom an entry leads; None where it leads there by itself."""
    said = entry.first("proxyjump")
    if said is None:
        said = entry.first("proxycommand")
        if said is None or said.value == "none":
            return None
        match = _BY_SSH.fullmatch(" ".join(said.value.split()))
        if match is None:
            raise unclear(
                f"{entry.name} is reached by a program of its own",
                said.where,
                wanted="ProxyJump, or ProxyCommand ssh -W %h:%p JUMP",
                seen=f"ProxyCommand {said.value}",
                next="write it as ProxyJump JUMP, where an SSH server is on the way",
            )
        said = Said(match["last"] or match["first"], said.where)
    if said.value == "none":
        return None
    each = [part.removeprefix("ssh://") for part in said.value.split(",")]
    for part in each:
        match = _LOGIN.fullmatch(part)
        host = (match["six"] or match["host"]) if match is not None else ""
        if match is None or not _HOST.fullmatch(host) or not _USER.fullmatch(match["user"] or "u"):
            raise unclear("this is no jump host", said.where, seen=said.value, next="correct that line")
    return ",".join(each)


def _refuse_unknown(entry: Entry, file: Path) -> None:
    """Refuse a name that only stands for itself, and for nothing that has an address."""
    try:
        ipaddress.ip_address(entry.name)
        return
    except ValueError:
        if "." in entry.name:  # a name of the network's: connecting to it tells
            return
    try:
        socket.getaddrinfo(entry.name, None)
    except OSError as error:
        near = difflib.get_close_matches(entry.name, entry.names, 3)
        raise unclear(
            f"no address is known for {entry.name}",
            entry.by or str(file),
            wanted="HostName with its address" if entry.by else f"a block `Host {entry.name}` with HostName",
            seen=str(error.strerror or error) + (f"; similar names there: {', '.join(near)}" if near else ""),
            next=f"ssh -G -F {typed(file)} {entry.name} shows what ssh makes of it; add HostName, or correct hosts or ssh_jump in the parameters",
        ) from None


# -- keys ------------------------------------------------------------------------------------------------------------------


def identities_of(way: Way, name: str) -> list[Identity]:
    """Find the keys that may be tried on a way: those that are named for it, then what else its agent holds.

    Args:
        way: The way.
        name: To whom, for the message.

    Raises:
        UsageError: There is none.
        WorldError: Its agent is not there, or holds none of them.
    """
    found: list[Identity] = []
    lacking: list[str] = []
    problem: WorldError | None = None
    try:
        held = [each.public for each in held_by(way.agent)] if way.agent else []
    except WorldError as error:
        held, problem = [], error
    for said in way.files:
        path = Path(said.value)
        try:
            read_private(path)
            found.append(Identity() if said.where == "ssh_key_file" else Identity(str(path)))
            continue
        except UsageError as error:
            reason = error.seen or error.what
        public = public_beside(path)
        if public in held:
            found.append(Identity(public=public, agent=way.agent))
        elif not public:
            lacking.append(f"{path} ({said.where}): {reason}")
        elif way.agent:
            lacking.append(f"{path} ({said.where}): the agent does not hold it")
        else:
            lacking.append(f"{path} ({said.where}): it wants a passphrase, or is only the public part")
    if not way.only:
        found += [one for each in held if (one := Identity(public=each, agent=way.agent)) not in found]
    if found:
        return found
    if problem is not None:
        raise problem
    seen = "; ".join(lacking) or "none is named"
    if way.agent:
        raise lacks_key(
            f"the ssh-agent holds no key for {name}",
            way.agent,
            wanted="one that is named: " + ", ".join(said.value for said in way.files) if way.files else "a key",
            seen=seen,
            next=f"ssh-add {typed(way.files[0].value)}" if way.files else "ssh-add",
        )
    raise UsageError(
        f"no key is known with which {name} lets us in",
        where=f"{name} ({way})",
        wanted="a private key without a passphrase, or an agent that holds it",
        seen=seen,
        next="ssh_key_file: FILE in the parameters, or IdentityFile in its entry; or ssh-add FILE, and ssh_agent: SSH_AUTH_SOCK in the parameters",
        code=Code.SSH_KEY_UNUSABLE,
    )
