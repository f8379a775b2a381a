"""Where an engine keeps its data, and which drivers it has for it."""

from __future__ import annotations

__all__ = ["MOUNT_POINT", "devicemapper_in"]

MOUNT_POINT = "/var/lib/docker"


def devicemapper_in(version: str) -> bool:
    """Tell whether an engine of this version still has the devicemapper driver; it went with 25.

    Args:
        version: As the engine or its package has it, such as ``20.10.24+dfsg1`` or ``5:27.3.1-1``.
    """
    major = version.rpartition(":")[2].partition(".")[0]
    return major.isdigit() and int(major) < 25
