"""SSH against a real sshd on loopback: strict keys, bounded commands, every error kept."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import filecmp
import getpass
import io
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access import hosts
from swarmbook.access.channel import execute
from swarmbook.access.cluster import Cluster
from swarmbook.access.fleet import Fleet, fan_out
from swarmbook.access.hosts import Host, Output
from swarmbook.access.node import Endpoint, Jump, Node
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, LoginRefused, SwarmbookError, WorldError
from swarmbook.base.secrets import MASK, register
from swarmbook.model.transcript import Transcript
from swarmbook.testing.errors import raises

from .sshd import Server, free_port, host_key

MakeNode = Callable[..., Node]


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
            ["ssh", "-F", str(cluster.ssh_config), "sw2", "echo typed"], capture_output=True, text=True, timeout=120
        )
        assert typed.stdout == "typed\n", typed.stderr
        with (
            opened["sw1"].forward("127.0.0.1", server.port) as port,
            socket.create_connection(("127.0.0.1", port), 120) as through,
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
    mark = f"600.{secrets.randbelow(10**12):012}"  # in the command line of the shell and of what it starts
    with raises(Code.COMMAND_TIMED_OUT, "sw1", "0.3 s"):
        host.run(f"sleep {mark}; touch {tmp_path}/went-on", timeout_s=0.3)
    until(lambda: not running(mark), why=f"it goes on over there: {running(mark)}")
    assert not (tmp_path / "went-on").exists()
    assert host.run("echo again").stdout == "again\n"


def test_a_command_that_prints_without_end_is_cut_off(fleet: Callable[..., Fleet]) -> None:
    """Seen: 650 MiB in 8 s, all of it kept."""
    host = fleet()["sw1"]
    for flood in ("yes", "yes >&2", "yes & yes >&2"):
        with raises(Code.OUTPUT_TOO_LONG, "sw1", "printed too much") as caught:
            host.run(flood, check=False, timeout_s=60, most=3 << 20)
        assert caught.value.wanted == "at most 3,072 KiB"
    assert host.run("echo again").stdout == "again\n"


def test_a_deadline_counts_while_bytes_flow(fleet: Callable[..., Fleet]) -> None:
    """A host may ignore our `timeout`: over there, it is only a word."""
    connection = fleet()["sw1"].connection()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        execute(connection.transport.open_session(), "while :; do echo x; sleep 0.05; done", 1, 1 << 20)
    assert time.monotonic() - began < 30, "silence of a second was never waited for"


def test_what_a_host_prints_is_plain(fleet: Callable[..., Fleet]) -> None:
    said = fleet()["sw1"].run(
        r"printf '\033]52;c;aWQ=\007\033[2J\033[31mred\033[0m\r\n\rx\233'; printf '\302\2332J\342\200\256' >&2"
    )
    assert said.stdout == r"\x1b]52;c;aWQ=\x07\x1b[2Jred" + "\n" + r"\rx" + "\ufffd"
    assert said.stderr == r"\x9b2J\u202e"


def running(mark: str) -> list[bytes]:
    """The command lines of this computer's processes with a mark in them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((folder / "cmdline").read_bytes())
    return [line for line in found if mark.encode() in line]


def until(what: Callable[[], object], why: str) -> None:
    """Wait for something to become true; the bound is for what hangs, not for what is slow."""
    limit = time.monotonic() + 120
    while not what():
        assert time.monotonic() < limit, why
        time.sleep(0.02)


@pytest.mark.parametrize("signal", ["KILL", "TERM", "INT"])
@pytest.mark.parametrize("check", [True, False])
def test_a_killed_command_has_given_no_answer(fleet: Callable[..., Fleet], signal: str, check: bool) -> None:
    """Seen under fire: a killed `docker ps` was taken for a node without containers."""
    host = fleet()["sw1"]
    with raises(Code.COMMAND_KILLED, "sw1"):
        host.run(f"echo half an answer; kill -{signal} $PPID; exec sleep 5 >/dev/null 2>&1", check=check)
    assert host.run("echo again").stdout == "again\n"


@pytest.mark.parametrize("code", [130, 137, 143])
def test_what_a_shell_says_of_a_killed_command_is_no_answer_either(fleet: Callable[..., Fleet], code: int) -> None:
    """A busy machine has timeout(1) end with this, and not by the signal itself, in one of three cases."""
    with raises(Code.COMMAND_KILLED, "sw1"):
        fleet()["sw1"].run(f"echo half an answer; exit {code}", check=False)


