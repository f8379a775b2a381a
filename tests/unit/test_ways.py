"""Hosts by their entries in an SSH configuration, with keys in files and in an agent: through real servers and a real ssh-agent."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.commands import sh
from swarmbook.access.hosts import Host
from swarmbook.access.identities import held_by, in_words, print_of
from swarmbook.access.node import Identity, Node
from swarmbook.access.ssh_keys import public_beside, public_part
from swarmbook.access.ways import Asked, identities_of
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.book.book import Book
from swarmbook.machines.providers import generic
from swarmbook.machines.providers.generic import About, GenericProvider
from swarmbook.model.transcript import Transcript
from swarmbook.params import Params
from swarmbook.phases import provision
from swarmbook.show.changes import sentence
from swarmbook.testing.errors import raises

from .sshd import SSHD, Server

pytestmark = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh-agent")), reason="no OpenSSH on this computer (apt-get install openssh-server)"
)
ME = getpass.getuser()


def made(path: Path, passphrase: str = "", kind: str = "ed25519", form: str = "RFC4716") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-m", form, "-f", path], check=True)  # fmt: skip
    return path


class Agent:
    """An ssh-agent of our own."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it listens

    def call(self, *arguments: object, **more: Any) -> None:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(self.socket), "SSH_ASKPASS_REQUIRE": "force", **more}
        subprocess.run(["ssh-add", "-q", *map(str, arguments)], env=environment, check=True, capture_output=True)

    def add(self, key: Path) -> None:
        """Give it a key whose passphrase, if it has one, is `secret words`."""
        ask = self.socket.with_name("ask")
        ask.write_text("#!/bin/sh\necho secret words\n")
        ask.chmod(0o755)
        self.call(key, SSH_ASKPASS=str(ask))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("agent") / "sock")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
    yield agent
    agent.stop()


@pytest.fixture
def servers(tmp_path: Path, server: Server) -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def make(*keys: Path, **settings: Any) -> Server:
        folder = tmp_path / f"sshd{len(running)}"
        folder.mkdir()
        running.append(Server(folder, **settings))
        running[-1].authorized.write_text(
            "".join(f"{public_beside(key.with_name(key.name + '.pub'))}\n" for key in keys)
        )
        return running[-1]

    yield make
    for each in running:
        each.stop()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., GenericProvider]:
    monkeypatch.setenv("HOME", str(tmp_path))
    ask = GenericProvider._ask
    monkeypatch.setattr(
        GenericProvider, "_ask", lambda self, host, login: (ask(self, host, login), About("f" * 32, ("127.0.0.1",)))[1]
    )

    def make(config: str = "", **params: Any) -> GenericProvider:
        if config:
            (tmp_path / ".ssh").mkdir(exist_ok=True)
            (tmp_path / ".ssh" / "config").write_text(config)
            params["ssh_config"] = "~/.ssh/config"
        params = {"nodes": ["n1", "n2"], "hosts": ["n1=one", "n2=two"], **params}
        book = Book("01", Params(cluster="lab", provider="generic", **params), cluster=Cluster("lab", tmp_path))
        return GenericProvider(book)

    return make


def entries(*servers: Server, key: object = "", more: str = "") -> str:
    """Entries `one`, `two` and so on."""
    of = zip(("one", "two", "three"), servers)
    blocks = [f"Host {name}\n HostName 127.0.0.1\n Port {each.port}\n User {ME}\n" for name, each in of]
    return "".join(f"{block} {f'IdentityFile {key}' if key else ''}\n{more}" for block in blocks)


