"""States of a fresh host that pass by themselves: its first start is not through, or its package manager is at work."""

from __future__ import annotations

from swarmbook.access.commands import Script, sh
from swarmbook.access.hosts import Host
from swarmbook.access.probe import Facts, Probe, line, number
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed
from swarmbook.base.known import recognise
from swarmbook.base.wait import wait_for

__all__ = ["STARTING", "USERS_OF_PACKAGES", "USERS_SCRIPT", "await_start", "run_with_packages"]

#: Who has a lock of apt, dpkg or rpm open; the kernel's own list of locks names other inodes where a file lies on an overlay.
USERS_SCRIPT = sh("""find /proc/[0-9]*/fd -maxdepth 1 \\( -lname /var/lib/dpkg/lock -o -lname /var/lib/dpkg/lock-frontend -o -lname /var/lib/apt/lists/lock \\
  -o -lname /var/cache/apt/archives/lock -o -lname /var/lib/rpm/.rpm.lock -o -lname /usr/lib/sysimage/rpm/.rpm.lock \\) 2>/dev/null |
cut -d / -f 3 | sort -un | while read -r pid; do [ ! -e /proc/$pid/comm ] || echo "$pid $(cat /proc/$pid/comm 2>/dev/null)"; done""")


def _users(facts: Facts) -> str:
    pairs = (entry.partition(" ") for entry in facts["users"] if entry)
    return ", ".join(f"{line(name) or '?'} (process {number(pid)})" for pid, _, name in pairs)


#: Who works with the package manager, for people; empty where no one does.
USERS_OF_PACKAGES: Probe[str] = Probe(sh("{ @!{users}; } | as users", users=USERS_SCRIPT), _users)

#: Says what cloud-init is at, where it has not ended: it makes users, mounts disks, and may still restart the machine.
_CLOUD_INIT = """[ -e /run/cloud-init/enabled ] || [ -e /run/cloud-init/status.json ] || exit 0
[ ! -e /run/cloud-init/result.json ] || exit 0
! systemctl is-failed -q cloud-final.service cloud-init.service 2>/dev/null || exit 0
echo "cloud-init is at work: $(tail -n 1 /var/log/cloud-init-output.log 2>/dev/null)\""""

#: What of a machine's first start is not through, for people; empty where all is.
STARTING: Probe[str] = Probe(
    sh("(@!{ask}) | as starting", ask=sh(_CLOUD_INIT)), lambda facts: line(" ".join(facts["starting"]))
)


def await_start(host: Host, timeout_s: float) -> None:
    """Wait until a machine's first start is through.

    Raises:
        WaitTimeout: It is not, in time.
    """

    def look() -> tuple[bool, str]:
        seen = host.ask(STARTING, quiet=True)
        return not seen, seen

    wait_for(
        f"the first start of {host.name} is through",
        look,
        timeout_s=timeout_s,
        where=host.name,
        next=f"swarmbook ssh {host.name} cloud-init status --long; if it only takes its time, raise wait_timeout in the parameters",
        code=Code.STARTS_YET,
    )


def run_with_packages(host: Host, command: Script, timeout_s: float) -> None:
    """Run a command of the package manager, once no one else works with it.

    Args:
        host: The node.
        command: Can be run again: one that found a lock held has changed nothing.
        timeout_s: Seconds to wait for others, and then for the command itself.

    Raises:
        WaitTimeout: Someone works with it all the time.
        CommandFailed: It failed for another reason.
    """

    def attempt() -> tuple[bool, str]:
        if users := host.ask(USERS_OF_PACKAGES, quiet=True):
            return False, f"{users} at work"
        try:
            host.run(command, timeout_s=timeout_s)
        except CommandFailed as error:
            if recognise(error.seen or "") is not Code.PACKAGES_LOCKED:
                raise
            return False, error.seen or ""
        return True, ""

    wait_for(
        f"the package manager of {host.name} is free",
        attempt,
        timeout_s=timeout_s,
        where=host.name,
        next=f"wait for it, or look what it does: swarmbook ssh {host.name} ps -ef; then run again, or raise wait_timeout in the parameters",
        code=Code.PACKAGES_LOCKED,
    )
