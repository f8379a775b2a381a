"""Places for backups that are no folder: SFTP through a real sshd, S3 by a server from PyPI; restic itself talks to both.

A rest-server is in no package registry, so ``rest:`` is not tried.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from swarmbook.access.restic import Restic
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base.codes import Code
from swarmbook.base.secrets import Secret
from swarmbook.model.snapshots import Snapshot, tags_of
from swarmbook.testing.errors import raises
from tests.unit.sshd import Server, free_port

pytestmark = pytest.mark.long
PASSWORD = Secret("backup-password", "a-Password-of-ours-1")
FILE = "galera.mbstream"
#: Of which nothing is known yet.
BEGUN = Snapshot("", datetime(2030, 1, 2, tzinfo=timezone.utc), "lab", "galera", "sw2")
#: More than one pack of restic's, so that it writes while it reads.
STREAM = random.Random(1).randbytes(40 << 20)


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder behind an sshd, named in an SSH configuration as a reader's own would be."""
    server = Server(tmp_path)
    generate_key(tmp_path / "key", "test")
    server.authorized.write_text((tmp_path / "key.pub").read_text("utf-8"), "utf-8")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.key}\n", "utf-8")
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host nas\n HostName 127.0.0.1\n Port {server.port}\n IdentityFile {tmp_path / 'key'}\n UserKnownHostsFile {known}\n BatchMode yes\n",
        "utf-8",
    )
    # ssh reads ~/.ssh/config of the account that runs it, and no variable leads it elsewhere.
    ssh = tmp_path / "path" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} "$@"\n', "utf-8")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    yield f"sftp:nas:{tmp_path / 'far'}"
    server.stop()


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server that speaks S3, installed as anyone would do it."""
    folder = tmp_path_factory.mktemp("moto")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", "moto[server,s3]"], check=True, timeout=600)
    return folder / "bin" / "moto_server"


@pytest.fixture
def s3(moto: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen(
        [str(moto), "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
    try:
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < until, "the server does not answer"
                time.sleep(0.2)
        yield f"s3:http://127.0.0.1:{port}/backups/galera"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("place", ["sftp", "s3"])
def test_a_backup_lies_there_and_comes_back(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTIC_CACHE_DIR", str(tmp_path / "cache"))
    where: str = request.getfixturevalue(place)
    repository = Restic(where, PASSWORD, 120)
    assert not repository.exists()
    repository.make()
    assert repository.exists() and repository.snapshots() == []
    with pytest.raises(ZeroDivisionError), repository.intake("lab", tags_of(BEGUN), FILE) as intake:
        intake.write(STREAM[: 20 << 20])
        _ = 1 / 0
    assert repository.snapshots() == [], "a stream that broke off is no snapshot"
    with repository.intake("lab", tags_of(BEGUN), FILE) as intake:
        intake.write(STREAM)
        intake.commit(120)
    assert b"".join(repository.stream(intake.id, FILE)) == STREAM
    assert repository.check() == ""
    with raises(Code.REPOSITORY_PASSWORD):
        Restic(where, Secret("backup-password", "not-That-Password-1"), 120).exists()
    repository.forget([intake.id])
    assert repository.snapshots() == []
