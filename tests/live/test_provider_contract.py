"""The lab's provider and the generic one keep what every provider has to keep, with real machines."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.hosts import generate_key
from swarmbook.access.ssh_keys import take_key
from swarmbook.book.book import Book
from swarmbook.machines.lab.hosts import stand_up, take_down
from swarmbook.machines.providers.generic import GenericProvider
from swarmbook.machines.providers.lab import LabProvider
from swarmbook.params import Params
from swarmbook.testing.provider import ProviderContract, World

from .conftest import free_ports


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
            return LabProvider(
                Book("01", Params(cluster=cluster.name, nodes=["n1", "n2", "n3"], lab_disk_gb=1), cluster=cluster)
            )

        yield World(
            make,
            lambda name, node: docker_engine.api.stop(f"swarmbook-t-{mark}-{name}-{node}", timeout=30),
            lambda name, nodes: Cluster(f"t-{mark}-{name}", tmp_path).save_nodes(nodes, "lab"),
        )
        for name in set(made):
            make(name).destroy()


class TestGeneric(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path, docker_engine: Any) -> Iterator[World]:
        mark = secrets.token_hex(3)
        ports = free_ports(3)

        def params(name: str) -> Params:
            hosts = [f"n{number}=deploy@127.0.0.1:{port}" for number, port in enumerate(ports, 1)]
            return Params(
                cluster=f"t-{mark}-{name}",
                nodes=["n1", "n2", "n3"],
                provider="generic",
                hosts=hosts,
                ssh_key_file="key",
                wait_timeout=10,
                lab_disk_gb=1,
            )

        def make(name: str) -> GenericProvider:
            cluster = Cluster(f"t-{mark}-{name}", tmp_path)
            cluster.folder.mkdir(parents=True, exist_ok=True)
            take_key(tmp_path / "key", cluster.key_file, name)
            return GenericProvider(Book("01", params(name), cluster=cluster))

        def container(node: str) -> str:
            return f"swarmbook-t-{mark}-one-hosts-{node}"

        stand_up(params("one"), tmp_path)
        yield World(
            make,
            stop=lambda name, node: docker_engine.api.stop(container(node), timeout=30),
            keep=lambda name, nodes: Cluster(f"t-{mark}-{name}", tmp_path).save_nodes(nodes, "generic"),
            start=lambda name, node: docker_engine.api.start(container(node)),
            theirs=True,
        )
        take_down(params("one"), tmp_path)
