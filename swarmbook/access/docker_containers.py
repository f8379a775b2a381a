"""Containers, their networks and volumes on an engine: what the lab's machines are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmbook.access.docker_api import Engine
from swarmbook.access.docker_types import labels as read_labels
from swarmbook.access.probe import address, container_id, number, understood
from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.base.plain import plain
from swarmbook.base.wait import wait_for
from swarmbook.model.health import ContainerState

__all__ = ["Container", "ContainerSpec", "Containers", "Done", "Network", "Privileges", "run_in"]

_LOOPBACK = "127.0.0.1"
#: Seconds in which an engine notes that a command has ended which says nothing more.
_ENDED_S = 30.0
_ENGINE_NEXT = "docker info, and look at what answers there"


@dataclass(frozen=True)
class Container:
    """A container as its engine lists it.

    Args:
        id: Its short id.
        state: Whether it runs.
        labels: On it.
        addresses: By name of the network.
        ports: Where each of its TCP ports is published on this computer.
    """

    id: str
    state: ContainerState
    labels: Mapping[str, str]
    addresses: Mapping[str, str]
    ports: Mapping[int, int]


@dataclass(frozen=True)
class Privileges:
    """What a container may do to its kernel.

    Args:
        all: Everything, devices included; the other three do not count then.
        capabilities: Names without ``CAP_``.
        security: Options as of ``--security-opt``.
        devices: Rules as of ``--device-cgroup-rule``.
    """

    all: bool = False
    capabilities: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainerSpec:
    """A container to be made.

    Args:
        image: Tag or id.
        labels: For it.
        volumes: Folders in it by the volume that is mounted there.
        privileges: What it may do.
        name: Its name; empty: the engine picks one.
        hostname: What it calls itself; empty: its id.
        command: In place of the image's.
        environment: Variables.
        network: The network it is on; empty: the usual one.
        address: Its address there.
        publish: Its TCP ports, and where on 127.0.0.1; None: on a free one, another one after each start.
        tmpfs: Folders in memory.
        own_system: With a cgroup namespace of its own, and nothing of /proc and /sys hidden: for systemd and an engine in it.
    """

    image: str
    labels: Mapping[str, str]
    volumes: Mapping[str, str]
    privileges: Privileges
    name: str = ""
    hostname: str = ""
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    address: str = ""
    publish: Mapping[int, int | None] = field(default_factory=dict)
    tmpfs: Sequence[str] = ()
    own_system: bool = False


@dataclass(frozen=True)
class Network:
    """A network of an engine."""

    id: str
    name: str
    subnet: str


@dataclass(frozen=True)
class Done:
    """What became of a command in a container."""

    exit: int
    output: str

    @property
    def ok(self) -> bool:
        return self.exit == 0


class Containers:
    """The containers, networks and volumes of an engine; errors are as of :class:`~swarmbook.access.docker_api.Engine`.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def _api(self) -> Any:
        return self._engine.client.api

    # -- containers --------------------------------------------------------------------------------------------

    def all(self, *labels: str) -> list[Container]:
        """List the containers that carry all these labels (``name``, or ``name=value``), in whatever state."""
        with self._engine.asked("docker ps"):
            found = self._engine.client.containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True)
        with understood(self._engine.name, _ENGINE_NEXT):
            return [_container(entry.attrs) for entry in found]

    def any_runs(self) -> bool:
        """Tell whether any container runs on the engine, ours or not."""
        with self._engine.asked("docker ps"):
            return bool(self._api.containers())

    def get(self, name: str) -> Container:
        """Return a container by name or id.

        Raises:
            WorldError: There is none (``not-found``).
        """
        with self._engine.asked(f"docker inspect {name}"):
            found = self._api.inspect_container(name)
        with understood(self._engine.name, _ENGINE_NEXT):
            return _container(found)

    def create(self, spec: ContainerSpec) -> str:
        """Create a container; return its id."""
        with self._engine.asked(f"docker create {spec.name or spec.image}"):
            made = self._api.create_container(
                spec.image,
                list(spec.command) or None,
                name=spec.name or None,
                hostname=spec.hostname or None,
                labels=dict(spec.labels),
                environment=dict(spec.environment),
                ports=list(spec.publish) or None,
                host_config=self._host_config(spec),
                networking_config=self._network_config(spec),
            )
        return str(made["Id"])

    def _host_config(self, spec: ContainerSpec) -> dict[str, Any]:
        config = self._api.create_host_config(
            binds={volume: {"bind": folder, "mode": "rw"} for volume, folder in spec.volumes.items()},
            port_bindings={inner: (_LOOPBACK, outer) for inner, outer in spec.publish.items()} or None,
            tmpfs=dict.fromkeys(spec.tmpfs, "") or None,
            **_privileges(spec.privileges),
        )
        if spec.own_system:
            config["CgroupnsMode"] = "private"
            # What the client's `--security-opt systempaths=unconfined` sends: the inner engine writes below /proc and /sys.
            config["MaskedPaths"] = config["ReadonlyPaths"] = []
        return dict(config)

    def _network_config(self, spec: ContainerSpec) -> dict[str, Any] | None:
        if not spec.network:
            return None
        end = self._api.create_endpoint_config(ipv4_address=spec.address or None)
        return dict(self._api.create_networking_config({spec.network: end}))

    def start(self, name: str) -> None:
        """Start one by name or id; one that runs goes on.

        Raises:
            WorldError: The engine does not, for want of capabilities of its own (``capabilities-refused``), or for another reason.
        """
        try:
            with self._engine.asked(f"docker start {name}"):
                self._api.start(name)
        except WorldError as error:
            if "apply caps" in (error.seen or ""):  # runc's words
                error.code = Code.CAPABILITIES_REFUSED
            raise

    def kill(self, name: str) -> None:
        """End one at once, as if its power were cut; it stays, and can be started again."""
        with self._engine.asked(f"docker kill {name}"):
            self._api.kill(name)

    def put(self, name: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive in a folder of a container."""
        with self._engine.asked(f"docker cp - {name}:{folder}"):
            self._api.put_archive(name, folder, archive)

    def run(self, name: str, command: Sequence[str]) -> Done:
        """Run a command in a container that runs."""
        with self._engine.asked(f"docker exec {name}"):
            code, said = run_in(self._api, name, command)
        return Done(code, said.decode(errors="replace"))

    def wait(self, name: str, timeout_s: float) -> int:
        """Wait until a container has ended; return its exit code."""
        with self._engine.asked(f"docker wait {name}"):
            return int(self._api.wait(name, timeout=timeout_s)["StatusCode"])

    def remove(self, name: str, *, volumes: bool = False) -> None:
        """Remove one, also one that runs.

        Args:
            name: Its name or id.
            volumes: With its nameless volumes.
        """
        with self._engine.asked(f"docker rm {name}"):
            self._api.remove_container(name, force=True, v=volumes)

    # -- networks ----------------------------------------------------------------------------------------------

    def networks(self, *, label: str = "", name: str = "") -> list[Network]:
        """List the networks that carry a label, or have exactly this name."""
        filters = {"label": label} if label else None
        with self._engine.asked("docker network ls"):
            found = self._api.networks(names=[f"^{name}$"] if name else None, filters=filters)
        return [_network(entry) for entry in found]

    def create_network(self, name: str, labels: Mapping[str, str], subnet: str = "") -> Network:
        """Create a bridge.

        Args:
            name: Its name.
            labels: For it.
            subnet: Its addresses; empty: the engine picks them.

        Raises:
            WorldError: Another network has these addresses (``subnet-taken``).
        """
        import docker.types

        pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]) if subnet else None
        with self._engine.asked(f"docker network create {name}"):
            made = self._api.create_network(name, driver="bridge", labels=dict(labels), ipam=pool)
            return _network(self._api.inspect_network(made["Id"]))

    def remove_network(self, network: Network) -> None:
        """Remove a network."""
        with self._engine.asked(f"docker network rm {network.name}"):
            self._api.remove_network(network.id)

    # -- volumes -----------------------------------------------------------------------------------------------

    def volumes(self, *labels: str) -> list[str]:
        """List the names of the volumes that carry all these labels."""
        with self._engine.asked("docker volume ls"):
            found = self._api.volumes(filters={"label": list(labels)})["Volumes"]
        return [str(entry["Name"]) for entry in found or ()]

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a volume; one that is there stays."""
        with self._engine.asked(f"docker volume create {name}"):
            self._api.create_volume(name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        with self._engine.asked(f"docker volume rm {name}"):
            self._api.remove_volume(name, force=True)


def run_in(api: Any, name: str, command: Sequence[str]) -> tuple[int, bytes]:
    """Run a command in a container; return its exit code, and all that it said, errors too.

    docker-py's own ``exec_start`` (7.2.0) reads the socket below its HTTP client. What the client has read ahead, together with the
    header of the answer, is lost to it: the beginning of what was said, or all of it, and more often on a busy computer.

    Args:
        api: The SDK's low-level client.
        name: The container's name or id.
        command: Program and arguments.

    Raises:
        WaitTimeout: The engine never says how it ended.
    """
    id = api.exec_create(name, list(command))["Id"]
    url = f"{api.base_url}/v{api.api_version}/exec/{id}/start"
    answer = api.post(url, json={"Tty": False, "Detach": False}, stream=True, timeout=api.timeout)
    with contextlib.closing(answer):
        api._raise_for_status(answer)  # as docker-py's own methods do: its errors are known to `asked`
        framed: bytes = answer.content

    def ended() -> tuple[bool, int]:  # the engine notes it a moment after the last word
        code = api.exec_inspect(id)["ExitCode"]
        return code is not None, -1 if code is None else int(code)

    return wait_for(f"the end of {command[0]} in {name}", ended, timeout_s=_ENDED_S), b"".join(_frames(framed))


def _frames(framed: bytes) -> Iterator[bytes]:
    """Yield the contents of frames: each has a stream's number, three bytes of nothing, and its length before it.

    Source: https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container/operation/ContainerAttach, "Stream format".
    """
    at = 0
    while at + 8 <= len(framed):
        length = int.from_bytes(framed[at + 4 : at + 8], "big")
        yield framed[at + 8 : at + 8 + length]
        at += 8 + length


def _container(entry: Mapping[str, Any]) -> Container:
    settings = entry["NetworkSettings"]
    return Container(
        id=container_id(str(entry["Id"]))[:12],
        state=ContainerState.read(str(entry["State"]["Status"])),
        labels=read_labels(entry["Config"].get("Labels")),
        addresses={
            plain(name): address(end["IPAddress"]) if end.get("IPAddress") else ""
            for name, end in (settings.get("Networks") or {}).items()
        },
        ports={
            number(inner.split("/")[0], 65535): number(outer[0]["HostPort"], 65535)
            for inner, outer in (settings.get("Ports") or {}).items()
            if outer
        },
    )


def _network(entry: Mapping[str, Any]) -> Network:
    pools = (entry.get("IPAM") or {}).get("Config") or [{}]
    return Network(str(entry["Id"]), str(entry["Name"]), str(pools[0].get("Subnet") or ""))


def _privileges(wanted: Privileges) -> dict[str, Any]:
    if wanted.all:
        return {"privileged": True}
    return {
        "cap_add": list(wanted.capabilities),
        "security_opt": list(wanted.security),
        "device_cgroup_rules": list(wanted.devices),
    }
