"""Where a member of the Galera cluster has its data on its node."""

from __future__ import annotations

from swarmbook.params import Params

__all__ = ["MARK", "data_folder", "volume_name"]

#: In a data folder outside the engine: holds the cluster's name, and says that the folder is the book's to remove.
MARK = ".swarmbook"


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
