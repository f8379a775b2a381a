"""What an engine is set to: its daemon.json, its start line, and what its storage driver stands on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.node import Endpoint, Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.params import Params
from swarmbook.phases.support.engine_data import MOUNT_POINT, devicemapper_in
from swarmbook.phases.support.resolver import for_containers

__all__ = ["DRIVER_FACTS", "FOLDER", "SETTINGS", "drop_in_for", "merge_settings", "refuse_driver", "settings_for"]

FOLDER = "/etc/docker/swarmbook"
SETTINGS = "/etc/docker/daemon.json"
_POOL = "/dev/mapper/docker-thinpool"

#: Gives the fact ``under``: what :func:`refuse_driver` wants to know of a node.
DRIVER_FACTS = sh(
    """at=@{at}; [ -d $at ] || at=${at%/*}
type=$(findmnt -n -o FSTYPE --target $at | tail -n 1)
{ echo "$type"
if [ "$type" = xfs ] && command -v xfs_info >/dev/null; then xfs_info $at 2>/dev/null | grep -o 'ftype=0'; fi
[ ! -b @{pool} ] || echo pool; } | as under""",
    at=MOUNT_POINT,
    pool=_POOL,
)


def refuse_driver(host: str, driver: str, version: str, under: Sequence[str]) -> None:
    """Refuse a storage driver that has nothing to stand on.

    Args:
        host: For the message.
        driver: The storage driver that is wanted.
        version: Of the installed engine, or nothing.
        under: What the engine's data would lie on; empty where it could not be read.

    Raises:
        WorldError: It would not start, or not with this driver.
    """
    if not under:
        return
    filesystem = under[0]
    if driver == "devicemapper":
        wanted = "an engine before 25, and a thin pool (storage_layout: lvm-thin)"
        fine = "pool" in under and (not version or devicemapper_in(version))
        seen = f"engine {version or 'not installed'}, {'a' if 'pool' in under else 'no'} thin pool"
    elif driver == "btrfs":
        wanted, fine, seen = "btrfs", filesystem == "btrfs", filesystem
    else:
        wanted, fine = (
            "ext4, btrfs, or xfs made with ftype=1",
            filesystem in ("ext4", "btrfs", "xfs") and "ftype=0" not in under,
        )
        seen = " ".join(under)
    if not fine:
        raise WorldError(
            f"the storage driver {driver} cannot work on {host}",
            where=f"{host}: {MOUNT_POINT}",
            wanted=wanted,
            seen=seen,
            next="swarmbook run PARAMS --only 02 lays out the disk; or choose the storage_driver that fits storage_layout",
        )


def settings_for(params: Params, node: Node, nameservers: tuple[str, ...]) -> dict[str, Any]:
    """Build what daemon.json has to say on a node.

    Args:
        params: The parameters.
        node: The node.
        nameservers: Name servers the node itself uses; those on its loopback cannot be reached from a container.
    """
    upstream = [a for a in (params.dns_primary, params.dns_secondary) if a] or for_containers(nameservers)
    settings: dict[str, Any] = {
        "storage-driver": params.storage_driver,
        "dns": list(dict.fromkeys([node.private_address, *upstream])),
        "log-driver": "json-file",
        "log-opts": {"max-size": params.log_max_size, "max-file": str(params.log_max_files)},
        "labels": [f"dc={params.datacenter}", f"instance_type={params.instance_type}"],
        "tlsverify": True,
        "tlscacert": f"{FOLDER}/ca.pem",
        "tlscert": f"{FOLDER}/cert.pem",
        "tlskey": f"{FOLDER}/key.pem",
    }
    if params.storage_driver == "devicemapper":
        settings["storage-opts"] = [
            f"dm.thinpooldev={_POOL}",
            "dm.use_deferred_removal=true",
            "dm.use_deferred_deletion=true",
        ]
    if params.dns_search_domain:
        settings["dns-search"] = [params.dns_search_domain]
    return settings


#: What an engine may be set to so that no swarm, or none of the book's services, runs on it; and in whose words.
_RULES_OUT = {
    "live-restore": "an engine with live-restore refuses to be in a swarm",
    "cluster-store": "an engine with a cluster-store, of the swarm before Docker 1.12, refuses to be in one of today",
    "cluster-advertise": "an engine with cluster-advertise, of the swarm before Docker 1.12, refuses to be in one of today",
    "userns-remap": "an engine with userns-remap gives no container the host's network, and Consul needs it",
}


def _refuse_ruled_out(host: str, settings: Mapping[str, Any], ours: Iterable[str], options: Collection[str]) -> None:
    """Refuse what would keep an engine out of a swarm, or from starting, before it is touched.

    Raises:
        WorldError: Its settings or its start line say so.
    """
    for key, why in _RULES_OUT.items():
        if settings.get(key) or key in options:
            where = SETTINGS if settings.get(key) else "the engine's start line (systemctl cat docker)"
            raise WorldError(
                f"the engine of {host} is set to {key}, with which the book cannot work; it was not touched",
                where=f"{host}: {where}",
                wanted=f"no {key}: {why}",
                seen=f"{key}: {json.dumps(settings[key]) if settings.get(key) else 'given'}",
                next=f"take it out, if no one needs it: swarmbook ssh {host}; then: systemctl restart docker",
                code=Code.ENGINE_SETTINGS_RULE_OUT,
            )
    if twice := sorted({*ours} & {*options} - {"hosts"}):
        raise WorldError(
            f"the engine of {host} is given settings by its start line that the book writes into daemon.json; given twice, it "
            "does not start; it was not touched",
            where=f"{host}: systemctl cat docker, /etc/default/docker, /etc/sysconfig/docker",
            wanted=f"none of {', '.join(sorted(ours))} on its command line",
            seen=" ".join(f"--{key}" for key in twice),
            next=f"take them out of the start line: swarmbook ssh {host}; then: systemctl daemon-reload && systemctl restart docker",
            code=Code.ENGINE_SETTINGS_RULE_OUT,
        )


def merge_settings(host: str, existing: str, ours: Mapping[str, Any], started_with: Collection[str] = ()) -> str:
    """Merge our settings into a daemon.json; what is not ours stays.

    Args:
        host: For the message.
        existing: Its text, perhaps empty.
        ours: Our keys.
        started_with: What the engine's command line gives, by the names that the file has for them.

    Raises:
        WorldError: The file is not JSON, so that nothing can be merged into it; or the engine is set to what rules the book out.
    """
    try:
        settings = json.loads(existing) if existing.strip() else {}
        if not isinstance(settings, dict):
            raise ValueError("not an object")
        options, labels = settings.get("log-opts") or {}, settings.get("labels") or []
        if (
            not isinstance(options, dict)
            or not isinstance(labels, list)
            or not all(isinstance(label, str) for label in labels)
        ):
            raise ValueError("log-opts is not an object, or labels not a list of texts")
    except ValueError as error:
        raise WorldError(
            "the engine's settings are not readable, and were left alone",
            where=f"{host}: {SETTINGS}",
            wanted="a JSON object",
            seen=str(error),
            next=f"correct it: swarmbook ssh {host}",
            code=Code.ENGINE_SETTINGS_NOT_READ,
        ) from None
    _refuse_ruled_out(host, settings, ours, started_with)
    if settings.get("hosts"):  # dockerd does not start when it is given addresses both here and by its unit's -H
        raise WorldError(
            "the engine's settings name addresses to listen on (hosts), which would keep it from starting beside the API's",
            where=f"{host}: {SETTINGS}",
            wanted="no key hosts: the unit says where the engine listens",
            seen=f"hosts: {json.dumps(settings['hosts'])}",
            next=f"take the key out: swarmbook ssh {host}",
        )
    # Options of a driver that is no longer asked for would keep the engine from starting.
    kept = [option for option in settings.get("storage-opts") or [] if not str(option).startswith("dm.")]
    if "storage-opts" in settings:
        settings = {
            **{key: value for key, value in settings.items() if key != "storage-opts"},
            **({"storage-opts": kept} if kept else {}),
        }
    merged = {**settings, **ours}
    merged["log-opts"] = (
        {**options, **ours["log-opts"]} if settings.get("log-driver") == ours["log-driver"] else ours["log-opts"]
    )
    keys = {label.partition("=")[0] for label in ours["labels"]}
    merged["labels"] = [label for label in labels if label.partition("=")[0] not in keys] + list(ours["labels"])
    return json.dumps(merged, indent=2, sort_keys=True) + "\n"


def drop_in_for(start_line: str, api: Endpoint) -> str:
    """Render the unit's own start line with the API's address added; systemd wants it emptied first."""
    return f"[Service]\nExecStart=\nExecStart={start_line} -H tcp://{api}\n"
