"""Unit tests: no network beyond loopback, no Docker, a home of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmbook import secrets
from swarmbook.cluster import Endpoint, Node

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and nothing from the environment of whoever runs the tests."""
    for name in ("SWARMBOOK_RUN_DIR", "SWARMBOOK_LOCK_OWNER", "SWARMBOOK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SWARMBOOK_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def _known_secrets() -> Iterator[None]:
    before = set(secrets._known)
    yield
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
