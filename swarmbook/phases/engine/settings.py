"""What an engine is set to: its daemon.json, its start line, and what its storage driver stands on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swarmbook.access.commands import sh
from swarmbook.access.node import Endpoint, Node
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.params import Params
from swarmbook.phases.support.engine_data import MOUNT_POINT, devicemapper_in

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
    upstream = [a for a in (params.dns_primary, params.dns_secondary) if a] or [
        a for a in nameservers if not a.startswith("127.") and a != "::1"
    ]
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


def merge_settings(host: str, existing: str, ours: Mapping[str, Any]) -> str:
    """Merge our settings into a daemon.json; what is not ours stays.

    Args:
        host: For the message.
        existing: Its text, perhaps empty.
        ours: Our keys.

    Raises:
        WorldError: The file is not JSON, so that nothing can be merged into it.
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
