"""The softlayer provider on a rehearsal keeps what every provider has to keep; the lab's is held to it in tests/live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.hosts import generate_key
from swarmbook.book.book import Book
from swarmbook.machines.providers.softlayer import SoftLayerProvider
from swarmbook.machines.rehearsal import Cloud, MemoryMachines, Rehearsal
from swarmbook.machines.softlayer_api import SoftLayerApi
from swarmbook.params import Params
from swarmbook.testing.provider import ProviderContract, World


class TestSoftLayer(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        monkeypatch.setenv("HOME", str(tmp_path))
        machines = MemoryMachines(0.05, 0.05)
        cloud = Cloud(machines)
        apis: list[SoftLayerApi] = []

        def make(name: str) -> SoftLayerProvider:
            cluster = Cluster(name, tmp_path)
            cluster.folder.mkdir(parents=True, exist_ok=True)
            generate_key(cluster.key_file, name)
            apis.append(SoftLayerApi(rehearsal.xmlrpc, timeout_s=5))
            # One domain an account: names are free again in another one.
            params = Params(
                cluster=name,
                nodes=["n1", "n2", "n3"],
                provider="softlayer",
                sl_domain=f"{name}.example.com",
                sl_wait_timeout=10,
            )
            scan = lambda end: f"ssh-ed25519 KEY-OF-{end.host}"  # noqa: E731
            return SoftLayerProvider(
                Book("01", params, cluster=cluster), api=apis[-1], scan=scan, first_s=0.01, slowest_s=0.05
            )

        def stop(name: str, node: str) -> None:
            machines.halt(next(guest.id for guest in cloud.guests.values() if guest.hostname == node))

        with Rehearsal(cloud) as rehearsal:
            yield World(make, stop, lambda name, nodes: Cluster(name, tmp_path).save_nodes(nodes, "softlayer"))
            for api in apis:
                api.close()
