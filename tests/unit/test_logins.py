"""Logins as people have them: shells of every kind, noise, and everyone who turns someone away; through a real sshd."""

from __future__ import annotations

import getpass
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access import lease
from swarmbook.access.channel import Output
from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.engine_socket import _pump_back
from swarmbook.access.hosts import Host
from swarmbook.access.identities import Tries
from swarmbook.access.lease import Lease
from swarmbook.access.marked import Marked, Stage
from swarmbook.access.node import Endpoint, Identity, Node
from swarmbook.access.probe import Probe
from swarmbook.access.ssh_keys import generate_key
from swarmbook.access.turned_away import key_refused, not_root, runs_nothing
from swarmbook.base.codes import Code
from swarmbook.base.errors import HostUnreachable, LoginRefused
from swarmbook.model.transcript import Transcript
from swarmbook.testing.errors import raises

from .sshd import Server, free_port

END = Endpoint("192.0.2.7", 22)


@pytest.fixture
def login(tmp_path: Path, node: Callable[..., Node], server: Server) -> Iterator[Callable[..., Host]]:
    """Logs in to an sshd with settings of its own; `shell` stands for the login shell of the user."""
    servers: list[Server] = []
    opened: list[Host] = []

    def make(shell: str = "", user: str = "", **settings: Any) -> Host:
        folder = tmp_path / f"sshd-{len(servers)}"
        folder.mkdir()
        if shell:
            program = folder / "shell"
            program.write_text(f"#!/bin/sh\n{shell}\n")
            program.chmod(0o755)
            settings["ForceCommand"] = program
        servers.append(Server(folder, **settings))
        cluster = Cluster("lab")
        generate_key(cluster.key_file, "test")
        servers[-1].authorized.write_text(cluster.key_file.with_suffix(".pub").read_text())
        end = Endpoint("127.0.0.1", servers[-1].port)
        at = node("sw1", ssh=end, host_key=servers[-1].key, user=user or getpass.getuser())
        cluster.save_nodes([at], "test")
        opened.append(Host(at, cluster, Transcript()))
        return opened[-1]

    yield make
    for host in opened:
        host.close()
    for each in servers:
        each.stop()


# -- shells and noise ------------------------------------------------------------------------------------------------------

#: Everything that a shell may take for more than a text; and longer than one word of a command line may be.
AWKWARD = 'it\'s "$HOME" `id` \\ \\\\ ! !! ~ * ? [a] {b} <c> (d) | & ; # %s ^ \t é 漢\nsecond line\n'


@pytest.mark.parametrize("shell", ["sh", "bash", "tcsh", "fish"])
def test_every_login_shell_runs_what_it_is_given(login: Callable[..., Host], shell: str, tmp_path: Path) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell} on this computer (apt-get install {shell})")
    host = login(f'exec {found} -c "$SSH_ORIGINAL_COMMAND"')
    assert host.run(sh("printf %s @{text}", text=AWKWARD)).stdout == AWKWARD
    assert len(host.run(sh("printf %s @{text} | wc -c", text="x" * 100_000 + AWKWARD * 1000)).stdout.split()) == 1
    assert host.run(sh("cat; exit 3"), check=False) == Output(3, "", ""), "standard input is closed"
    host.put(str(tmp_path / "file"), AWKWARD)
    assert (tmp_path / "file").read_text() == AWKWARD
    assert host.ask(Probe(sh("echo one | as said"), lambda facts: facts["said"])) == ["one"]


def test_a_script_longer_than_a_command_line_may_be(login: Callable[..., Host]) -> None:
    text = "y" * 300_000
    assert login().run(sh(": @{text}; echo ran", text=text)).stdout == "ran\n"


#: What an `echo` in .bashrc does, and a trap in it at the end.
NOISY = """echo '*** Welcome to g1 ***'; printf 'without an end'; printf 'as root\\n facts\\n' >&2
bash -c "$SSH_ORIGINAL_COMMAND"
code=$?
echo good-bye; echo bye >&2
exit $code"""


