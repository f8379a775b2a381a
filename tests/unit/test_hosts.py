"""SSH against a real sshd on loopback, where there is one: strict keys, bounded commands, every error kept."""

from __future__ import annotations

import base64
import dataclasses
import getpass
import io
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access import hosts
from swarmbook.access.cluster import Cluster, Endpoint, Jump, Node
from swarmbook.access.hosts import Fleet, Host, Output, fan_out, generate_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, SwarmbookError, WorldError
from swarmbook.base.secrets import MASK, register
from swarmbook.model.transcript import Transcript
from swarmbook.testing.errors import raises

MakeNode = Callable[..., Node]
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_key(folder: Path) -> str:
    generate_key(folder / "host_key", "host")
    return " ".join((folder / "host_key.pub").read_text().split()[:2])


class Server:
    """An sshd of our own, on a free port, that lets one key in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.key = folder, free_port(), host_key(folder)
        self.authorized = folder / "authorized_keys"
        self.authorized.touch()
        config = folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {self.authorized}\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert SSHD
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log
            )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        pytest.skip(f"sshd does not start here: {(self.folder / 'log').read_text().strip()[-200:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("no sshd on this computer (apt-get install openssh-server)")
    if os.geteuid() != 0:
        pytest.skip("commands run as root over there: needs root")
    privileges = Path("/run/sshd")  # sshd's own, made by its package's service
    ours = not privileges.exists()
    privileges.mkdir(mode=0o755, exist_ok=True)
    server = Server(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()
    if ours:
        privileges.rmdir()


@pytest.fixture
def fleet(server: Server, node: MakeNode) -> Iterator[Callable[..., Fleet]]:
    """Opens a fleet of nodes that are all that one server."""
    opened: list[Fleet] = []

    def make(*names: str, host_key: str = "", port: int = 0, **other: Any) -> Fleet:
        cluster = Cluster("lab")
        generate_key(cluster.key_file, "test")
        server.authorized.write_text(cluster.key_file.with_suffix(".pub").read_text())
        nodes = [
            node(name, ssh=Endpoint("127.0.0.1", port or server.port), host_key=host_key or server.key, user=getpass.getuser(), **other)
            for name in names or ("sw1",)
        ]  # fmt: skip
        cluster.save_nodes(nodes, "test")
        opened.append(Fleet(cluster, nodes, Transcript()))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_run(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    assert host.run("echo out; echo err >&2") == Output(0, "out\n", "err\n")
    assert host.run('echo "it\'s $((6*7))"\nwc -c', check=False).stdout == "it's 42\n0\n", "standard input is closed"
    assert host.run("exit 3", check=False).exit == 3
    assert (
        len(host.run("head -c 3000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' y >&2").stdout)
        == 3_000_000
    )


def test_a_node_behind_a_jump_host(fleet: Callable[..., Fleet], server: Server, tmp_path: Path) -> None:
    before = Server(tmp_path)
    (tmp_path / "authorized_keys").unlink()
    (tmp_path / "authorized_keys").symlink_to(server.authorized)
    jump = Jump(Endpoint("127.0.0.1", before.port), before.key, getpass.getuser())
    try:
        opened = fleet("sw1", "sw2", jump=jump)
        assert opened.each(lambda host: host.run("echo $SSH_CONNECTION | cut -d' ' -f4").stdout) == dict.fromkeys(
            ("sw1", "sw2"), f"{server.port}\n"
        )
        assert (tmp_path / "log").read_text().count("Accepted publickey") == 2, "by way of the jump host"
        cluster = Cluster("lab")
        assert cluster.nodes == [host.node for host in opened], "the inventory keeps it"
        assert cluster.pinned().count(before.key) == 1
        typed = subprocess.run(
            ["ssh", "-F", str(cluster.ssh_config), "sw2", "echo typed"], capture_output=True, text=True, timeout=20
        )
        assert typed.stdout == "typed\n", typed.stderr
        with (
            opened["sw1"].forward("127.0.0.1", server.port) as port,
            socket.create_connection(("127.0.0.1", port), 10) as through,
        ):
            assert through.recv(4) == b"SSH-"
        with raises(Code.HOST_KEY_CHANGED, "sw1's jump host"):
            fleet("sw1", jump=dataclasses.replace(jump, host_key=server.key))["sw1"].run("true")
        with raises(Code.HOST_UNREACHABLE, "sw1"):
            fleet("sw1", jump=jump, port=free_port())["sw1"].run("true")
    finally:
        before.stop()
    with raises(Code.HOST_UNREACHABLE, "sw1's jump host"):
        fleet("sw1", jump=jump)["sw1"].run("true")


def test_a_failing_command(fleet: Callable[..., Fleet]) -> None:
    register("s3cr3t-value")
    host = fleet()["sw1"]
    with raises(Code.COMMAND_FAILED, "sw1") as caught:
        host.run("echo s3cr3t-value; echo no space s3cr3t-value >&2; exit 7")
    message = str(caught.value)
    assert "exit 7" in message
    assert f"no space {MASK}" in message
    assert "s3cr3t" not in message
    assert "swarmbook ssh sw1" in message


def test_every_command_is_recorded_but_polls(fleet: Callable[..., Fleet]) -> None:
    opened = fleet()
    transcript = opened["sw1"]._transcript
    opened["sw1"].run("true")
    opened["sw1"].run("false", check=False)
    opened["sw1"].run("true", quiet=True)
    assert [(c.host, c.text, c.exit) for c in transcript.since(0)] == [("sw1", "true", 0), ("sw1", "false", 1)]


def test_a_time_out_ends_the_command_over_there(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    host = fleet()["sw1"]
    with raises(Code.COMMAND_TIMED_OUT, "sw1", "0.3 s"):
        host.run(f"sleep 1; touch {tmp_path}/went-on", timeout_s=0.3)
    time.sleep(1.0)
    assert not (tmp_path / "went-on").exists()
    assert host.run("echo again").stdout == "again\n"


@pytest.mark.parametrize("signal", ["KILL", "TERM", "INT"])
@pytest.mark.parametrize("check", [True, False])
def test_a_killed_command_has_given_no_answer(fleet: Callable[..., Fleet], signal: str, check: bool) -> None:
    """Seen under fire: a killed `docker ps` was taken for a node without containers."""
    host = fleet()["sw1"]
    with raises(Code.COMMAND_KILLED, "sw1"):
        host.run(f"echo half an answer; kill -{signal} $PPID; exec sleep 5 >/dev/null 2>&1", check=check)
    assert host.run("echo again").stdout == "again\n"


def test_a_connection_that_ends_with_the_command_has_given_no_answer(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    with raises(Code.CONNECTION_BROKE, "sw1"):
        # Its parent's parent: the process that sshd keeps for this connection.
        host.run("kill -KILL $(ps -o ppid= -p $PPID)", check=False)
    assert host.run("echo again").stdout == "again\n"


def test_put(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    host = fleet()["sw1"]
    target = tmp_path / "new folder" / "it's a file"
    home_before = set(os.listdir(Path.home()))
    host.put(str(target), "grüße\n", mode=0o600)
    assert target.read_text() == "grüße\n"
    assert target.stat().st_mode & 0o777 == 0o600
    host.put(str(target), b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(target.parent) == ["it's a file"]
    assert {name for name in os.listdir(Path.home()) if name.startswith(".swarmbook-")} <= home_before
    assert "grüße" not in str(host._transcript.since(0))


def test_forward(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    with socket.create_server(("127.0.0.1", 0)) as far:

        def echo() -> None:
            for _ in range(2):
                stream, _ = far.accept()
                with stream:
                    while data := stream.recv(65536):
                        stream.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        payload = os.urandom(300_000)
        with host.forward("127.0.0.1", far.getsockname()[1]) as port:
            for _ in range(2):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as near:
                    sender = threading.Thread(target=near.sendall, args=(payload,))
                    sender.start()
                    got = b""
                    while len(got) < len(payload):
                        got += near.recv(65536)
                    sender.join(10)
                    assert got == payload
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            pass


def test_a_forward_to_nobody_is_a_closed_connection(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    with (
        host.forward("127.0.0.1", free_port()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as near,
    ):
        assert near.recv(1) == b""


def test_another_host_key(fleet: Callable[..., Fleet], tmp_path: Path, server: Server) -> None:
    other = host_key(tmp_path)
    with raises(Code.HOST_KEY_CHANGED, "sw1") as caught:
        fleet(host_key=other)["sw1"].run("true")
    assert caught.value.wanted == other
    assert caught.value.seen == server.key
    assert "find out who answers" in str(caught.value)


def test_no_pinned_host_key(fleet: Callable[..., Fleet]) -> None:
    opened = fleet()
    Cluster("lab").known_hosts.write_text("")
    with raises(Code.HOST_KEY_NOT_PINNED):
        opened["sw1"].run("true")
    Cluster("lab").known_hosts.unlink()
    with raises(Code.HOST_KEY_NOT_PINNED):
        opened["sw1"].run("true")


def test_another_user_key(fleet: Callable[..., Fleet], server: Server) -> None:
    opened = fleet()
    server.authorized.write_text("")
    with raises(Code.LOGIN_REFUSED) as caught:
        opened["sw1"].run("true")
    assert "permission denied" in str(caught.value)


def test_the_operators_own_keys_and_settings_are_left_alone(
    fleet: Callable[..., Fleet], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    assert fleet()["sw1"].run("echo $SSH_CONNECTION").stdout.startswith("127.0.0.1 ")


def test_no_user_key(fleet: Callable[..., Fleet]) -> None:
    opened = fleet()
    Cluster("lab").key_file.unlink()
    with raises(Code.KEY_GONE):
        opened["sw1"].run("true")


def test_nobody_listens(fleet: Callable[..., Fleet]) -> None:
    with raises(Code.HOST_UNREACHABLE, "sw1") as caught:
        fleet(port=free_port())["sw1"].run("true")
    assert "swarmbook status PARAMS" in str(caught.value)


def test_no_ssh_server(fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with raises(Code.HOST_UNREACHABLE):
            fleet(port=silent.getsockname()[1])["sw1"].run("true")
        assert time.monotonic() - began < 5


def test_a_broken_connection_is_told_and_opened_anew(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    host.run("true")
    host.connection().transport.sock.shutdown(socket.SHUT_RDWR)  # as when a cable is pulled
    with raises(Code.CONNECTION_BROKE, "sw1"):
        host.run("true")
    assert host.run("echo back").stdout == "back\n"


def test_a_fleet(fleet: Callable[..., Fleet]) -> None:
    opened = fleet("sw1", "sw2", "sw3")
    assert len(opened) == 3
    assert opened.each(lambda host: host.run(f"echo {host.name}").stdout.strip()) == {
        "sw1": "sw1",
        "sw2": "sw2",
        "sw3": "sw3",
    }
    assert list(opened.each(lambda host: 1, ["sw3", "sw1"])) == ["sw3", "sw1"]
    with pytest.raises(CommandFailed) as caught:
        opened.each(lambda host: host.run(f"[ {host.name} = sw2 ]"))
    assert "sw1" in str(caught.value)
    assert "sw3" in str(caught.value)


# -- without a server --------------------------------------------------------------------------------------------------


def test_fan_out_finishes_all_and_keeps_every_error() -> None:
    done = []

    def work(number: int) -> int:
        time.sleep(0.01 * number)
        done.append(number)
        if number % 2 == 0:
            raise WorldError(f"number {number} is even", where=f"n{number}")
        return number

    with pytest.raises(WorldError, match="number 0 is even") as caught:
        fan_out(work, {f"n{number}": number for number in range(6)})
    assert sorted(done) == list(range(6))
    for name in ("n0", "n2", "n4"):
        assert name in str(caught.value)
    assert "number 4 is even" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])]), (
        "what the others died of is lost"
    )


def test_fan_out_is_bounded_ordered_and_may_be_empty() -> None:
    running, most, guard = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with guard:
            running -= 1
        return number

    assert list(fan_out(work, {str(n): n for n in range(50, 0, -1)}).values()) == list(range(50, 0, -1))
    assert most <= 16
    assert fan_out(work, {}) == {}


def test_fan_out_lets_foreign_errors_through() -> None:
    with pytest.raises(ZeroDivisionError):
        fan_out(lambda n: 1 // n, {"a": 0, "b": 1})


def test_a_secret_is_masked_before_output_is_cut(node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut first, and the end of a secret that lies across the cut is no longer known as one."""
    secret = "s3cr3t-" + "v" * 30
    register(secret)
    host = Host(node(), Cluster("lab"), Transcript())
    monkeypatch.setattr(
        host,
        "connection",
        lambda: dataclasses.make_dataclass("C", ["transport"])(
            type("T", (), {"open_session": lambda self, timeout: None})()
        ),
    )
    monkeypatch.setattr(hosts, "_exec", lambda *_: Output(1, "", f"{secret}{'x' * 1480}"))
    with pytest.raises(CommandFailed) as caught:
        host.run("false")
    assert "vvvvvv" not in str(caught.value)
    assert "vvvvvv" not in str(host._transcript.since(0))


def test_a_long_secret_at_the_head_of_a_command_is_masked_before_it_is_cut(
    node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("s3cr3t-value")
    host = Host(node(), Cluster("lab"), Transcript())

    def broken() -> Any:
        raise OSError("gone")

    monkeypatch.setattr(host, "connection", broken)
    with pytest.raises(SwarmbookError) as caught:
        host.run("x" * 195 + "s3cr3t-value")
    assert "s3cr" not in str(caught.value)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    import paramiko

    path = tmp_path / "id_ed25519"
    assert generate_key(path, "me@here")
    assert not generate_key(path, "me@here")
    assert path.stat().st_mode & 0o777 == 0o600
    kind, body, comment = path.with_suffix(".pub").read_text().split()
    assert (kind, comment) == ("ssh-ed25519", "me@here")
    loaded = paramiko.Ed25519Key.from_private_key(io.StringIO(path.read_text()))
    assert loaded.asbytes() == base64.b64decode(body)
