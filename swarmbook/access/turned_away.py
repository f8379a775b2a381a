"""Who is turned away at a node, and by whom: sshd, PAM, the login shell, a forced command, sudo. In words, with the way out."""

from __future__ import annotations

import re
from pathlib import Path

from swarmbook.access.channel import Output
from swarmbook.access.identities import Tries
from swarmbook.access.node import Endpoint, known_name
from swarmbook.base.codes import Code
from swarmbook.base.errors import HostKeyMismatch, HostUnreachable, LoginRefused, SwarmbookError, WorldError
from swarmbook.base.secrets import mask
from swarmbook.base.words import typed

__all__ = [
    "NO_GREETING",
    "another_host_key",
    "forwarding_refused",
    "key_refused",
    "not_root",
    "not_yet",
    "nothing_in_common",
    "runs_nothing",
    "unanswered",
]

_MOST = 300
#: paramiko's words for a server that closed the connection before it said who it is.
NO_GREETING = "Error reading SSH protocol banner"
#: Words of PAM, of sshd, of the shadow suite and of cloud images. They only choose the advice; what was said is quoted all the same.
_STARTING = re.compile(r"pam_nologin|system is booting up|system is going down", re.IGNORECASE)
_EXPIRED_PASSWORD = re.compile(r"password .{0,20}expired|password change required|change your password", re.IGNORECASE)
_EXPIRED_ACCOUNT = re.compile(r"account .{0,20}expired", re.IGNORECASE)
_ANOTHER_USER = re.compile(r"log ?in as the user [\"'`]?(?P<user>[A-Za-z_][A-Za-z0-9_.-]{0,31})", re.IGNORECASE)
_NO_SHELL = re.compile(r"account is currently not available|nologin", re.IGNORECASE)


def _words(*texts: str) -> str:
    return mask("\n".join(text.strip() for text in texts if text.strip()))[:_MOST]


def not_yet(banner: str) -> bool:
    """Tell whether a login is refused only for now: the machine starts, or goes down."""
    return bool(_STARTING.search(banner))


def key_refused(name: str, user: str, end: Endpoint, tries: Tries, banner: str, allowed: str) -> SwarmbookError:
    """Return the error of a login that sshd did not let in.

    Args:
        name: The node.
        user: Who wanted in.
        end: Where.
        tries: The keys that were tried.
        banner: What the server said meanwhile.
        allowed: The ways of logging in that it would take; empty where it did not say.
    """
    where, said = f"{name} ({user}@{end})", _words(banner)
    if not_yet(banner):
        return HostUnreachable(
            f"{name} lets no one but root in yet",
            where=where,
            wanted="a machine that has started",
            seen=said,
            next="run it again in a minute",
            code=Code.LOGIN_NOT_YET,
        )
    if _EXPIRED_ACCOUNT.search(banner):
        return LoginRefused(
            f"the account {user} on {name} has expired",
            where=where,
            wanted="an account that may log in",
            seen=said,
            next=f"on that host, as root: chage -E -1 {user}",
            code=Code.LOGIN_RUNS_NOTHING,
        )
    seen = _words(f"permission denied ({allowed or 'publickey'})", banner)
    if tries.own_key:
        return LoginRefused(
            f"{name} does not accept the cluster's SSH key",
            where=where,
            wanted=f"the key {tries.own}.pub in {user}'s authorized_keys, and a user whom its sshd lets in",
            seen=seen,
            next=f"restore {typed(tries.own)}; if it was changed on purpose: swarmbook run PARAMS --only 01",
        )
    return LoginRefused(
        f"{name} accepts none of the {tries.tried} keys that were tried",
        where=where,
        wanted=f"one of these in {user}'s authorized_keys, and a user whom its sshd lets in: {tries}",
        seen=seen,
        next=f"ssh-copy-id -p {end.port} {user}@{end.host}, from where you still get in; or name the right key: ssh_key_file in the parameters, "
        "or IdentityFile and IdentitiesOnly yes in its entry",
    )


