"""What of Consul lies on a node: one probe."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.probe import Facts, Probe, name
from swarmbook.base.plain import plain_data
from swarmbook.phases.consul.config import FOLDER, PUBLIC_CA, STACK
from swarmbook.phases.support.resolver import RESOLV_CONF, nameservers

__all__ = ["Listener", "NodeState", "on_node"]

_FILES = ("tokens.json", "ca.pem", "cert.pem", "key.pem", PUBLIC_CA)
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Listener:
    """Who listens on a node: a line of ``ss -Hltunp``."""

    address: str
    port: str
    line: str

    @classmethod
    def read(cls, line: str) -> Listener:
        """Parse a line: protocol, state, queues, local address and port, peer, process."""
        address, _, port = line.split()[4].rpartition(":")
        return cls(address.partition("%")[0], port, line[:200])

    def in_the_way_of(self, config: Mapping[str, Any]) -> bool:
        """Tell whether it listens where an agent has to.

        Args:
            config: The agent's configuration.
        """
        ports, addresses = config["ports"], config["addresses"]
        wanted = {
            str(ports["dns"]): {addresses["dns"]},
            str(ports["https"]): set(addresses["https"].split()),
        }
        # A resolver on 127.0.0.53 does not conflict.
        everywhere = {"0.0.0.0", "*", "[::]"}  # noqa: S104
        return self.port in wanted and self.address in {*everywhere, *wanted[self.port]}


@dataclass(frozen=True)
class NodeState:
    """What of Consul lies on a node.

    Args:
        config: node.json as it is there, or nothing.
        files: Hashes of the other files there.
        label: The swarm node label ``consul``.
        image: Whether the engine has the image.
        drained: Whether the swarm starts no container there, because a person has drained or paused the node.
        running: Name of the Consul service that runs a container there, or nothing.
        nameservers: Name servers of the node itself.
        listeners: Who listens there, while no Consul runs.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    image: bool = False
    drained: bool = False
    running: str = ""
    nameservers: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()


# Who listens comes first: an agent that starts meanwhile is then one that runs, and not one that holds its own port.
_SCRIPT = sh(
    """cd @{folder} 2>/dev/null && for f in @{files}; do [ -e $f ] && sha256sum $f; done | as files
[ ! -d @{folder} ] || base64 -w0 @{folder}/node.json 2>/dev/null | as config
ss -Hltunp | as listeners
docker ps --filter @{stack} --format '{{.Label "com.docker.swarm.service.name"}}' | head -n 1 | as running
@!{resolver}""",
    folder=FOLDER,
    files=_FILES,
    stack=f"label=com.docker.stack.namespace={STACK}",
    resolver=RESOLV_CONF,
)


def on_node(image: bool = False, label: str = "", drained: bool = False) -> Probe[NodeState]:
    """Find what Consul has on a node.

    Args:
        image: Whether its engine has the image: that is known from its API.
        label: The swarm node label ``consul``, likewise.
        drained: Whether the swarm starts nothing there, likewise.
    """

    def read(facts: Facts) -> NodeState:
        files = {}
        for line in facts.get("files", ()):
            digest, _, file = line.partition("  ")
            if not _HASH.fullmatch(digest) or file not in _FILES:
                raise ValueError(f"no hash of a file: {line[:80]!r}")
            files[file] = digest
        config = "".join(facts.get("config", ()))
        running = "".join(facts["running"]).strip()
        return NodeState(
            config=plain_data(json.loads(base64.b64decode(config, validate=True))) if config else {},
            files=files,
            label=label,
            image=image,
            drained=drained,
            running=name(running) if running else "",
            nameservers=nameservers(facts),
            listeners=() if running else tuple(Listener.read(line) for line in facts["listeners"] if line),
        )

    return Probe(_SCRIPT, read)
