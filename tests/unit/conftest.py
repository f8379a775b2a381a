"""Unit tests: no network beyond loopback, no Docker, a home of their own."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.docker_api import Engine
from swarmbook.access.fleet import Fleet
from swarmbook.access.node import Endpoint, Node
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base import secrets
from swarmbook.base.errors import EngineUnavailable
from swarmbook.book.book import Book
from swarmbook.machines import host_engine
from swarmbook.machines.providers import lab
from swarmbook.model.checks import Check
from swarmbook.model.ledger import Ledger
from swarmbook.model.phases import PHASES
from swarmbook.model.plan import Plan
from swarmbook.model.results import Chapter, ChapterRecord, RunResult, StepRecord
from swarmbook.model.transcript import Transcript
from swarmbook.params import Params
from swarmbook.phases import planner
from swarmbook.record.evidence import Evidence
from swarmbook.record.signing import Signing

from .sshd import SSHD, Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and nothing from the environment of the person who runs the tests."""
    for name in (
        "SWARMBOOK_RUN_DIR",
        "SWARMBOOK_LOCK_OWNER",
        "SWARMBOOK_DEBUG",
        "SWARMBOOK_SIGNING_KEY",
        "SWARMBOOK_ALLOWED_SIGNERS",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("SWARMBOOK_HOME", str(tmp_path))
    # No engine runs here, none is named, and none is started.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setattr(host_engine, "own_environment", dict)
    for starts in ("install_packages", "_start"):
        monkeypatch.setattr(host_engine, starts, _no_engine)
    return tmp_path


def _no_engine(*_: object) -> Engine:
    raise EngineUnavailable("no engine is started by a test", where="here", next="none")


@pytest.fixture(autouse=True)
def _known_secrets() -> Iterator[None]:
    before, names = set(secrets._known), set(secrets._structure)
    secrets._structure.clear()
    yield
    secrets._structure.update(names)
    secrets._watched.clear()
    secrets._seen.clear()
    secrets._known.clear()
    secrets._known.update(before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def node() -> Callable[..., Node]:
    """Makes node sw1, sw2, ... with addresses that follow its number."""

    def make(name: str = "sw1", **other: object) -> Node:
        number = int(name[2:])
        fields = {
            "id": f"id{number}", "private_address": f"10.9.0.{number}", "public_address": f"192.0.2.{number}",
            "ssh": Endpoint("127.0.0.1", 2200 + number), "host_key": f"ssh-ed25519 AAAA{number}", "disk": "/dev/disk/second",
        }  # fmt: skip
        return Node(name, **{**fields, **other})  # type: ignore[arg-type]

    return make


@pytest.fixture
def open_book(node: Callable[..., Node]) -> Iterator[Callable[..., Book]]:
    """Opens a book on four nodes, with other parameters as given; each is closed."""
    books: list[Book] = []

    def make(phase: str, **params: Any) -> Book:
        names = ["sw1", "sw2", "sw3", "sw4"]
        Cluster("lab").save_nodes([node(name) for name in names], "lab")
        books.append(Book(phase, Params(nodes=names, **params)))
        return books[-1]

    yield make
    for book in books:
        book.close()


RECORDED = (Check("sw1", "mounted", "yes", "yes", True), Check("sw2", "mounted", "yes", "yes", True))


def recorded(
    cluster: Cluster,
    name: str = "one",
    *,
    checks: Sequence[Check] = RECORDED,
    parameters: Mapping[str, Any] | None = None,
    steps: int = 1,
    status: str = "completed",
    signing: Signing | None = None,
) -> Path:
    """A run's folder as `swarmbook run` leaves it, without a kernel: two chapters, the second is not reached when the first fails."""
    folder = cluster.root / "runs" / cluster.name / name
    folder.mkdir(parents=True)
    evidence, ledger = Evidence(folder, cluster, signing), Ledger(folder)
    chapters = [
        Chapter(cluster.root / "none.ipynb", {}, "02", "post_provision"),
        Chapter(cluster.root / "none.ipynb", {}, "05", "verify_swarm"),
    ]
    evidence.began(chapters, parameters or {"nodes": ["sw1", "sw2"], "mariadb_password": "generate"})
    records = []
    for chapter in chapters:
        if records and status != "completed":
            records.append(ChapterRecord(chapter.number, chapter.name, "not-run", notebook=chapter.notebook))
            continue
        evidence.chapter_began(chapter)
        done = []
        for number in range(steps):
            evidence.step_began(chapter, f"Step {number}")
            ledger.extend(
                [
                    ("command", {"host": "sw1", "text": "true", "exit": 0, "seconds": 0.1}),
                    *(("check", asdict(check)) for check in checks),
                ]
            )
            done.append(StepRecord(chapter.number, chapter.name, f"Step {number}", status, 2, 1, len(checks), 0, 0.5))
            evidence.step_ended(done[-1])
        notebook = {
            "cells": [{"cell_type": "code", "source": chapter.name, "metadata": {}}],
            "metadata": {"papermill": {"status": status}},
        }
        (folder / chapter.notebook).write_text(json.dumps(notebook))
        error = None if status == "completed" else {"ename": "CheckFailed", "evalue": "one of two"}
        records.append(
            ChapterRecord(
                chapter.number, chapter.name, status, 1.0, notebook=chapter.notebook, steps=tuple(done), error=error
            )
        )
        evidence.chapter_ended(records[-1])
    result = RunResult(folder, status, 0 if status == "completed" else 1, 2.0, tuple(records))
    (folder / "summary.json").write_text(json.dumps(result.to_json()))
    evidence.ended(result)
    return folder


@pytest.fixture(scope="session", name="recorded")
def _recorded() -> Callable[..., Path]:
    return recorded


@pytest.fixture
def cluster(home: Path, node: Callable[..., Node]) -> Cluster:
    """A cluster of two nodes, in the test's home."""
    cluster = Cluster("lab", home)
    cluster.save_nodes([node("sw1"), node("sw2")], "lab")
    return cluster


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("no sshd on this computer (apt-get install openssh-server)")
    if os.geteuid() == 0:
        # sshd wants this empty folder when it runs as root; its package's service makes it. It stays: another sshd may need it by now.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = Server(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def fleet(server: Server, node: Callable[..., Node]) -> Iterator[Callable[..., Fleet]]:
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


@pytest.fixture
def from_nothing(home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Plans in a home that holds the notebooks and nothing else, on a computer where no engine runs."""
    (home / "notebooks").symlink_to(root / "notebooks")
    monkeypatch.setattr(lab, "local_engine", lambda: None)
    monkeypatch.setattr(lab, "ensure_engine", _forbidden)

    def make(numbers: list[str] | None = None, **params: Any) -> Plan:
        return planner.make_plan(
            Params(**params), numbers or [n for n in PHASES if "01" <= n < "20"], Cluster("lab", home)
        )

    return make


def _forbidden(*_: Any) -> Any:
    raise AssertionError("a plan only looks")
