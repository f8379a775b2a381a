"""Machines as user-mode Linux: a kernel of their own, with device-mapper, and real disks, systemd, udev and reboots.

Where the lab's machines share this computer's kernel, these do not: Debian's package ``user-mode-linux`` is a kernel that runs as an
ordinary process. They have no network. What SSH would be is a folder that both sides see: a script goes in, its answer comes out.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from swarmbook.access.channel import MOST, Flow
from swarmbook.access.cluster import Cluster
from swarmbook.access.hosts import Host, Output
from swarmbook.access.node import Endpoint, Node
from swarmbook.base.errors import CommandFailed
from swarmbook.base.wait import wait_for
from swarmbook.book.book import Book
from swarmbook.model.transcript import Transcript
from swarmbook.params import Params

_PACKAGES = [
    "systemd",
    "systemd-sysv",
    "udev",
    "kmod",
    "iproute2",
    "fdisk",
    "lvm2",
    "dmsetup",
    "btrfs-progs",
    "xfsprogs",
    "thin-provisioning-tools",
]
#: Nothing of it is asked for here, and each costs a second or more of a slow processor.
_MASKED = [
    "getty.target", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
    "systemd-timesyncd.service", "systemd-networkd.service", "systemd-resolved.service", "systemd-logind.service", "systemd-user-sessions.service",
    "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-random-seed.service", "systemd-pstore.service",
]  # fmt: skip
_QUEUE = """#!/bin/bash
mkdir -p /queue && mount -t hostfs none /queue -o "$(sed 's/.*queue=\\([^ ]*\\).*/\\1/' /proc/cmdline)" && cd /queue || exit 1
: > up
exec 9<> <(:)
for ((n = 1; ; n++)); do
  until [ -e $n.sh ]; do read -r -t 0.02 -u 9; done  # a wait that starts no program: each costs its kernel 30 ms
  sh $n.sh > $n.out 2> $n.err < /dev/null
  echo $? > $n.exit
done
"""
_SERVICE = """[Unit]
After=local-fs.target
[Service]
ExecStart=/usr/local/sbin/queue
KillMode=process
[Install]
WantedBy=multi-user.target
"""
# What 03 would have installed: enough of an engine to see whether systemd starts it, and to be asked what it holds: nothing.
_ENGINE = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
_DOCKER = "#!/bin/sh\n[ $1 != info ] || echo inactive\n"


def release() -> str:
    """Name of this computer's Debian release, or why there is none that could be used."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return ""
    return system.get("VERSION_CODENAME", "") if system.get("ID") == "debian" else ""


def lacking() -> str:
    """What keeps the machines from being made here; empty when nothing does."""
    if os.geteuid() != 0:
        return "not root"
    if platform.machine() != "x86_64" or not release():
        return "user-mode-linux is a package of Debian on x86_64"
    return ", ".join(
        f"no {name} (apt-get install {package})" for name, package in _WANTED.items() if shutil.which(name) is None
    )


_WANTED = {"linux.uml": "user-mode-linux", "mmdebstrap": "mmdebstrap", "mkfs.ext4": "e2fsprogs", "cc": "gcc"}


def _all_registers(folder: Path) -> dict[str, str]:
    """What linux.uml needs in its environment where the processor has more registers than it has room for."""
    if "amx_tile" not in Path("/proc/cpuinfo").read_text():
        return {}
    source, built = Path(__file__).with_name("uml_registers.c"), folder / "registers.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(built), str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(built)}