def test_a_connection_that_ends_with_the_command_has_given_no_answer(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    with raises(Code.CONNECTION_BROKE, "sw1"):
        # Its parent's parent: the process that sshd keeps for this connection.
        host.run("kill -KILL $(ps -o ppid= -p $PPID)", check=False)
    assert host.run("echo again").stdout == "again\n"


def test_put(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    host = fleet()["sw1"]
    target = tmp_path / "new folder" / "it's a file"
    host.put(str(target), "grüße\n", mode=0o600)
    assert target.read_text() == "grüße\n"
    assert target.stat().st_mode & 0o777 == 0o600
    host.put(str(target), b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(target.parent) == ["it's a file"]
    assert "grüße" not in str(host._transcript.since(0))


def test_a_large_file_is_sent_piece_by_piece(
    fleet: Callable[..., Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "dump"
    source.write_bytes(os.urandom(3 << 20))

    def never(self: Path) -> bytes:
        raise AssertionError("it may be larger than memory")

    host = fleet()["sw1"]
    host.connection()
    monkeypatch.setattr(Path, "read_bytes", never)
    host.put(str(tmp_path / "there"), source)
    assert filecmp.cmp(source, tmp_path / "there", shallow=False)


def test_a_command_is_given_the_patience_of_its_host(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    host.patience_s = 0.5
    with raises(Code.COMMAND_TIMED_OUT, "0.5 s", "wait_timeout"):
        host.run("sleep 30")
    assert host.run("sleep 0.6; echo ran", timeout_s=20).stdout == "ran\n"


def test_a_file_that_does_not_arrive_whole_replaces_nothing(
    fleet: Callable[..., Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks is an end of file over there."""
    host, target = fleet()["sw1"], tmp_path / "settings"
    target.write_text("before")
    cut = hosts.execute
    monkeypatch.setattr(hosts, "execute", lambda *given: cut(*given[:4], [b"".join(given[4])[:-3]]))
    with raises(Code.COMMAND_FAILED, "sw1") as caught:
        host.put(str(target), "after, and whole")
    assert "did not arrive whole" in str(caught.value)
    assert target.read_text() == "before" and not (tmp_path / "settings.new").exists()


def test_what_lies_at_the_name_that_is_written_to_first_is_not_followed(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("someone's")
    (tmp_path / "target.new").symlink_to(elsewhere)
    fleet()["sw1"].put(str(tmp_path / "target"), "ours", mode=0o600)
    assert elsewhere.read_text() == "someone's" and (tmp_path / "target").read_text() == "ours"


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
                with socket.create_connection(("127.0.0.1", port), timeout=120) as near:
                    sender = threading.Thread(target=near.sendall, args=(payload,))
                    sender.start()
                    got = b""
                    while len(got) < len(payload):
                        got += near.recv(65536)
                    sender.join(120)
                    assert got == payload
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=120):
            pass


def test_a_forward_to_nobody_is_a_closed_connection(fleet: Callable[..., Fleet]) -> None:
    host = fleet()["sw1"]
    with (
        host.forward("127.0.0.1", free_port()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=120) as near,
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


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's own folder for SSH, with a key in it that the cluster knows nothing of."""
    folder = tmp_path / "operator" / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    generate_key(folder / "id_ed25519", "operator")
    return folder


def only_the_operator_may_log_in(opened: Fleet, server: Server, operator: Path) -> None:
    """The node would let the operator's key in, so who is refused did not offer it."""
    server.authorized.write_text((operator / "id_ed25519.pub").read_text())
    with raises(Code.LOGIN_REFUSED, "sw1"):
        opened["sw1"].run("true")


def test_the_operators_own_settings_are_left_alone(fleet: Callable[..., Fleet], operator: Path) -> None:
    (operator / "config").write_text(
        f"Host *\n  Port 1\n  User stranger\n  ProxyCommand touch {operator}/was-used; false\n"
    )
    assert fleet()["sw1"].run("echo $SSH_CONNECTION").stdout.startswith("127.0.0.1 ")
    assert not (operator / "was-used").exists()


def test_the_operators_own_keys_are_left_alone(fleet: Callable[..., Fleet], server: Server, operator: Path) -> None:
    only_the_operator_may_log_in(fleet(), server, operator)


def test_the_operators_agent_is_left_alone(
    fleet: Callable[..., Fleet], server: Server, operator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as short:  # the path of a socket may have 107 characters
        socket_file = f"{short}/agent"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket_file], stdout=subprocess.DEVNULL)
        try:
            until(lambda: Path(socket_file).exists(), why="ssh-agent does not start")
            monkeypatch.setenv("SSH_AUTH_SOCK", socket_file)
            subprocess.run(["ssh-add", "-q", str(operator / "id_ed25519")], check=True, capture_output=True)
            (operator / "id_ed25519").unlink()
            only_the_operator_may_log_in(fleet(), server, operator)
        finally:
            agent.terminate()
            agent.wait(60)


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
    """Who listens and says nothing is waited for as long as a connection may take, and no longer."""
    import fabric

    given: list[dict[str, Any]] = []
    connect = fabric.Connection

    def noted(*arguments: Any, **options: Any) -> Any:
        given.append(options)
        return connect(*arguments, **options)

    monkeypatch.setattr(fabric, "Connection", noted)
    monkeypatch.setattr(hosts, "_CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, raises(Code.HOST_UNREACHABLE):
        fleet(port=silent.getsockname()[1])["sw1"].run("true")
    bounds = [
        given[0]["connect_timeout"],
        *(given[0]["connect_kwargs"][f"{what}_timeout"] for what in ("banner", "auth")),
    ]
    assert bounds == [0.5, 0.5, 0.5]


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


def test_login_is_by_the_nodes_user_and_by_the_jump_hosts(node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of the person who runs this, as fabric would."""
    asked: list[tuple[str, str, int]] = []

    class Connection:
        def __init__(self, host: str, *, user: str, port: int, **_: object) -> None:
            asked.append((user, host, port))
            raise ZeroDivisionError

    monkeypatch.setattr("fabric.Connection", Connection)
    for jump in (None, Jump(Endpoint("192.0.2.9", 22), "ssh-ed25519 AAAA9", "eve")):
        host = Host(node(user="alice", ssh=Endpoint("192.0.2.7", 2207), jump=jump), Cluster("lab"), Transcript())
        with pytest.raises(ZeroDivisionError):
            host.connection()
    assert asked == [("alice", "192.0.2.7", 2207), ("eve", "192.0.2.9", 22)]


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
    assert caught.value.where == "n0; failed as well: n2, n4"
    assert caught.value.seen == "n2: number 2 is even\nn4: number 4 is even"


def test_fan_out_leaves_a_single_error_as_it_is() -> None:
    def work(number: int) -> None:
        if number:
            raise WorldError("it is odd", where="n1", seen="one")

    with pytest.raises(WorldError) as caught:
        fan_out(work, {"n0": 0, "n1": 1})
    assert (caught.value.where, caught.value.seen) == ("n1", "one")


def test_fan_out_does_sixteen_at_once_on_any_computer_and_keeps_the_order() -> None:
    running, most, guard, full = 0, 0, threading.Lock(), threading.Barrier(16)

    def work(number: int) -> int:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        full.wait(60)  # goes on only when sixteen have come
        with guard:
            running -= 1
        return number

    assert list(fan_out(work, {str(n): n for n in range(48, 0, -1)}).values()) == list(range(48, 0, -1))
    assert most == 16
    assert fan_out(work, {}) == {}


def test_fan_out_lets_foreign_errors_through() -> None:
    with pytest.raises(ZeroDivisionError):
        fan_out(lambda n: 1 // n, {"a": 0, "b": 1})


def test_fan_out_lets_the_first_of_several_foreign_errors_through() -> None:
    with pytest.raises(ZeroDivisionError):
        fan_out(lambda n: 1 // n, {"a": 0, "b": 0})


def test_a_host_that_is_left_out_is_closed_and_the_others_are_not(node: MakeNode) -> None:
    fleet = Fleet(Cluster("lab"), [node(name=name) for name in ("sw1", "sw2")], Transcript())
    closed: list[str] = []
    for host in fleet:
        host.close = lambda name=host.name: closed.append(name)  # type: ignore[method-assign,misc]
    fleet.leave_out(["sw2", "sw2", "sw9"])
    assert closed == ["sw2"] and [host.name for host in fleet] == ["sw1"] and len(fleet) == 1
    fleet.close()
    assert closed == ["sw2", "sw1"]


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
    said = f"{secret}{'x' * 1480}"
    monkeypatch.setattr(hosts, "execute", lambda *_: Output(1, said, said))
    with pytest.raises(LoginRefused) as refused:
        host.run("false")
    assert "vvvvvv" not in str(refused.value)
    monkeypatch.setattr(hosts.Marked, "own", lambda self, output: (hosts.Stage.ROOT, Output(1, "", said)))
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
