"""Where a member of the Galera cluster has its data on its node."""

from __future__ import annotations

from swarmbook.access.commands import Script, sh
from swarmbook.params import Params

__all__ = ["MARK", "ORIGIN", "RESTORED", "data_folder", "folder_made", "volume_name"]

#: In a data folder outside the engine: holds the cluster's name, and says that the folder is the book's to remove.
MARK = ".swarmbook"
#: In a data folder: a restore has put data in place, and no member has started on it yet. Holds the snapshot and the position.
RESTORED = "restored"
#: In a data folder: the GTIDs of the last transactions in what was restored there, behind which a standby goes on.
ORIGIN = "restored.origin"


def volume_name(params: Params) -> str:
    """Return the name of the volume that holds a member's data: each node has one of that name."""
    return f"{params.mariadb_cluster_name}-data"


def data_folder(params: Params) -> str:
    """Return the folder in which a member's data lies on its node."""
    return (
        f"{params.mariadb_data_path}/{params.mariadb_cluster_name}"
        if params.mariadb_data_path
        else f"/var/lib/docker/volumes/{volume_name(params)}/_data"
    )


def folder_made(params: Params, label: str) -> Script:
    """Build the command that makes a data folder, or the volume that holds it.

    Args:
        params: The parameters.
        label: ``KEY=CLUSTER``, by which the volume is known as the cluster's.
    """
    folder = data_folder(params)
    if params.mariadb_data_path:
        return sh(
            "mkdir -p @{folder} && echo @{cluster} > @{mark}",
            folder=folder,
            cluster=label.partition("=")[2],
            mark=f"{folder}/{MARK}",
        )
    return sh("docker volume create --label @{label} @{volume} >/dev/null", label=label, volume=volume_name(params))
