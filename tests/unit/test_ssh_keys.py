"""Keys that are taken, fingerprints, and a host key asked of a real SSH server."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from swarmbook.access import ssh_keys
from swarmbook.access.cluster import Cluster
from swarmbook.access.node import Endpoint
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, HostUnreachable
from swarmbook.book.book import Book
from swarmbook.params import Params
from swarmbook.phases.provision import step as provision
from swarmbook.show.changes import sentence
from swarmbook.testing.errors import raises


def made(path: Path, kind: str, passphrase: str = "", form: str = "RFC4716") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "me", "-f", str(path), "-m", form], check=True
    )
    return path


@pytest.mark.parametrize(("kind", "form"), [("ed25519", "RFC4716"), ("rsa", "PEM"), ("ecdsa", "PEM")])
def test_a_key_that_is_taken(tmp_path: Path, kind: str, form: str) -> None:
    source, target = made(tmp_path / "mine", kind, form=form), tmp_path / "id_ed25519"
    ssh_keys.take_key(source, target, "swarmbook-lab")
    public = target.with_suffix(".pub").read_text()
    assert ssh_keys.same_key(public, source.with_suffix(".pub").read_text()) and public.endswith(" swarmbook-lab\n")
    assert target.stat().st_mode & 0o077 == 0
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(target)], capture_output=True, text=True, check=True).stdout
    assert ssh_keys.same_key(shown, public), "OpenSSH reads what was written"
    listed = subprocess.run(
        ["ssh-keygen", "-E", "md5", "-lf", str(target)], capture_output=True, text=True, check=True
    ).stdout
    assert f"MD5:{ssh_keys.fingerprint(public)} " in listed


def test_keys_that_cannot_be_taken(tmp_path: Path) -> None:
    locked, public = (
        made(tmp_path / "locked", "ed25519", "secret words"),
        made(tmp_path / "open", "ed25519").with_suffix(".pub"),
    )
    (tmp_path / "noise").write_text("not a key, but a password perhaps")
    for path in (locked, public, tmp_path / "noise"):
        with raises(Code.SSH_KEY_UNUSABLE) as caught:
            ssh_keys.read_private(path)
        assert "password perhaps" not in str(caught.value) and "without a passphrase" in str(caught.value)
    with raises(Code.SSH_KEY_NOT_READ):
        ssh_keys.read_private(tmp_path / "absent")


def test_the_step_takes_the_key_that_is_named(tmp_path: Path, home: Path) -> None:
    mine, other, cluster = made(tmp_path / "mine", "ed25519"), made(tmp_path / "other", "ed25519"), Cluster("lab", home)

    def step(path: Path | str) -> list[str]:
        return [
            sentence(change)
            for change in provision.key(Book("01", Params(ssh_key_file=str(path)), cluster=cluster)).changes
        ]

    assert step(mine) == [f"SSH key taken from {mine}"]
    assert ssh_keys.same_key(cluster.key_file.with_suffix(".pub").read_text(), mine.with_suffix(".pub").read_text())
    assert step(mine) == step("") == []
    with pytest.raises(ForeignData, match="has another SSH key already") as caught:
        step(other)
    assert ssh_keys.fingerprint(ssh_keys.public_part(mine)) in str(caught.value) and ssh_keys.fingerprint(
        ssh_keys.public_part(other)
    ) in str(caught.value)
    assert ssh_keys.same_key(ssh_keys.public_part(cluster.key_file), ssh_keys.public_part(mine))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_the_host_key_of_a_real_server(listener: socket.socket) -> None:
    key = paramiko.RSAKey.generate(2048)
    logins: list[str] = []

    class Server(paramiko.ServerInterface):
        def check_auth_none(self, username: str) -> int:
            logins.append(username)
            return paramiko.common.AUTH_FAILED

    def serve() -> None:
        connection, _ = listener.accept()
        transport = paramiko.Transport(connection)
        transport.add_server_key(key)
        transport.start_server(threading.Event(), Server())
        transport.join(10)
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    shown = ssh_keys.scan_host_key(Endpoint("127.0.0.1", listener.getsockname()[1]))
    thread.join(15)
    assert shown == f"ssh-rsa {key.get_base64()}"
    assert logins == [], "asked for the key without logging in"


def test_who_shows_no_host_key(listener: socket.socket) -> None:
    def other() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=other)
    thread.start()
    end = Endpoint("127.0.0.1", listener.getsockname()[1])
    with raises(Code.HOST_UNREACHABLE):
        ssh_keys.scan_host_key(end, 2)
    thread.join(10)
    listener.close()
    with pytest.raises(HostUnreachable, match="Connection refused"):
        ssh_keys.scan_host_key(end, 2)


@pytest.mark.parametrize(
    ("says", "for_now"),
    [
        (b"", True),
        (b"Not allowed at this time\r\n", True),
        (b"Exceeded MaxStartups\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, False),
    ],
)
def test_a_server_that_closes_before_it_greets_is_there_and_not_ready(says: bytes, for_now: bool) -> None:
    """So does an sshd that starts, and one that has had too many failures from here; another kind of server says something."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close() -> None:
            taken, _ = server.accept()
            with taken:
                taken.sendall(says)

        thread = threading.Thread(target=close)
        thread.start()
        with pytest.raises(HostUnreachable) as caught:
            ssh_keys.scan_host_key(Endpoint("127.0.0.1", server.getsockname()[1]), 60)
        thread.join(60)
    assert (caught.value.code is Code.LOGIN_NOT_YET) is for_now, caught.value
    assert not for_now or "PerSourcePenalties" in str(caught.value)
