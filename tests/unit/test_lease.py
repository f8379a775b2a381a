"""One holder at a time on a node, gone with its session; through a real sshd."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from swarmbook.access import lease
from swarmbook.access.cluster import Cluster
from swarmbook.access.fleet import Fleet
from swarmbook.access.hosts import Host
from swarmbook.access.lease import Lease
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base.codes import Code
from swarmbook.base.errors import HostUnreachable, WaitTimeout
from swarmbook.base.wait import wait_for
from swarmbook.book import lease as held
from swarmbook.book.book import Book
from swarmbook.model.transcript import Transcript
from swarmbook.testing.errors import raises

from .sshd import Server

MakeNode = Callable[..., Node]


@pytest.fixture
def take(
    fleet: Callable[..., Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Lease]]:
    monkeypatch.setattr(lease, "_FOLDER", str(tmp_path))
    taken: list[Lease] = []

    def make(holder: str, cluster: str = "lab", folder: str = "", silence_s: int = 90) -> Lease:
        taken.append(Lease(fleet()["sw1"], cluster, holder, folder, silence_s))
        return taken[-1]

    yield make
    for each in taken:
        each.release()


def free_again(take: Callable[..., Lease]) -> Lease:
    def look() -> tuple[bool, Lease]:
        found = take("another")
        return found.holder is None, found

    return wait_for("the lease is free", look, timeout_s=30)


def test_one_at_a_time(take: Callable[..., Lease]) -> None:
    first = take("me@laptop: 07: Galera, since noon")
    assert first.holder is None
    assert take("another").holder == "me@laptop: 07: Galera, since noon"
    assert take("another", cluster="other").holder is None, "each cluster has its own"
    first.release()
    assert free_again(take).holder is None


def test_a_holder_whose_session_ends_holds_nothing(take: Callable[..., Lease]) -> None:
    first = take("killed")
    first._channel.get_transport().close()  # as when its process is killed: no one says goodbye
    assert free_again(take).holder is None


def test_a_run_of_the_same_folder_is_lost(take: Callable[..., Lease]) -> None:
    first = take("me", folder="a1b2")
    assert (first.holder, first.lost) == (None, False)
    again = take("me again", folder="a1b2")
    assert (again.holder, again.lost) == ("me", True)
    for folder in ("c3d4", ""):
        other = take("another", folder=folder)
        assert (other.holder, other.lost) == ("me", False)
    first.release()
    nameless = take("me")
    assert nameless.holder is None
    assert not take("another nameless").lost


def test_a_holder_that_falls_silent_holds_nothing(take: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_BEAT_S", 3600)
    take("a laptop that was closed", silence_s=1)
    assert free_again(take).holder is None


def test_a_holder_that_beats_keeps_it(take: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_BEAT_S", 0.2)
    first = take("at work", silence_s=1)
    with pytest.raises(WaitTimeout, match="the lease is free"):
        wait_for("the lease is free", lambda: ((found := take("another")).holder is None, found), timeout_s=2.5)
    first.release()


def test_what_was_given_back_is_free_at_once(take: Callable[..., Lease]) -> None:
    """The next step of the same run asks a moment later."""
    for _ in range(10):
        held = take("a step")
        assert held.holder is None
        held.release()


def test_a_node_that_allows_no_further_session_is_named(tmp_path: Path, node: MakeNode) -> None:
    (tmp_path / "sshd").mkdir()
    server = Server(tmp_path / "sshd", MaxSessions=0)
    cluster = Cluster("lab")
    generate_key(cluster.key_file, "test")
    server.authorized.write_text(cluster.key_file.with_suffix(".pub").read_text())
    at = node("sw1", ssh=Endpoint("127.0.0.1", server.port), host_key=server.key, user=getpass.getuser())
    cluster.save_nodes([at], "test")
    host = Host(at, cluster, Transcript())
    try:
        with pytest.raises(HostUnreachable, match="did not say whether another run works on it"):
            Lease(host, "lab", "me")
    finally:
        host.close()
        server.stop()


def test_what_a_node_says_instead_of_an_answer(take: Callable[..., Lease], tmp_path: Path) -> None:
    (tmp_path / "swarmbook-lab.lease").mkdir()  # nothing can be locked there
    with pytest.raises(HostUnreachable, match="did not say whether another run works on it"):
        take("me")


def a_book(fleet: Fleet, cluster: Cluster) -> Book:
    return cast("Book", SimpleNamespace(asked=list(fleet), cluster=cluster))


def test_a_run_that_lost_a_node_is_waited_for_by_the_next_one_from_its_folder(
    take: Callable[..., Lease], fleet: Callable[..., Fleet]
) -> None:
    hosts, cluster = fleet(), Cluster("lab")
    lost = take("me: 03: wall", folder=held._folder(cluster))
    threading.Timer(0.7, lost._channel.get_transport().close).start()
    with held.leased(a_book(hosts, cluster), "03"):
        assert take("another").holder is not None
    assert free_again(take).holder is None


def test_a_run_of_another_copy_is_not_waited_for(
    take: Callable[..., Lease], fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    here, copy = Cluster("lab"), Cluster("lab", tmp_path / "copy")
    copy.folder.mkdir(parents=True)
    take("me@laptop: 07", folder=held._folder(copy))
    with raises(Code.LOCK_HELD, "sw1", "me@laptop: 07"), held.leased(a_book(fleet(), here), "03"):
        pass


def test_a_lost_run_that_no_node_notices_ends_in_an_error(
    take: Callable[..., Lease], fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts, cluster = fleet(), Cluster("lab")
    monkeypatch.setattr(held, "SILENCE_S", 0.3)
    monkeypatch.setattr(held, "_MARGIN_S", 0)
    take("me: 03: wall", folder=held._folder(cluster))
    with raises(Code.LOCK_HELD, "sw1", "me: 03: wall"), held.leased(a_book(hosts, cluster), "03"):
        pass
