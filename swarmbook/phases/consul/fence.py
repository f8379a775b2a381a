"""What an old Consul must not be given: CVE-2021-37219, and the leap from it to a new one; pure.

Before 1.8.15, 1.9.9 and 1.10.2 a server takes raft from everyone who has a certificate of Consul's authority, so a client
agent's certificate is worth as much as a server's: it can write anything. No setting of that Consul changes it, and the
port is the one that clients need. What shuts the path is that no one but servers has such a certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmbook.base.errors import WorldError
from swarmbook.base.words import subject
from swarmbook.model.checks import Check

__all__ = ["MODERN", "about_version", "raft_check", "refuse_leap", "refuse_open_raft", "takes_raft_from_all"]

#: Of these versions on, TLS settings have a stanza of their own.
MODERN = (1, 12)
_FIXED: Mapping[tuple[int, ...], int] = {(1, 8): 15, (1, 9): 9, (1, 10): 2}
_CVE = "CVE-2021-37219"


def takes_raft_from_all(version: tuple[int, ...]) -> bool:
    """Tell whether servers of this Consul take raft from every certificate of their authority."""
    first = version[:2]
    patch = version[2] if len(version) > 2 else 0
    return bool(version) and (first < min(_FIXED) or patch < _FIXED.get(first, 0))


def _clients(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted(name for name, config in configs.items() if not config["server"])


def refuse_open_raft(version: tuple[int, ...], configs: Mapping[str, Mapping[str, Any]], accepted: bool) -> None:
    """Refuse to give client agents certificates by which they could speak raft.

    Args:
        version: Of the Consul that is to run.
        configs: Each agent's, by node.
        accepted: Whether the parameters ask for this Consul by name.

    Raises:
        WorldError: There are client agents, and this Consul takes raft from them.
    """
    clients = _clients(configs)
    if accepted or not clients or not takes_raft_from_all(version):
        return
    raise WorldError(
        f"with Consul {_text(version)}, {subject(clients, 'would get a certificate', 'would get certificates')} that "
        f"can write Consul's raft ({_CVE}); no agent was deployed",
        where=", ".join(clients),
        wanted="Consul 1.8.15, 1.9.9, 1.10.2 or newer, or servers alone",
        seen=f"Consul {_text(version)}, the last that Debian had, since HashiCorp's releases could not be reached; client agents on {', '.join(clients)}",
        next="where this computer and its containers reach releases.hashicorp.com: consul_source: hashicorp; or make every "
        "node a manager (swarm_managers); or accept that a stolen worker is worth all of Consul: consul_source: debian",
    )


def refuse_leap(version: tuple[int, ...], running: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to change between a Consul before 1.12 and one after it under a cluster that runs.

    Args:
        version: Of the Consul that is to run.
        running: The settings that agents run on now, by node; empty for those that have none.

    Raises:
        WorldError: The two are too far apart: HashiCorp wants versions between them.
    """
    far = [name for name, config in running.items() if config and ("tls" in config) != (version >= MODERN)]
    if not version or not far:
        return
    raise WorldError(
        f"Consul cannot go {'up' if version >= MODERN else 'back'} to {_text(version)} in one step; nothing was touched",
        where=", ".join(far),
        wanted=f"a Consul {'from 1.12 on' if version < MODERN else 'before 1.12'}, as it runs now",
        seen=f"Consul {_text(version)}",
        next="set consul_source as it was; or, without the data of the databases: swarmbook rebuild PARAMS",
    )


def raft_check(version: tuple[int, ...], configs: Mapping[str, Mapping[str, Any]], accepted: bool) -> list[Check]:
    """Check who may speak raft; nothing while the version is not known.

    Args:
        version: Of the Consul that runs.
        configs: Each agent's settings, by node.
        accepted: Whether the parameters ask for this Consul by name: what was accepted is said, and is no failure.
    """
    if not version:
        return []
    clients = _clients(configs)
    is_open = bool(clients) and takes_raft_from_all(version)
    seen = "servers alone"
    if is_open:
        seen = f"servers, and clients on {', '.join(clients)}" + ", as consul_source: debian accepts" * accepted
    wanted = "servers alone, or as accepted"
    return [Check("cluster", f"who may write raft ({_CVE})", wanted, seen, accepted or not is_open)]


def about_version(version: tuple[int, ...]) -> list[Check]:
    """Say which Consul runs, and plainly what it is worth."""
    if not version:
        return []
    old = version < MODERN
    worth = " of Debian 11, which gets no security updates" if old else ", HashiCorp's signed release"
    return [Check("cluster", "Consul", "any", f"{_text(version)}{worth}", True)]


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
