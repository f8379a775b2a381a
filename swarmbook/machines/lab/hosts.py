"""Lab machines that stand in for hosts you own: a user with sudo, a known key, SSH at an address of this computer, and nothing else."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from swarmbook.access.fleet import fan_out
from swarmbook.access.logins import Login, logins_of
from swarmbook.access.ssh_keys import generate_key, public_part
from swarmbook.base.errors import UsageError
from swarmbook.base.wait import wait_for
from swarmbook.machines.host_engine import ensure_engine
from swarmbook.machines.images import Recipe, ensure_image, node_image
from swarmbook.machines.lab.machines import Machines
from swarmbook.params import Params

__all__ = ["stand_up", "take_down"]

_SSH = 22
#: Comment of a key that was made for them.
_MADE = "swarmbook-lab-hosts"


def _machines(params: Params, root: Path) -> Machines:
    # Another name than the cluster's: its folder and its labels are the generic provider's business, and the machines are not.
    return Machines(ensure_engine(), f"{params.cluster}-hosts", root / "hosts" / params.cluster)


def _logins(params: Params) -> Mapping[str, Login]:
    if params.provider != "generic":
        raise UsageError(
            "the parameters name no hosts to create",
            wanted="provider: generic",
            seen=f"provider: {params.provider}",
            next="swarmbook lab-hosts params/generic.yaml",
        )
    logins = logins_of(params.hosts)
    for name, login in logins.items():
        if login.end.host != "127.0.0.1":
            raise UsageError(
                f"{name} is not on this computer", where=f"hosts: {name}={login}", wanted="127.0.0.1 and a free port", seen=login.end.host,
                next="swarmbook creates no such hosts: they are yours already; swarmbook run PARAMS",
            )  # fmt: skip
    return logins


def stand_up(params: Params, root: Path) -> list[str]:
    """Create the hosts that the parameters name; existing ones stay.

    Args:
        params: Of the generic provider; every host at 127.0.0.1, on a port of its own.
        root: The book's folder.

    Returns:
        What was made.

    Raises:
        UsageError: The parameters name other hosts.
    """
    logins = _logins(params)
    key = root / Path(params.ssh_key_file).expanduser()
    generate_key(key, _MADE)
    public = f"{public_part(key)} {_MADE}\n"
    machines = _machines(params, root)
    image, _ = ensure_image(machines.engine, Recipe("node", params.lab_base_image))
    machines.ensure_network()
    there = {machine.name for machine in machines.all()}
    new = [name for name in logins if name not in there]
    addresses = machines.addresses(new)

    def one(name: str) -> None:
        login = logins[name]
        if name in new:
            machines.create(name, addresses[name], image, params.lab_disk_gb, public, {_SSH: login.end.port})
        else:
            machines.start(name, public)
        _give_user(machines, name, login.user)

    fan_out(one, {name: name for name in logins})
    return [f"{name} at {logins[name]}, among themselves {addresses[name]}" for name in new]


def _give_user(machines: Machines, name: str, user: str) -> None:
    """Let only that user in with the key: root cannot log in with it."""
    machines.node(name, timeout_s=120)  # waits until it has booted
    if user == "root":
        return
    who, home = shlex.quote(user), f"/home/{shlex.quote(user)}"
    script = (
        f"id -u {who} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {who}; "
        f"install -d -m 700 -o {who} -g {who} {home}/.ssh && install -m 600 -o {who} -g {who} /root/.ssh/authorized_keys {home}/.ssh/ && rm -r /root/.ssh && "
        f"printf '%s ALL=(ALL) NOPASSWD: ALL\\n' {who} > /etc/sudoers.d/50-host && chmod 440 /etc/sudoers.d/50-host && echo done"
    )

    def given() -> tuple[bool, str]:
        done = machines.run(
            name, ["sh", "-c", f"[ ! -d /root/.ssh ] && id {who} >/dev/null && echo done || {{ {script}; }}"]
        )
        return done.output.strip().endswith("done"), done.output

    wait_for(f"{name} to have the user {user}", given, timeout_s=30, where=machines.container(name))


def take_down(params: Params, root: Path) -> list[str]:
    """Remove the hosts; return what was removed.

    Raises:
        UsageError: The parameters name other hosts.
    """
    _logins(params)
    machines = _machines(params, root)
    removed = machines.destroy(node_image(machines.engine))
    key = root / Path(params.ssh_key_file).expanduser()
    public = key.with_suffix(".pub")
    if public.exists() and public.read_text().split()[2:] == [_MADE]:  # ours, made for them; any other is the user's
        key.unlink(missing_ok=True)
        public.unlink()
        removed.append(f"key {params.ssh_key_file}")
        with contextlib.suppress(OSError):  # the user keeps something there
            key.parent.rmdir()
    return removed
