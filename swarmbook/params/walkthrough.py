"""The settings of the 2016 walkthrough, ``swarm.conf``, as parameters. The file is read, never run: it is a script for bash."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

__all__ = ["Taken", "parameters_of", "rendered"]

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")

#: Settings that are parameters, under another name or the same.
_NAMES = {
    "datacenter": "datacenter",
    "dns_search_domain": "dns_search_domain",
    "dns_primary": "dns_primary",
    "dns_secondary": "dns_secondary",
    "sl_billing": "sl_billing",
    "sl_cpu": "sl_cpu",
    "sl_memory": "sl_memory",
    "sl_os_disk_size": "sl_os_disk",
    "sl_docker_disk_size": "sl_docker_disk",
    "sl_public_vlan_id": "sl_public_vlan",
    "sl_private_vlan_id": "sl_private_vlan",
    "sl_domain": "sl_domain",
    "sl_region": "sl_region",
    "sl_sshkey_name": "sl_ssh_key_label",
    "sl_ssh_interface": "sl_ssh_interface",
    "mariadb_cluster_name": "mariadb_cluster_name",
    "mariadb_data_path": "mariadb_data_path",
}
_NUMBERS = {"sl_cpu", "sl_memory", "sl_os_disk", "sl_docker_disk", "sl_public_vlan", "sl_private_vlan"}
#: Settings that have no counterpart, and why.
_LEFT_OUT = {
    "mysql_root_password": "root has no login over the network; the password itself is not repeated here",
    "sst_password": "state transfer goes by certificates; the password itself is not repeated here",
    "machine_opts": "docker-machine is not used",
    "sl_extra_args": "slcli is not used; what it said is not repeated here",
}


@dataclass(frozen=True)
class Taken:
    """What a file says.

    Args:
        values: The parameters.
        notes: What has no counterpart, in words, with its line. No value of it is repeated: it may be a secret.
    """

    values: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())


def parameters_of(text: str, cluster: str) -> Taken:
    """Read the file.

    Example:
        >>> dict(parameters_of("nodelist=( sw0 sw1 sw2 )\\nsl_domain=example.com", "mine").values)["nodes"]
        ['sw0', 'sw1', 'sw2']

    Args:
        text: Of ``swarm.conf`` or ``swarm.local``.
        cluster: Name for the cluster; the file has none.
    """
    said: dict[str, str | list[str]] = {}
    notes = []
    for number, statement in _statements(text):
        match = _ASSIGNMENT.fullmatch(statement)
        words = _words(match[2], said) if match else None
        if match is None or words is None:
            if not statement.lstrip().startswith("export "):
                notes.append(f"line {number}: no setting, and not run")
            continue
        name = match[1]
        if name in _LEFT_OUT:
            notes.append(f"line {number}: {name}: {_LEFT_OUT[name]}")
        elif name not in _NAMES and name not in ("nodelist", "sl_disk_type"):
            notes.append(f"line {number}: {name}: no parameter")
        said[name] = words if name == "nodelist" else " ".join(words)
    values: dict[str, Any] = {"cluster": cluster, "provider": "softlayer"}
    nodes = said.get("nodelist")
    if isinstance(nodes, list) and nodes:
        values |= {"nodes": nodes, "swarm_managers": 3 if len(nodes) >= 3 else 1}
    for name, parameter in _NAMES.items():
        if (value := said.get(name)) and isinstance(value, str):
            values[parameter] = int(value) if parameter in _NUMBERS and value.isdecimal() else value
    if "sl_disk_type" in said:
        values["sl_local_disk"] = said["sl_disk_type"] != "--san"
    return Taken(values, tuple(notes))


def _statements(text: str) -> list[tuple[int, str]]:
    """Give each line that says something, with those that it goes on in: after a backslash, or within brackets."""
    found: list[tuple[int, str]] = []
    pending = ""
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun if pending else number
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        if re.search(r"=\s*\([^)]*\Z", pending):
            pending += " "
            continue
        if pending.strip() and not pending.lstrip().startswith("#"):
            found.append((begun, pending))
        pending = ""
    return found


def _words(value: str, said: Mapping[str, str | list[str]]) -> list[str] | None:
    """Take the words of a value; None where bash would run something for it."""
    if "`" in value or "$(" in value:
        return None

    def known(match: re.Match[str]) -> str:
        found = said.get(match[1] or match[2], "")
        return " ".join(found) if isinstance(found, list) else found

    value = value.strip()
    try:
        words = shlex.split(_REFERENCE.sub(known, value), comments=True)
    except ValueError:
        return None
    if value.startswith("("):
        inside = " ".join(words)
        return inside.strip("()").split()
    return words[:1]


def rendered(taken: Taken, source: str) -> str:
    """Render a parameter file.

    Args:
        taken: What was read.
        source: Name of the file that it came from.
    """
    head = [
        f"# Taken from {source}, the settings of the 2016 walkthrough. This file is yours: check it, then plan it.",
        "# Every parameter, its default and its meaning: swarmbook params",
        *(f"# {source}, {note}" for note in taken.notes),
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(dict(taken.values), sort_keys=False, allow_unicode=True)