def test_noise_of_a_login_does_no_harm(login: Callable[..., Host], tmp_path: Path) -> None:
    host = login(NOISY)
    done = host.run("echo out; echo err >&2; exit 3", check=False)
    assert (done.exit, done.stdout) == (3, "out\n") and done.stderr.startswith("err\n") and "as root" not in done.stderr
    assert host.run("printf 'no newline'").stdout == "no newline"
    assert host.run("true").stdout == ""
    assert host.ask(Probe(sh("hostname | as name"), lambda facts: list(facts))) == ["name"]
    host.put(str(tmp_path / "file"), b"\x00 whole \xff")
    assert (tmp_path / "file").read_bytes() == b"\x00 whole \xff"


def test_noise_before_a_lease_and_before_an_engine(
    login: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_FOLDER", str(tmp_path))
    held = Lease(login(NOISY), "lab", "me")
    assert held.holder is None
    held.release()

    class Channel:
        def __init__(self, *pieces: bytes) -> None:
            self._pieces = list(pieces)

        def recv(self, most: int) -> bytes:
            return self._pieces.pop(0) if self._pieces else b""

    begins = Marked("m").begins
    for pieces, passed in (
        ((b"noise", b" and m-r", b"oot\nHTTP/1.1 ", b"200 OK"), b"HTTP/1.1 200 OK"),
        ((b"m-root\n", b"HTTP"), b"HTTP"),
        ((b"m-root\n",), b""),
        ((b"This account is currently not available.\n",), b""),
    ):
        near, far = socket.socketpair()
        with near, far:
            thread = threading.Thread(target=_pump_back, args=(Channel(*pieces), near, begins))
            thread.start()
            said = b""
            while data := far.recv(100):
                said += data
            thread.join(60)
        assert said == passed


@pytest.mark.parametrize(
    ("out", "err", "stage", "own"),
    [
        ("", "", Stage.NOT_IN, ("", "")),
        ("m-root", "", Stage.NOT_IN, ("m-root", "")),
        ("hi\nm-in\n", "hey\nm-in\nsudo: no\n", Stage.NOT_ROOT, ("", "sudo: no\n")),
        ("hi m-in\nm-root\nout\nm-end\nbye\n", "m-in\nm-root\nerr\n", Stage.ROOT, ("out\n", "err\n")),
        ("m-in\nm-root\nhalf", "", Stage.ROOT, ("half", "")),
        ("m-in\nm-root\nhalfm-end\n", "", Stage.ROOT, ("half", "")),
        ("m-in\nm-root\nm-root\nm-end\nm-end\n", "", Stage.ROOT, ("m-root\nm-end\n", "")),
    ],
)
def test_what_is_a_commands_own(out: str, err: str, stage: Stage, own: tuple[str, str]) -> None:
    assert Marked("m").own(Output(1, out, err)) == (stage, Output(1, *own))


def test_no_mark_is_used_twice() -> None:
    assert len({Marked().mark for _ in range(50)}) == 50


# -- who turns someone away -----------------------------------------------------------------------------------------------

TURNED_AWAY = {
    "a cloud image's root": (
        """echo 'Please login as the user "debian" rather than the user "root".'; sleep 0.1; exit 142""",
        ["wants another user than", "debian@127.0.0.1"],
    ),
    "an expired password": (
        "echo 'WARNING: Your password has expired.'; echo 'Password change required but no TTY available.' >&2; exit 1",
        ["the password of", "has expired", "ssh -t -p"],
    ),
    "no shell": ("echo 'This account is currently not available.'; exit 1", ["has no shell", "chsh -s /bin/sh"]),
    "a forced command": ("exec date", ["does not run what it is given", "command=... in authorized_keys"]),
    "one that says nothing": ("exit 0", ["does not run what it is given", "nothing, exit 0"]),
    "a menu that reads": ("cat >/dev/null; echo 'Choose: 1) reboot 2) exit'", ["1) reboot"]),
}


@pytest.mark.parametrize(("shell", "words"), TURNED_AWAY.values(), ids=TURNED_AWAY)
@pytest.mark.parametrize("check", [True, False])
def test_a_login_that_runs_nothing_of_ours(
    login: Callable[..., Host], shell: str, words: list[str], check: bool
) -> None:
    with raises(Code.LOGIN_RUNS_NOTHING, "sw1", *words) as caught:
        login(shell).run("true", check=check)
    assert isinstance(caught.value, LoginRefused) and "sudo" not in str(caught.value)


def test_a_user_who_may_not_become_root() -> None:
    marked = Marked("m")
    stage, said = marked.own(Output(1, "welcome\nm-in\n", "noise\nm-in\nsudo: a password is required\n"))
    error = not_root("sw1", "deploy", END, said)
    assert stage is Stage.NOT_ROOT and error.code is Code.SUDO_ASKS
    assert error.seen == "sudo: a password is required" and "visudo -f /etc/sudoers.d/deploy" in str(error)


@pytest.mark.parametrize(
    ("banner", "code", "words"),
    [
        ("", Code.LOGIN_REFUSED, "does not accept the cluster's SSH key"),
        ("System is booting up. See pam_nologin(8)\n", Code.LOGIN_NOT_YET, "lets no one but root in yet"),
        ("Your account has expired; please contact your administrator", Code.LOGIN_RUNS_NOTHING, "chage -E -1 deploy"),
    ],
)
def test_what_a_server_says_when_it_lets_nobody_in(banner: str, code: Code, words: str) -> None:
    error = key_refused("sw1", "deploy", END, Tries("deploy", [Identity()], Path("/keys/id")), banner, "password")
    assert error.code is code and words in str(error) and banner.strip() in (error.seen or "")
    assert isinstance(error, LoginRefused) is (code is not Code.LOGIN_NOT_YET) and isinstance(error, HostUnreachable)


def test_a_user_whom_sshd_does_not_let_in(login: Callable[..., Host]) -> None:
    with raises(Code.LOGIN_REFUSED, "sw1", "whom its sshd lets in"):
        login(DenyUsers=getpass.getuser()).run("true")


def test_a_server_that_speaks_another_ssh(login: Callable[..., Host]) -> None:
    with raises(Code.LOGIN_RUNS_NOTHING, "sw1", "share no way of talking SSH", "KexAlgorithms"):
        login(KexAlgorithms="diffie-hellman-group18-sha512").run("true")


def test_advice_quotes_what_was_said() -> None:
    error = runs_nothing("sw1", "deploy", END, Output(1, "x" * 5000, ""))
    assert len(error.seen or "") <= 300


# -- forwarding and files --------------------------------------------------------------------------------------------------


def test_a_server_that_forwards_nothing_is_told_from_a_port_where_nobody_listens(login: Callable[..., Host]) -> None:
    port = free_port()
    assert login().refuses_forward("127.0.0.1", port) == ""
    for settings in (
        {"AllowTcpForwarding": "no"},
        {"AllowTcpForwarding": "remote"},
        {"DisableForwarding": "yes"},
        {"PermitOpen": "127.0.0.1:1"},
    ):
        assert "rohibited" in login(**settings).refuses_forward("127.0.0.1", port), settings


def test_a_jump_host_that_forwards_nothing(login: Callable[..., Host], node: Callable[..., Node]) -> None:
    from swarmbook.access.node import Jump

    before = login(AllowTcpForwarding="no").node
    behind = login().node
    jump = Jump(before.ssh, before.host_key, before.user)
    at = node("sw1", ssh=behind.ssh, host_key=behind.host_key, user=behind.user, jump=jump)
    cluster = Cluster("lab")
    cluster.save_nodes([at], "test")
    host = Host(at, cluster, Transcript())
    with raises(Code.FORWARDING_REFUSED, "jump host", "AllowTcpForwarding yes", str(before.ssh)):
        host.run("true")


def test_a_server_without_sftp(login: Callable[..., Host], tmp_path: Path) -> None:
    host = login(Subsystem="none /bin/false")
    host.put(str(tmp_path / "a" / "file"), "there", mode=0o640)
    assert (tmp_path / "a" / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
