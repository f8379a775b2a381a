"""The softlayer provider on a rehearsal keeps what every provider has to keep; the lab's is held to it in tests/live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.ssh_keys import generate_key
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
            apis.append(SoftLayerApi(rehearsal.xmlrpc, rehearsal.key, timeout_s=60))
            letter = "n" if name == "one" else "m"
            params = Params(
                cluster=name,
                nodes=[f"{letter}{number}" for number in (1, 2, 3)],
                provider="softlayer",
                sl_domain="example.com",
                sl_wait_timeout=120,
            )
            scan = lambda end: f"ssh-ed25519 KEY-OF-{end.host}"  # noqa: E731
            return SoftLayerProvider(
                Book("01", params, cluster=cluster), api=apis[-1], scan=scan, first_s=0.01, slowest_s=0.05
            )

        def stop(name: str, node: str) -> None:
            machines.halt(next(guest.id for guest in cloud.guests.values() if guest.hostname == node))

        def stranger() -> Callable[[], bool]:
            """Two, and a key: one with a tag that begins like a cluster's, one whose order kept a mark that does."""
            api = make("three")._api
            spec = make("three")._spec("m1")
            for hostname, mark, tags in (
                ("archive", "", ["swarmbook-one-archive", "theirs"]),
                ("attic", "swarmbook-two-archive m3", ["theirs"]),
            ):
                api.tag(api.order(replace(spec, hostname=hostname, mark=mark), []), tags)
            api.register_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA someone", "swarmbook-one-archive", "theirs")
            theirs = {guest.id: (guest.hostname, list(guest.tags)) for guest in cloud.guests.values()}
            keys = dict(cloud.keys)

            def unharmed() -> bool:
                there = {id: (guest.hostname, list(guest.tags)) for id, guest in cloud.guests.items() if id in theirs}
                gone = {call.id for call in cloud.calls if call.name == "Virtual_Guest::deleteObject"}
                return there == theirs and keys.items() <= cloud.keys.items() and not gone & theirs.keys()

            return unharmed

        with Rehearsal(cloud) as rehearsal:
            yield World(
                make, stop, lambda name, nodes: Cluster(name, tmp_path).save_nodes(nodes, "softlayer"), stranger
            )
            for api in apis:
                api.close()