def another_host_key(name: str, user: str, end: Endpoint, wanted: str, seen: str, known_hosts: Path) -> HostKeyMismatch:
    """Return the error of a host that shows another key than before."""
    return HostKeyMismatch(
        f"{name} shows another host key than the one pinned at first contact",
        where=f"{name} ({user}@{end})",
        wanted=wanted,
        seen=seen,
        next=f"find out who answers at {end}; if the machine was reinstalled on purpose: "
        f"ssh-keygen -f {typed(known_hosts)} -R '{known_name(end)}' && swarmbook run PARAMS --only 01",
    )


def nothing_in_common(name: str, user: str, end: Endpoint, seen: str) -> LoginRefused:
    """Return the error of a server with which no algorithm is shared."""
    return LoginRefused(
        f"{name} and this computer share no way of talking SSH",
        where=f"{name} ({user}@{end})",
        wanted="a key exchange, a cipher and a host key (ed25519, ECDSA or RSA) that both know",
        seen=seen[:_MOST],
        next=f"ssh -v -p {end.port} {user}@{end.host} lists what it offers; look at KexAlgorithms and HostKeyAlgorithms in its sshd_config",
        code=Code.LOGIN_RUNS_NOTHING,
    )


def unanswered(error: Exception) -> str:
    """Say what became of a connection that got no answer, in words that lead somewhere."""
    said = str(error) or type(error).__name__
    if NO_GREETING in said:
        return f"{said}: it took the connection and closed it, or said nothing; it starts, or has had too many logins or failures from here (MaxStartups, PerSourcePenalties)"
    return said


def runs_nothing(name: str, user: str, end: Endpoint, said: Output) -> LoginRefused:
    """Return the error of a login that was let in, and ran nothing of ours.

    Args:
        name: The node.
        user: Who logged in.
        end: Where.
        said: What came instead.
    """
    words = _words(said.stdout, said.stderr)
    again = f"swarmbook ssh {name} shows the same"
    if match := _ANOTHER_USER.search(words):
        what, next = (
            f"{name} wants another user than {user}",
            f"hosts: [{name}={match['user']}@{end}] in the parameters",
        )
    elif _EXPIRED_PASSWORD.search(words):
        what = f"the password of {user} on {name} has expired, and nothing runs until it is changed"
        next = f"ssh -t -p {end.port} {user}@{end.host}, which asks for a new one; or as root there: chage -M -1 -d $(date +%F) {user}"
    elif _NO_SHELL.search(words):
        what = f"{user} on {name} has no shell"
        next = f"on that host, as root: chsh -s /bin/sh {user}; or log in as another user"
    else:
        what = f"the login of {user} on {name} does not run what it is given"
        next = f"a forced command (command=... in authorized_keys, ForceCommand in sshd_config), or a shell that runs none: {again}"
    return LoginRefused(
        what,
        where=f"{name} ({user}@{end})",
        wanted="a shell that runs commands",
        seen=words or f"nothing, exit {said.exit}",
        next=next,
        code=Code.LOGIN_RUNS_NOTHING,
    )


def not_root(name: str, user: str, end: Endpoint, said: Output) -> WorldError:
    """Return the error of a user who runs commands, and may not become root."""
    return WorldError(
        f"{user} may not become root on {name} without a password",
        where=f"{name} ({user}@{end})",
        wanted=f"sudo -n without a password: a file in /etc/sudoers.d with the line: {user} ALL=(ALL) NOPASSWD: ALL",
        seen=_words(said.stderr, said.stdout) or f"exit {said.exit}",
        next=f"ssh -t -p {end.port} {user}@{end.host} sudo visudo -f /etc/sudoers.d/{user}; or log in as root",
        code=Code.SUDO_ASKS,
    )


def forwarding_refused(name: str, user: str, end: Endpoint, seen: str) -> LoginRefused:
    """Return the error of an SSH server that forwards no connection for us."""
    return LoginRefused(
        f"the SSH server of {name} forwards no connections",
        where=f"{name} ({user}@{end})",
        wanted="AllowTcpForwarding yes (or local), no DisableForwarding, and no PermitOpen that leaves the cluster's ports out",
        seen=seen[:_MOST],
        next=f"correct sshd_config (and restrict or no-port-forwarding in {user}'s authorized_keys) on {name}, then: systemctl reload ssh",
        code=Code.FORWARDING_REFUSED,
    )