def make_root(image: Path) -> None:
    """An ext4 image with this computer's Debian release, booted by systemd, with the modules of the kernel."""
    folder = image.with_suffix("")
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
    include = f"--include={','.join(_PACKAGES)}"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", *left_out, include, release(), str(folder)],
        check=True,
        capture_output=True,
        timeout=900,
    )
    for modules in Path("/usr/lib/uml/modules").iterdir():
        kept = folder / "lib/modules" / modules.name
        kept.mkdir(parents=True)
        for name in (
            "modules.dep",
            "modules.dep.bin",
            "modules.builtin",
            "modules.builtin.bin",
            "modules.alias.bin",
            "modules.symbols.bin",
            "modules.softdep",
        ):
            if (modules / name).exists():
                shutil.copy(modules / name, kept)
        for part in (
            "kernel/drivers/md",
            "kernel/lib",
            "kernel/crypto",
            "kernel/fs/autofs",
            "kernel/net/ipv4",
            "kernel/net/xfrm",
        ):
            if (modules / part).exists():
                shutil.copytree(modules / part, kept / part)
    for name, content in {
        "usr/local/sbin/queue": _QUEUE, "etc/systemd/system/queue.service": _SERVICE, "etc/systemd/system/docker.service": _ENGINE,
        "usr/local/bin/docker": _DOCKER, "etc/fstab": "/dev/ubda / ext4 rw,noatime 0 1\n", "etc/hostname": "uml\n", "etc/machine-id": "",
    }.items():  # fmt: skip
        (folder / name).write_text(content)
    for name in ("usr/local/sbin/queue", "usr/local/bin/docker"):
        (folder / name).chmod(0o755)
    root = ["systemctl", f"--root={folder}", "-q"]
    subprocess.run([*root, "mask", *_MASKED], check=True, capture_output=True)
    subprocess.run([*root, "enable", "queue.service", "docker.service"], check=True, capture_output=True)
    subprocess.run([*root, "set-default", "multi-user.target"], check=True, capture_output=True)
    # No unit for each of its 64 serial lines, which are read again at every daemon-reload; of the generators the one that reads fstab.
    rules = (folder / "usr/lib/udev/rules.d/99-systemd.rules").read_text().splitlines(keepends=True)
    (folder / "etc/udev/rules.d/99-systemd.rules").write_text(
        "".join(line for line in rules if not line.startswith('SUBSYSTEM=="tty"'))
    )
    masked = folder / "etc/systemd/system-generators"
    masked.mkdir(exist_ok=True)
    for generator in (folder / "usr/lib/systemd/system-generators").iterdir():
        if generator.name != "systemd-fstab-generator":
            (masked / generator.name).symlink_to("/dev/null")
    with image.open("wb") as file:
        file.truncate(2**31)
    subprocess.run(["mkfs.ext4", "-q", "-d", str(folder), str(image)], check=True, timeout=600)
    shutil.rmtree(folder)


class PowerLost(Exception):
    """The machine has gone."""


