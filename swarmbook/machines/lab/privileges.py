"""What a lab machine may do to its kernel: everything, or as much as the engine's own computer lets it give."""

from __future__ import annotations

from pathlib import Path

from swarmbook.access.docker_containers import Privileges

__all__ = ["ALL", "wanted_privileges", "without_all"]

#: Everything.
ALL = Privileges(all=True)

# In the order of their bits (capability.h), as far as engines from 20.10 on know them.
_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
]


def _bounding_set() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapBnd:"):
                return int(line.split()[1], 16)
    except OSError:
        pass
    return (1 << len(_CAPABILITIES)) - 1


def _lacks_capabilities() -> bool:
    """Tell whether this computer's own bounding set lacks capabilities: then an engine here cannot give all of them."""
    every = (1 << len(_CAPABILITIES)) - 1
    return _bounding_set() & every != every


def without_all() -> Privileges:
    """Return the privileges that can be given where not all can."""
    held = _bounding_set()
    return Privileges(
        capabilities=tuple(name for bit, name in enumerate(_CAPABILITIES) if held >> bit & 1),
        security=("seccomp=unconfined", "apparmor=unconfined"),
        devices=("a *:* rwm",),
    )


def wanted_privileges() -> Privileges:
    """Return all privileges where they can be given, else those that can."""
    return without_all() if _lacks_capabilities() else ALL
