"""An sshd of our own on loopback, for tests of what goes through one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from swarmbook.access.ssh_keys import generate_key

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_key(folder: Path) -> str:
    generate_key(folder / "host_key", "host")
    return " ".join((folder / "host_key.pub").read_text().split()[:2])


class Server:
    """An sshd of our own, on a free port, that lets one key in. It needs no root: who runs the tests is who logs in."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.folder, self.key, self.more = folder, host_key(folder), more
        self.authorized = folder / "authorized_keys"
        self.authorized.touch()
        self.process: subprocess.Popen[bytes] | None = None
        # Another process can take a port between the moment it is found free and the moment sshd binds it.
        if not any(self._starts(free_port()) for _ in range(5)):
            pytest.fail(f"sshd does not start: {(self.folder / 'log').read_text().strip()[-500:]}", pytrace=False)

    def _starts(self, port: int) -> bool:
        assert SSHD
        self.port = port
        settings = {
            "Port": port, "ListenAddress": "127.0.0.1", "HostKey": self.folder / "host_key", "AuthorizedKeysFile": self.authorized, "PidFile": "none",
            "UsePAM": "no", "StrictModes": "no", "PermitRootLogin": "prohibit-password", "PasswordAuthentication": "no", "Subsystem": "sftp internal-sftp",
            "MaxStartups": 100, **self.more,
        }  # fmt: skip
        if os.geteuid() != 0:
            # Host asks for sudo where it logs in as someone other than root; here that is the same person again.
            sudo = self.folder / "bin" / "sudo"
            sudo.parent.mkdir(exist_ok=True)
            sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
            sudo.chmod(0o755)
            settings["SetEnv"] = f"PATH={sudo.parent}:{os.defpath}"
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log)
        limit = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < limit:
            with contextlib.closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0 and self.process.poll() is None:
                    return True
            time.sleep(0.02)
        self.stop()
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
