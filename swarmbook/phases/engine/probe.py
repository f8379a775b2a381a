"""How a node's engine is: one probe."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmbook.access.commands import lines, sh
from swarmbook.access.probe import Facts, Probe, line, name, nameserver, number, word
from swarmbook.base.plain import plain
from swarmbook.model.health import SwarmState
from swarmbook.phases.engine.settings import DRIVER_FACTS, FOLDER, SETTINGS
from swarmbook.phases.support.systems import OS_RELEASE, read_os_release

__all__ = ["API_PORT", "DROP_IN", "ENGINE", "Engine", "Tasks", "tasks"]

DROP_IN = "/etc/systemd/system/docker.service.d/swarmbook.conf"
_MOST_START_LINE = 4096
_VERSION = re.compile(r"[0-9A-Za-z.+~:-]{0,60}")


@dataclass(frozen=True)
class Engine:
    """A node's engine as it is.

    Args:
        version: Of the installed engine, or nothing.
        active: Whether the service runs.
        enabled: Whether it starts at boot.
        start_line: ``ExecStart`` of the packaged unit.
        settings: Text of daemon.json.
        drop_in: Text of our drop-in.
        certificate: PEM of the API's certificate.
        authority: PEM of the CA that clients of the API must come from.
        key: SHA-256 of the certificate's key file.
        nameservers: Name servers of the node itself.
        driver: Storage driver of the running engine.
        labels: Labels of the running engine.
        swarm: The running engine's part in a swarm.
        api: What our client and a stranger got from the API; empty when it was not asked.
        release: The node's os-release.
        under: What its data would lie on: file system, ``ftype=0`` where xfs lacks it, ``pool`` where there is a thin
            pool.
    """

    version: str = ""
    active: bool = False
    enabled: bool = False
    start_line: str = ""
    settings: str = ""
    drop_in: str = ""
    certificate: str = ""
    authority: str = ""
    key: str = ""
    nameservers: tuple[str, ...] = ()
    driver: str = ""
    labels: tuple[str, ...] = ()
    swarm: SwarmState = SwarmState.NONE
    api: str = ""
    release: Mapping[str, str] = field(default_factory=dict)
    under: tuple[str, ...] = ()


_SCRIPT = sh(
    """unit=$(systemctl show -p FragmentPath --value docker.service 2>/dev/null)
dockerd --version 2>/dev/null | sed -n 's/^Docker version \\([^,]*\\),.*/\\1/p' | as version
systemctl is-active docker.service 2>/dev/null | as active
systemctl is-enabled docker.service 2>/dev/null | as enabled
{ [ -n "$unit" ] && sed -n 's/^ExecStart=//p' "$unit" | head -n 1; } | as start_line
base64 -w0 @{settings} 2>/dev/null | as settings
base64 -w0 @{drop_in} 2>/dev/null | as drop_in
base64 -w0 @{folder}/cert.pem 2>/dev/null | as certificate
base64 -w0 @{folder}/ca.pem 2>/dev/null | as authority
sha256sum @{folder}/key.pem 2>/dev/null | cut -d' ' -f1 | as key
sed -n 's/^nameserver *//p' /etc/resolv.conf | as nameservers
{ systemctl is-active -q docker.service && docker info --format '{{json .}}' 2>/dev/null; } | as info""",
    settings=SETTINGS,
    drop_in=DROP_IN,
    folder=FOLDER,
)


def _read(facts: Facts) -> Engine:
    def one(fact: str) -> str:
        return "".join(facts[fact]).strip()

    def text(fact: str) -> str:
        return plain(base64.b64decode(one(fact), validate=True).decode(errors="replace"))

    info = json.loads(one("info") or "null") or {}
    if not _VERSION.fullmatch(one("version")):
        raise ValueError(f"no version: {one('version')[:80]!r}")
    return Engine(
        version=one("version"),
        active=one("active") == "active",
        enabled=one("enabled") == "enabled",
        start_line=one("start_line")[:_MOST_START_LINE],
        settings=text("settings"),
        drop_in=text("drop_in"),
        certificate=text("certificate"),
        authority=text("authority"),
        key=word(one("key")),
        nameservers=tuple(nameserver(each) for each in facts["nameservers"] if each.strip()),
        driver=word(str(info.get("Driver") or "")),
        labels=tuple(line(str(label)) for label in info.get("Labels") or ()),
        swarm=SwarmState.read(str((info.get("Swarm") or {}).get("LocalNodeState") or "none")),
        release=read_os_release(facts["os"]),
        under=tuple(line(each) for each in facts["under"] if each),
    )


#: A node's engine, but for what its API answers.
ENGINE: Probe[Engine] = Probe(lines(OS_RELEASE, _SCRIPT, DRIVER_FACTS), _read)

#: The port of an engine's API, as our drop-in has it; None where there is none yet.
API_PORT: Probe[int | None] = Probe(
    sh("sed -n 's/^ExecStart=.* -H tcp:[^ ]*:\\([0-9]*\\)$/\\1/p' @{drop_in} 2>/dev/null | as port", drop_in=DROP_IN),
    lambda facts: number("".join(facts["port"]), 65535) if any(facts["port"]) else None,
)

#: The swarm's tasks on a node: status by service.
Tasks = Mapping[str, str]


def _read_tasks(facts: Facts) -> Tasks:
    # An image chooses its labels itself: as JSON, a label of several lines is one line, and no service's name.
    pairs = (json.loads(each) for each in facts["tasks"] if each)
    return {name(service): line(status) for service, status in pairs}


tasks: Probe[Tasks] = Probe(
    sh(
        "docker ps --filter label=com.docker.swarm.service.name "
        """--format '[{{json (.Label "com.docker.swarm.service.name")}},{{json .Status}}]' | as tasks"""
    ),
    _read_tasks,
)
