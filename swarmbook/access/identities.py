"""Keys with which someone logs in: the cluster's own, one in a file of its owner's, or one that an ssh-agent holds and signs with."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmbook.access.node import Identity
from swarmbook.access.ssh_config import ENVIRONMENT
from swarmbook.base.border import foreign, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.words import many, typed

__all__ = ["Held", "Tries", "held_by", "in_words", "lacks_key", "print_of"]

#: Seconds for an agent to answer; one that asks its owner first is given time to be answered.
_AGENT_S = 60


@dataclass(frozen=True)
class Held:
    """A key that an agent holds.

    Args:
        public: Type and key.
        comment: What its owner calls it.
    """

    public: str
    comment: str


def print_of(public: str) -> str:
    """Return a key's fingerprint as ``ssh-keygen -l`` and ``ssh-add -l`` write it."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def in_words(identity: Identity) -> str:
    """Say which key it is."""
    if identity.own:
        return "the cluster's key"
    if identity.file:
        return identity.file
    at = f"${ENVIRONMENT}" if identity.agent == ENVIRONMENT else identity.agent
    return f"{identity.public.split()[0]} {print_of(identity.public)} of the agent at {at}"


def lacks_key(what: str, agent: str, *, wanted: str, seen: str, next: str) -> WorldError:
    """Return the error of an agent that does not help."""
    named = f"{agent} ({os.environ.get(ENVIRONMENT) or 'empty'})" if agent == ENVIRONMENT else agent
    return WorldError(what, where=named, wanted=wanted, seen=seen, next=next, code=Code.SSH_AGENT_LACKS_KEY)


def held_by(agent: str) -> list[Held]:
    """List the keys that an agent holds.

    Raises:
        WorldError: There is none, or it holds none.
    """
    with _asked(agent) as keys:
        found = [Held(f"{key.get_name()} {base64.b64encode(key.blob).decode()}", key.comment) for key in keys]
    if not found:
        raise lacks_key(
            "the ssh-agent holds no key",
            agent,
            wanted="a key that your hosts accept",
            seen="no keys",
            next="ssh-add, or ssh-add FILE for a key that has another name",
        )
    return found


@contextlib.contextmanager
def _asked(agent: str) -> Iterator[Sequence[Any]]:
    """Yield the keys of an agent; they sign as long as this lasts."""
    from paramiko.agent import AgentSSH

    class Asked(AgentSSH):  # type: ignore[misc]  # paramiko's own goes to the socket of the environment alone
        def __init__(self, connection: socket.socket) -> None:
            super().__init__()
            self._connect(connection)

    path = os.environ.get(ENVIRONMENT, "") if agent == ENVIRONMENT else os.path.expanduser(agent)
    if not path:
        raise lacks_key(
            "no ssh-agent is known here",
            agent,
            wanted="a shell that knows one",
            seen=f"{ENVIRONMENT} is empty: cron, sudo and a new terminal do not know the agent of another one",
            next='eval "$(ssh-agent)" && ssh-add; or name its socket: ssh_agent: PATH in the parameters',
        )
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_AGENT_S)
        try:
            connection.connect(path)
            keys = Asked(connection).get_keys()
        except Exception as error:
            if not foreign(error):
                raise
            raise lacks_key(
                "the ssh-agent does not answer",
                agent,
                wanted=f"an agent at {path}",
                seen=words(error),
                next='ssh-add -l shows whether one is there; a new one: eval "$(ssh-agent)" && ssh-add',
            ) from None
        yield keys


class Tries:
    """Keys that are tried one after the other within one connection; several connections that fail would be held against us.

    Args:
        user: Who logs in.
        identities: The keys, in turn.
        own: The file of the cluster's own key.
    """

    def __init__(self, user: str, identities: Sequence[Identity], own: Path) -> None:
        self.user, self._identities, self.own = user, identities, own
        self.accepted: Identity | None = None
        self.tried = 0

    @property
    def own_key(self) -> bool:
        """Whether it is the cluster's own key alone."""
        return all(identity.own for identity in self._identities)

    def __str__(self) -> str:
        return "; ".join(map(in_words, self._identities))

    def authenticate(self, transport: Any) -> list[str]:
        """Log in; paramiko calls it, in the place of its own tries.

        Raises:
            AuthenticationException: No key was accepted, or more than a key is asked for.
            FileNotFoundError: A file is gone.
            WorldError: An agent is gone, or has the key no more.
        """
        import paramiko

        refused: Exception = paramiko.AuthenticationException("no key")
        with contextlib.ExitStack() as stack:
            agents: dict[str, dict[str, Any]] = {}
            for identity in self._identities:
                self.tried += 1
                try:
                    more = transport.auth_publickey(self.user, self._key(identity, agents, stack))
                except paramiko.AuthenticationException as error:
                    refused = error
                    if not transport.is_active():
                        break
                    continue
                except paramiko.SSHException as error:
                    if identity.public and re.search("agent|sign", str(error)):  # its owner was asked, and said no
                        raise lacks_key(
                            "the ssh-agent did not sign",
                            identity.agent,
                            wanted=f"a signature of {in_words(identity)}",
                            seen=str(error),
                            next="look whether the agent asks for something (ssh-add -c, a security key), then run again",
                        ) from None
                    raise
                if more:
                    raise paramiko.BadAuthenticationType("a key alone is not enough", more)
                self.accepted = identity
                return []
        raise refused

    def _key(self, identity: Identity, agents: dict[str, dict[str, Any]], stack: contextlib.ExitStack) -> Any:
        import paramiko

        if not identity.public:
            return paramiko.PKey.from_path(Path(identity.file) if identity.file else self.own)
        if identity.agent not in agents:
            keys = stack.enter_context(_asked(identity.agent))
            agents[identity.agent] = {base64.b64encode(key.blob).decode(): key for key in keys}
        key = agents[identity.agent].get(identity.public.split()[1])
        if key is None:
            raise lacks_key(
                "the ssh-agent does not hold the key any more",
                identity.agent,
                wanted=in_words(identity),
                seen=f"the agent does not hold it any more, but {many(len(agents[identity.agent]), 'other key')}",
                next=f"ssh-add FILE, then look with ssh-add -l for {typed(print_of(identity.public))}",
            )
        return key
