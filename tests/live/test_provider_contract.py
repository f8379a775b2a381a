"""The lab's provider and the generic one keep what every provider has to keep, with real machines."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.ssh_keys import generate_key, take_key
from swarmbook.book.book import Book
from swarmbook.machines.lab.hosts import stand_up, take_down
from swarmbook.machines.providers.generic import GenericProvider
from swarmbook.machines.providers.lab import LabProvider
from swarmbook.params import Params
from swarmbook.testing.provider import ProviderContract, World

from .conftest import LABEL, free_ports


def nodes_of(cluster: str) -> list[str]:
    """As the contract wants them: other names for the second cluster."""
    return [f"{'n' if cluster == 'one' else 'm'}{number}" for number in (1, 2, 3)]


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
                Book("01", Params(cluster=cluster.name, nodes=nodes_of(name), lab_disk_gb=1), cluster=cluster)
            )

        api, image = docker_engine.api, f"swarmbook-test-{mark}:stranger"

        def stranger() -> Callable[[], bool]:
            """A container whose name and label begin like those of a cluster's machines; it holds one empty file and runs nothing."""
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as archive:
                archive.addfile(tarfile.TarInfo("empty"))
            api.import_image_from_data(content.getvalue(), repository=image.partition(":")[0], tag="stranger")
            name, label = f"swarmbook-t-{mark}-one-n1-archive", {LABEL: f"t-{mark}-one-archive"}
            made = api.create_container(image, ["/empty"], name=name, labels=label)["Id"]
            return lambda: [entry["Id"] for entry in api.containers(all=True, filters={"name": f"^/{name}$"})] == [made]

        yield World(
            make,
            lambda name, node: docker_engine.api.stop(f"swarmbook-t-{mark}-{name}-{node}", timeout=30),
            lambda name, nodes: Cluster(f"t-{mark}-{name}", tmp_path).save_nodes(nodes, "lab"),
            stranger,
        )
        for entry in api.containers(all=True, filters={"label": f"{LABEL}=t-{mark}-one-archive"}):
            api.remove_container(entry["Id"])
        if api.images(image):
            api.remove_image(image)
        for name in set(made):
            make(name).destroy()


class TestGeneric(ProviderContract):
    @pytest.fixture
    def world(self, tmp_path: Path, docker_engine: Any) -> Iterator[World]:
        mark = secrets.token_hex(3)
        ports = free_ports(3)

        def params(name: str) -> Params:
            names = nodes_of(name)
            hosts = [f"{node}=deploy@127.0.0.1:{port}" for node, port in zip(names, ports)]
            return Params(
                cluster=f"t-{mark}-{name}",
                nodes=names,
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

        def stranger() -> Callable[[], bool]:
            """The second host: it is in the parameters of both, and in neither cluster."""
            before = docker_engine.api.inspect_container(container("n2"))["State"]["StartedAt"]

            def unharmed() -> bool:
                state = docker_engine.api.inspect_container(container("n2"))["State"]
                return (state["Running"], state["StartedAt"]) == (True, before)

            return unharmed

        stand_up(params("one"), tmp_path)
        yield World(
            make,
            stop=lambda name, node: docker_engine.api.stop(container(node), timeout=30),
            keep=lambda name, nodes: Cluster(f"t-{mark}-{name}", tmp_path).save_nodes(nodes, "generic"),
            stranger=stranger,
            start=lambda name, node: docker_engine.api.start(container(node)),
            theirs=True,
        )
        take_down(params("one"), tmp_path)
