"""A cluster's folder on disk: its inventory, SSH key, known hosts, CA, secrets, lock.

::

    clusters/NAME/
      cluster.json     what was provisioned: provider and nodes (no secret in it)
      id_ed25519(.pub) the operator's key to the nodes
      known_hosts      host keys pinned when the machines were made
      ssh_config       both of them for OpenSSH: ssh -F clusters/NAME/ssh_config sw1
      agent-keys/      public parts of keys that an agent holds, by which ssh_config names them
      pki/             CA and leaf certificates with their keys
      secrets/         generated secrets, one a file
      allowed_signers  the keys that signed the cluster's runs
      lock, lock.json  who works on the cluster now; repository.lock: who works on the repository of its backups
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import filelock

from swarmbook.access.node import Identity, Jump, Node, known_name
from swarmbook.access.ssh_config import ssh_config_of
from swarmbook.base import secrets
from swarmbook.base.codes import Code
from swarmbook.base.errors import LockHeld, OutOfOrder, WorldError
from swarmbook.base.files import write_atomic, write_private
from swarmbook.base.words import subject
from swarmbook.model.formats import Format

__all__ = ["FORMAT", "Cluster", "home"]

#: Format of a cluster's folder. A newer one is refused.
FORMAT = 1
_FORMAT = Format(
    "the cluster's folder", FORMAT, next="use that newer swarmbook for this cluster: pip install --upgrade swarmbook"
)
#: Ends the name of the file of a secret that was replaced and still holds.
_EARLIER = ".earlier"
_LOCK_ENV = "SWARMBOOK_LOCK_OWNER"


def home() -> Path:
    """Return the folder that holds ``clusters/`` and ``runs/``.

    ``SWARMBOOK_HOME`` if set, else the nearest folder from here upwards that holds a book (``notebooks/`` and
    ``params/``), else the working folder: a notebook opened in JupyterLab runs inside ``notebooks/``.
    """
    chosen = os.environ.get("SWARMBOOK_HOME")
    if chosen:
        return Path(chosen).expanduser().resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return here


class Cluster:
    """A cluster by name; what is known of it lies in its folder."""

    def __init__(self, name: str, root: Path | None = None) -> None:
        self.name = name
        self.root = root or home()
        self.folder = self.root / "clusters" / name
        self._aside: Path | None = None
        self._held: filelock.FileLock | None = None

    # -- inventory ---------------------------------------------------------------------------------------------

    @property
    def file(self) -> Path:
        return self.folder / "cluster.json"

    def exists(self) -> bool:
        """Tell whether the folder holds an inventory."""
        return self.file.exists()

    def _load(self) -> dict[str, Any]:
        try:
            data = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"format": FORMAT, "name": self.name, "nodes": []}
        except ValueError as error:
            raise self._unreadable(str(error)) from None
        if not isinstance(data, dict) or "format" not in data:
            raise self._unreadable("no format")
        _FORMAT.require(data["format"], str(self.file), WorldError, Code.INVENTORY_NOT_READ)
        return data

    def _unreadable(self, seen: str) -> WorldError:
        return WorldError(
            "the cluster's inventory is not readable",
            where=str(self.file),
            seen=seen,
            next="restore the file, or remove the folder and run 01 again",
            code=Code.INVENTORY_NOT_READ,
        )

    @property
    def nodes(self) -> list[Node]:
        """Every node that was provisioned, in the order of the parameters."""
        data = self._load()
        try:
            return [Node.from_json(node) for node in data["nodes"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None

    def save_nodes(self, nodes: list[Node], provider: str) -> None:
        """Write the inventory and the pinned host keys."""
        data = {"format": FORMAT, "name": self.name, "provider": provider, "nodes": [asdict(node) for node in nodes]}
        write_private(
            self.known_hosts,
            "".join(dict.fromkeys(line for node in nodes for line in self.pins_of(node).splitlines(keepends=True))),
        )
        write_private(self.folder / "ssh_config", ssh_config_of(nodes, self.identity_file, self.known_hosts))
        write_private(self.file, json.dumps(data, indent=2) + "\n")

    def pin(self, node: Node | Jump) -> str:
        """Return a node's line in the file of pinned host keys."""
        return f"{known_name(node.ssh)} {node.host_key}\n"

    def pins_of(self, node: Node | Jump) -> str:
        """Return a node's lines: those of its jump hosts, if it has any, and its own."""
        return (self.pins_of(node.jump) if node.jump is not None else "") + self.pin(node)

    def pinned(self) -> str:
        """Read the pinned host keys as they are on disk."""
        return self.known_hosts.read_text() if self.known_hosts.exists() else ""

    def pins(self, node: Node | Jump) -> bool:
        """Tell whether a node's host key is still pinned.

        A person removes a pin (``ssh-keygen -R``) so that the key is asked for again.
        """
        return self.pin(node) in self.pinned()

    @property
    def ssh_config(self) -> Path:
        """What OpenSSH reads to reach the nodes; written again where the folder was moved, since it names files of it."""
        file = self.folder / "ssh_config"
        wanted = ssh_config_of(self.nodes, self.identity_file, self.known_hosts)
        with contextlib.suppress(OSError):  # a folder that may only be read
            if wanted and (not file.exists() or file.read_text(encoding="utf-8") != wanted):
                write_private(file, wanted)
        return file

    def require_nodes(self, wanted: list[str], phase: str, without: list[str] | None = None) -> list[Node]:
        """Return the nodes that the parameters name, from the inventory.

        Args:
            wanted: Their names.
            phase: Number of the notebook that wants them.
            without: Nodes that are left out on purpose.

        Raises:
            OutOfOrder: 01 has not provisioned one of them.
            WorldError: The inventory has one that the parameters no longer name.
        """
        have = {node.name: node for node in self.nodes}
        missing = [name for name in wanted if name not in have]
        if missing:
            raise OutOfOrder(
                f"run 01 first: no machine for {', '.join(missing)}",
                where=str(self.file),
                wanted=f"one node each for {', '.join(wanted)}",
                seen=", ".join(have) or "no nodes",
                next="swarmbook run PARAMS --only 01",
            )
        self.refuse_removal([*wanted, *(without or ())])
        return [have[name] for name in wanted]

    def leaving(self, wanted: Collection[str]) -> list[str]:
        """List the nodes of the inventory that are not among these: the parameters' nodes and those that are left out."""
        return [node.name for node in self.nodes if node.name not in wanted]

    def refuse_removal(self, wanted: list[str]) -> None:
        """Refuse to go on when a node was taken out of the parameters: it must not be ignored."""
        if gone := self.leaving(wanted):
            names = ", ".join(gone)
            raise WorldError(
                f"{subject(gone, 'is', 'are')} no longer in the parameters' nodes, and still in the cluster",
                where=str(self.file),
                wanted="every node that was provisioned is named in `nodes`",
                seen=f"nodes: {', '.join(wanted)}",
                next=f"swarmbook scale PARAMS, which lets {names} leave; or put {names} back into `nodes`",
                code=Code.NODE_TAKEN_OUT,
            )

    # -- keys and secrets --------------------------------------------------------------------------------------

    @property
    def key_file(self) -> Path:
        return self.folder / "id_ed25519"

    def identity_file(self, identity: Identity) -> Path:
        """Return the file by which OpenSSH knows a key: that of the key, or of its public part, which is written where an agent has the key."""
        if identity.own:
            return self.key_file
        if identity.file:
            return Path(identity.file)
        file = self.folder / "agent-keys" / f"{hashlib.sha256(identity.public.encode()).hexdigest()[:16]}.pub"
        if not file.exists():
            with contextlib.suppress(OSError):  # a folder that may only be read
                write_atomic(file, identity.public + "\n")
        return file

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def secret(
        self, name: str, reference: str = "generate", make: Callable[[], str] = secrets.password
    ) -> secrets.Secret:
        """Return a secret of this cluster; see :func:`swarmbook.base.secrets.resolve`."""
        return secrets.resolve(name, reference, self.secrets_folder, make)

    def replace_secret(self, name: str, make: Callable[[], str], *, keep: bool = False) -> None:
        """Replace a secret by a new one.

        Args:
            name: What it is called.
            make: Makes a new value.
            keep: Keep the earlier one beside it: it still holds, until :meth:`forget_earlier`.
        """
        file = self.secrets_folder / name
        if keep and file.exists():
            write_private(file.with_name(name + _EARLIER), file.read_text(encoding="utf-8"))
        write_private(file, make() + "\n")

    def forget_earlier(self, name: str) -> None:
        """Let the secret that was replaced hold no more."""
        (self.secrets_folder / f"{name}{_EARLIER}").unlink(missing_ok=True)

    def earlier(self, name: str) -> list[secrets.Secret]:
        """Return the secret that a rotation has replaced and that still holds beside the new one, if there is one."""
        file = self.secrets_folder / f"{name}{_EARLIER}"
        return [secrets.Secret(name, file.read_text(encoding="utf-8").strip())] if file.exists() else []

    @property
    def pki_folder(self) -> Path:
        """Where CA and certificates lie."""
        return (self._aside or self.folder) / "pki"

    @property
    def secrets_folder(self) -> Path:
        """Where generated secrets lie."""
        return (self._aside or self.folder) / "secrets"

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """Keep the folder as it is: what is generated meanwhile goes into a copy, which is thrown away."""
        with self.staged():
            yield

    @contextlib.contextmanager
    def staged(self) -> Iterator[Callable[[], None]]:
        """Generate keys, certificates and secrets aside: they reach the folder when they are kept, and only then.

        Yields:
            Keeps what was generated so far. Within another :meth:`staged` nothing is kept before that one keeps it.
        """
        if self._aside is not None:
            yield lambda: None
            return
        with tempfile.TemporaryDirectory(prefix="swarmbook-") as aside:
            self._aside = Path(aside)
            for folder in ("pki", "secrets"):
                if (self.folder / folder).is_dir():
                    shutil.copytree(self.folder / folder, self._aside / folder)
            before = _contents(self._aside)
            try:
                yield lambda: self._keep(before)
            finally:
                self._aside = None

    def _keep(self, before: Mapping[Path, bytes]) -> None:
        """Bring what was generated aside into the folder, and go on working there."""
        aside, self._aside = self._aside, None
        if aside is None:
            return
        for path, content in _contents(aside).items():
            target = self.folder / path
            now = target.read_bytes() if target.exists() else None
            if content in (before.get(path), now):
                continue
            if now != before.get(path):
                raise LockHeld(
                    "another run has made this file meanwhile; nothing was done",
                    where=str(target),
                    next="run again: it goes on from what is there now",
                )
            private = (aside / path).stat().st_mode & 0o077 == 0
            (write_private if private else write_atomic)(target, content)

    def register_secrets(self) -> None:
        """Make every secret and private key in the folder known to the mask, also those that come later."""
        secrets.watch(self.folder)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- lock --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Hold the cluster: one run at a time changes it.

        The lock belongs to a process and goes with it, so a killed run leaves none behind. A kernel that a run has
        started works under the lock of that run.

        Args:
            what: What is going on, for the message another run gets.

        Raises:
            LockHeld: Another run works on the cluster; names the user, the time and the command.
        """
        if self._held is not None or self._parent_holds():
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)  # even if it was there before
        lock = filelock.FileLock(self.folder / "lock", mode=0o600)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise self._held_by_other() from None
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "user": _user(),
            "what": what,
            "since": time.time(),
            "command": " ".join(sys.argv)[:200],
        }
        write_atomic(self.folder / "lock.json", json.dumps(owner), 0o600)
        self._held = lock
        try:
            yield
        finally:
            self._held = None
            with contextlib.suppress(OSError):  # 91 has removed the folder
                (self.folder / "lock.json").unlink()
            lock.release()
            with contextlib.suppress(OSError):
                if not self.exists():  # nothing was made: no empty folder stays
                    (self.folder / "lock").unlink(missing_ok=True)
                    self.folder.rmdir()

    def child_environment(self) -> dict[str, str]:
        """Return what a kernel started under this process's lock needs in its environment."""
        return {_LOCK_ENV: f"{self.name}:{os.getpid()}"}

    def _owner(self) -> dict[str, Any]:
        try:
            data = json.loads((self.folder / "lock.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def _parent_holds(self) -> bool:
        return os.environ.get(_LOCK_ENV) == f"{self.name}:{self._owner().get('pid')}"

    def _held_by_other(self) -> LockHeld:
        owner = self._owner()
        since = float(owner.get("since", time.time()))
        stamp = datetime.fromtimestamp(since, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        return LockHeld(
            f"the cluster {self.name} is being worked on",
            where=str(self.folder / "lock"),
            wanted="no other run",
            seen=f"{owner.get('user', '?')}@{owner.get('host', '?')}, process {owner.get('pid', '?')}: {owner.get('what', '?')}, "
            f"for {max(0.0, time.time() - since):.0f} s (since {stamp})",
            next=f"wait for it, or look at the process: ps -fwwp {owner.get('pid', 'PID')}",
        )


def _user() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or str(os.getuid())


def _contents(folder: Path) -> dict[Path, bytes]:
    """Read every file below a folder, by its relative path."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