class Machine(Host):
    """A node whose commands go through a folder instead of SSH.

    Args:
        folder: For its disks and the queue.
        root: Image to copy its first disk from.
        disks: Bytes of each further disk, which are ``/dev/ubdb`` and so on.
    """

    def __init__(self, folder: Path, root: Path, disks: Iterable[int]) -> None:
        self.name = "sw1"
        self.folder, self.queue = folder, folder / "queue"
        self.queue.mkdir(parents=True)
        self.images = [folder / "ubda", *(folder / f"ubd{letter}" for letter, _ in zip("bcdefg", disks))]
        subprocess.run(["cp", "--sparse=always", str(root), str(self.images[0])], check=True)
        for image, size in zip(self.images[1:], disks):
            with image.open("wb") as file:
                file.truncate(size)
        self._registers = _all_registers(folder)
        self._only_asked = lambda: False
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self.ran: list[str] = []
        #: Called with each command; may raise PowerLost.
        self.before = lambda command: None

    # -- power -------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch on; ends when systemd has come so far that someone could log in."""
        for file in self.queue.iterdir():
            file.unlink()
        self._count = 0
        disks = [f"ubd{number}={image}" for number, image in enumerate(self.images)]
        with (self.folder / "console.log").open("ab") as console:
            self._process = self._start(disks, console)
        wait_for(
            "the machine has booted",
            lambda: ((self.queue / "up").exists(), self._console()),
            timeout_s=300,
            where="uml",
            next="read console.log",
        )
        self.sh("systemctl is-system-running --wait; true")

    def _start(self, disks: list[str], console: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "linux.uml", "mem=512M", *disks, "root=/dev/ubda", "rw", "con=null", "con0=null,fd:1", "ssl=null", "quiet", "pty.legacy_count=0", f"queue={self.queue}"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, start_new_session=True,
            # Its memory is a file that it maps: one that a disk lies behind makes every fork of it slow.
            env={**os.environ, **self._registers, "TMPDIR": "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(self.folder)},
        )  # fmt: skip

    def _console(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")[-1500:]

    def pull_the_plug(self) -> None:
        """Power off at once; what the kernel had not written is lost."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(300)
            self._process = None

    def reboot(self) -> None:
        """Shut down in good order and boot again."""
        self._hand_in("systemctl poweroff")
        assert self._process is not None
        try:
            self._process.wait(300)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not shut down: {self._console()}") from None
        self._process = None
        self.boot()

    # -- commands ----------------------------------------------------------------------------------------------

    def _run(
        self,
        command: str,
        *,
        check: bool = True,
        timeout_s: float = 60,
        quiet: bool = False,
        most: int = MOST,
        flow: Flow = Flow(),  # noqa: B008 - frozen
    ) -> Output:
        """As a host's, through the folder: all that a host runs or is asked goes through here."""
        assert flow == Flow(), "no file is put on it"
        self.before(command)
        name = self._hand_in(command)
        began = time.monotonic()
        while not (exit := _content(name.with_suffix(".exit"))).endswith("\n"):
            if self._process is None or self._process.poll() is not None:
                raise PowerLost(self._console())
            # A kernel that runs as a process is a slow machine: what hangs is what takes many times as long.
            assert time.monotonic() - began < timeout_s * 5, f"no answer: {command}\n{self._console()}"
            time.sleep(0.01)
        output = Output(*(int(exit), name.with_suffix(".out").read_text(), name.with_suffix(".err").read_text()))
        assert len(output.stdout) + len(output.stderr) <= most, f"more than a host may print: {command}"
        self.ran.append(command)
        if check and not output.ok:
            raise CommandFailed("a command failed", where=command, seen=output.stderr, next="-")
        return output

    def _hand_in(self, command: str) -> Path:
        """The next one in its turn."""
        self._count += 1
        name = self.queue / f"{self._count}"
        name.with_suffix(".tmp").write_text(command)
        name.with_suffix(".tmp").rename(name.with_suffix(".sh"))
        return name

    def sh(self, command: str) -> str:
        """A command by hand, which has to do well."""
        hook, self.before = self.before, lambda command: None
        try:
            return self._run(command).stdout.strip()
        finally:
            self.before = hook

    def close(self) -> None:
        """Nothing is open."""


def _content(file: Path) -> str:
    return file.read_text() if file.exists() else ""


class _OneMachine:
    """A fleet of one."""

    def __init__(self, machine: Machine) -> None:
        self.hosts = {machine.name: machine}

    def each(self, work, names=None):  # type: ignore[no-untyped-def]
        return {name: work(self.hosts[name]) for name in (self.hosts if names is None else names)}

    def __iter__(self) -> Iterator[Host]:
        """None is held by an SSH session: the machine is reached by its console alone."""
        return iter(())

    def leave_out(self, names: Iterable[str]) -> None:
        """All are there."""

    def close(self) -> None:
        """Nothing is open."""


def open_book(phase: str, machine: Machine, home: Path, parameters: Mapping[str, object]) -> Book:
    """A book of one phase on a machine."""
    cluster = Cluster("st", home)
    machine.node = Node(machine.name, "uml", "192.0.2.1", "192.0.2.1", Endpoint("192.0.2.1", 22), "ssh-ed25519 AAAA")
    cluster.save_nodes([machine.node], "lab")
    book = Book(
        phase,
        Params(cluster="st", nodes=[machine.name], swarm_managers=1, wait_timeout=300, **parameters),
        cluster=cluster,
    )  # type: ignore[arg-type]
    book.transcript = Transcript()
    book._fleet = _OneMachine(machine)  # type: ignore[assignment]
    return book
