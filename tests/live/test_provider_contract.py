"""The lab's provider keeps what every provider has to keep, with real machines."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.book import Book
from swarmbook.cluster import Cluster
from swarmbook.hosts import generate_key
from swarmbook.params import Params
from swarmbook.providers.lab import LabProvider
from swarmbook.testing.provider import ProviderContract, World


class TestLab(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path, docker_engine: Any) -> Iterator[World]:
        mark = secrets.token_hex(3)
        made: list[str] = []

        def make(name: str) -> LabProvider:
            cluster = Cluster(f"t-{mark}-{name}", tmp_path)
            cluster.folder.mkdir(parents=True, exist_ok=True)
            generate_key(cluster.key_file, name)
            made.append(name)
            return LabProvider(Book("01", Params(cluster=cluster.name, nodes=["n1", "n2", "n3"], lab_disk_gb=1), cluster=cluster))

        yield World(make, lambda name, node: docker_engine.api.stop(f"swarmbook-t-{mark}-{name}-{node}", timeout=30))
        for name in set(made):
            make(name).destroy()