def says(nodes: list[Node], cluster: Cluster, known: bool = True) -> list[str]:
    """What our connections say, and OpenSSH's by the configuration that is written for it."""
    cluster.save_nodes(nodes, "generic")
    found = []
    for node in nodes:
        host = Host(node, cluster, Transcript())
        found.append(host.run(sh("echo hello")).stdout)
        host.close()
        by_ssh = ["ssh", "-F", str(cluster.ssh_config), node.name, "echo hello"]
        found.append(
            subprocess.run(by_ssh, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
        )
    return found


def test_each_host_with_the_key_of_its_entry_by_way_of_two_jump_hosts(
    tmp_path: Path, servers: Callable[..., Server], provider: Callable[..., GenericProvider]
) -> None:
    mine, other = made(tmp_path / "id mine"), made(tmp_path / "other", kind="rsa")
    one, two, far = servers(mine), servers(other), servers(mine)
    config = (
        entries(one, key=f'"{mine}"') + f"Host two\n HostName 127.0.0.1\n Port {two.port}\n User {ME}\n IdentityFile ~/absent\n IdentityFile ~/other\n ProxyJump far\n"
        f"Host far\n HostName 127.0.0.1\n Port {far.port}\n User {ME}\n IdentityFile {tmp_path}/far\n ProxyJump {ME}@one\n"
    )  # fmt: skip
    shutil.copy(mine, tmp_path / "far")
    with_hosts = provider(config)
    nodes = with_hosts.wait(["n1", "n2"])
    assert [node.identity for node in nodes] == [Identity(str(mine)), Identity(str(other))]
    jump = nodes[1].jump
    assert jump is not None and jump.jump is not None and jump.jump.ssh.port == one.port
    cluster = with_hosts._book.cluster
    assert says(nodes, cluster) == ["hello\n"] * 4
    assert Cluster("lab", tmp_path).nodes == nodes, "and read again"
    assert with_hosts.wait(["n1", "n2"]) == nodes and not cluster.key_file.exists()
    offers = with_hosts.offers(["n1", "n2"])
    assert (
        "one in " in offers[0].what and f"{ME}@127.0.0.1:{two.port}" in offers[1].what and "by way of" in offers[1].what
    )
    assert any(str(other) in check.seen and "n2" in check.name for check in with_hosts.prerequisites())
    # A host key that changed is refused, on the way too.
    far.stop()
    (far.folder / "host_key").unlink()
    (far.folder / "host_key.pub").unlink()
    changed = Server(far.folder)
    try:
        changed.authorized.write_text(public_part(mine))
        (tmp_path / ".ssh" / "config").write_text(config.replace(f"Port {far.port}", f"Port {changed.port}"))
        cluster.known_hosts.write_text(cluster.known_hosts.read_text().replace(f":{far.port} ", f":{changed.port} "))
        inventory = cluster.file.read_text().replace(f'"port": {far.port}', f'"port": {changed.port}')
        cluster.file.write_text(inventory)
        with raises(Code.HOST_KEY_CHANGED, "another host key"):
            provider(config.replace(f"Port {far.port}", f"Port {changed.port}")).wait(["n2"])
    finally:
        changed.stop()


def test_the_keys_of_an_agent(
    tmp_path: Path, agent: Agent, servers: Callable[..., Server], provider: Callable[..., GenericProvider]
) -> None:
    keys = [made(tmp_path / f"key{number}", "secret words") for number in range(3)]
    for key in keys:
        agent.add(key)
    one, two = servers(keys[2]), servers(keys[1])
    own = provider(ssh_agent="SSH_AUTH_SOCK", hosts=[f"n{n}={ME}@127.0.0.1:{s.port}" for n, s in ((1, one), (2, two))])
    nodes = own.wait(["n1", "n2"])
    assert [node.identity.public.split()[1] for node in nodes] == [public_beside(keys[n]).split()[1] for n in (2, 1)]
    assert says(nodes, own._book.cluster) == ["hello\n"] * 4
    assert own.wait(["n1", "n2"]) == nodes
    log = (one.folder / "log").read_text()
    assert log.count("Accepted publickey") >= 3, "each login of one connection, whatever was tried before"
    shown = own.prerequisites()[0].seen
    assert all(print_of(public_beside(key)) in shown for key in keys) and "$SSH_AUTH_SOCK" in shown
    assert not own._book.cluster.key_file.exists(), "no key of its own where it needs none"
    # The agent that is named, whatever the environment says.
    os.environ["SSH_AUTH_SOCK"] = "/nonexistent"
    named = provider(ssh_agent=str(agent.socket), hosts=[f"n1={ME}@127.0.0.1:{one.port}"], nodes=["n1"])
    assert says(named.wait(["n1"]), named._book.cluster) == ["hello\n"] * 2
    # Gone from the agent, or with it.
    agent.call("-d", keys[2])
    host = Host(named._book.cluster.nodes[0], named._book.cluster, Transcript())
    with raises(Code.SSH_AGENT_LACKS_KEY, "does not hold the key any more", print_of(public_beside(keys[2]))):
        host.run(sh("true"))
    with raises(Code.LOGIN_REFUSED, "none of the 2 keys", "ssh-copy-id"):
        named.wait(["n1"])
    agent.call("-D")
    with raises(Code.SSH_AGENT_LACKS_KEY, "holds no key", "ssh-add"):
        named.wait(["n1"])
    agent.stop()
    with raises(Code.SSH_AGENT_LACKS_KEY, "does not answer"):
        named.wait(["n1"])
    assert not named.prerequisites()[0].ok


def test_a_key_that_wants_a_passphrase_is_taken_from_the_agent(
    tmp_path: Path, agent: Agent, servers: Callable[..., Server], provider: Callable[..., GenericProvider]
) -> None:
    locked, other = made(tmp_path / "locked", "secret words"), made(tmp_path / "other")
    agent.add(other)
    one, two = servers(locked, MaxAuthTries=1), servers(locked, MaxAuthTries=1)
    config = entries(one, two, key=locked, more=" IdentitiesOnly yes\n")
    with raises(Code.SSH_AGENT_LACKS_KEY, "the agent does not hold it", f"ssh-add {locked}"):
        provider(config, ssh_agent="SSH_AUTH_SOCK").wait(["n1"])
    with raises(Code.SSH_KEY_UNUSABLE, "wants a passphrase", "ssh_agent: SSH_AUTH_SOCK"):
        provider(config).wait(["n1"])
    agent.add(locked)
    provided = provider(config, ssh_agent="SSH_AUTH_SOCK")
    assert says(provided.wait(["n1", "n2"]), provided._book.cluster) == ["hello\n"] * 4
    # Named by its public part, as ssh_key_file, and an agent that has more keys than the server takes.
    for name in (str(locked), f"{locked}.pub"):
        named = provider(
            ssh_agent="SSH_AUTH_SOCK", ssh_key_file=name, nodes=["n1"], hosts=[f"n1={ME}@127.0.0.1:{one.port}"]
        )
        (node,) = named.wait(["n1"])
        assert in_words(node.identity).startswith(f"ssh-ed25519 {print_of(public_beside(locked))}")
        assert not provision.key(named._book).changes, "it stays where it is"


def test_the_step_says_what_logs_in(tmp_path: Path, agent: Agent, provider: Callable[..., GenericProvider]) -> None:
    agent.add(made(tmp_path / "mine"))
    book = provider(ssh_agent="SSH_AUTH_SOCK", hosts=["n1=a.example", "n2=b.example"])._book
    shown = provision.key(book)
    assert not shown.changes and "of the agent at $SSH_AUTH_SOCK" in str(shown.table)
    (adopted, _) = generic.GenericProvider(book).plan(["n1", "n2"], [])
    assert sentence(adopted).endswith("(root@a.example:22)")
    (tmp_path / "plain").write_bytes((tmp_path / "mine").read_bytes())
    book = provider(
        ssh_agent="SSH_AUTH_SOCK", ssh_key_file=str(tmp_path / "plain"), hosts=["n1=a.example", "n2=b.example"]
    )._book
    assert [sentence(change) for change in provision.key(book).changes] == [f"SSH key taken from {tmp_path / 'plain'}"]


def test_no_key_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with raises(Code.SSH_AGENT_LACKS_KEY, "no ssh-agent is known here", 'eval "$(ssh-agent)"'):
        held_by("SSH_AUTH_SOCK")
    way = Asked(tmp_path).way("a.example")
    with pytest.raises(UsageError, match="no key is known with which n1 lets us in"):
        identities_of(way, "n1")


@pytest.mark.parametrize(("kind", "form"), [("ed25519", "RFC4716"), ("rsa", "RFC4716"), ("ecdsa", "RFC4716"), ("rsa", "PEM")])  # fmt: skip
def test_the_public_part_of_a_key_that_is_locked(tmp_path: Path, kind: str, form: str) -> None:
    key = made(tmp_path / "key", "secret words", kind, form)
    public = " ".join(key.with_name("key.pub").read_text().split()[:2])
    assert public_beside(key) == public_beside(key.with_name("key.pub")) == public
    key.with_name("key.pub").unlink()
    assert public_beside(key) == (public if form == "RFC4716" else ""), "an older form does not say it"
    assert public_beside(tmp_path / "absent") == ""
