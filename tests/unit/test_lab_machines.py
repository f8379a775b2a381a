"""The lab's machines, on an engine that is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from swarmbook.access.docker_api import Engine
from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, WorldError
from swarmbook.machines.lab import privileges
from swarmbook.machines.lab.machines import Machines


class Api:
    """The SDK's own client: one machine, whose execs answer what the test wants."""

    def __init__(self, folder: Path, answers: list[tuple[int, bytes]]) -> None:
        labels = {"swarmbook.cluster": "lab", "swarmbook.node": "n1", "swarmbook.folder": str(folder)}
        ports = {"22/tcp": [{"HostPort": "2201"}], "3306/tcp": [{"HostPort": "2202"}], "80/tcp": None}
        self.attrs = {
            "Id": "abcdef0123456789",
            "State": {"Status": "running"},
            "Config": {"Labels": labels},
            "NetworkSettings": {"Networks": {"swarmbook-lab": {"IPAddress": "10.0.0.2"}}, "Ports": ports},
        }
        self.answers = answers

    def networks(self, names: list[str] | None = None, filters: object = None) -> list[dict[str, object]]:
        return [{"Name": "swarmbook-lab", "Id": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]}}]

    def exec_create(self, container: str, command: list[str]) -> dict[str, str]:
        assert container == "swarmbook-lab-n1"
        return {"Id": "x"}

    base_url, api_version, timeout = "http+docker://localhost", "1.43", 60

    def _raise_for_status(self, answer: object) -> None:
        pass

    def post(self, url: str, **_: object) -> SimpleNamespace:
        said = self.answers[0][1]
        framed = b"\1\0\0\0" + len(said).to_bytes(4, "big") + said if said else b""
        return SimpleNamespace(content=framed, close=lambda: None)

    def exec_inspect(self, id: str) -> dict[str, int]:
        return {"ExitCode": self.answers.pop(0)[0]}


def engine_with(api: Api) -> Engine:
    listed = SimpleNamespace(list=lambda **_: [SimpleNamespace(attrs=api.attrs)])
    return Engine(SimpleNamespace(api=api, containers=listed), "this computer")


def test_an_answer_whose_text_was_lost_is_asked_for_again(tmp_path: Path) -> None:
    """Seen under fire: the engine gave exit code 0 and no output, and a machine without a host key is none that one may talk to."""
    api = Api(tmp_path, [(3, b"ssh-ed25519 AAAA root@n1\n"), (0, b""), (0, b"ssh-ed25519 AAAA root@n1\n")])
    node = Machines(engine_with(api), "lab", tmp_path).node("n1", 10)
    assert node.host_key == "ssh-ed25519 AAAA" and api.answers == [] and node.id == "abcdef012345"
    assert (node.ssh.port, {port: end.port for port, end in node.ports.items()}) == (2201, {3306: 2202})
    assert node.near == "10.0.0.1", "from there its published ports are reached"


def test_a_lab_of_another_folder_is_refused_by_its_code(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(ForeignData) as caught:
        Machines(engine_with(Api(tmp_path / "other", [])), "lab", tmp_path).all()
    assert caught.value.code is Code.LAB_OF_ANOTHER_FOLDER


class Lab:
    """An engine that keeps what it was asked to make, and refuses what a test says."""

    def __init__(self, refusals: dict[str, list[Exception]]) -> None:
        self.refusals = refusals
        self.code = 0
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, {**dict(enumerate(args)), **named}))
            if self.refusals.get(name):
                raise self.refusals[name].pop(0)
            made = {"Id": f"{name}-{len(self.calls)}"}
            answers: dict[str, Any] = {
                "info": {"CgroupVersion": "1"},
                "networks": [],
                "inspect_network": {**made, "Name": "n", "IPAM": {"Config": [{"Subnet": "172.30.0.0/16"}]}},
                "create_host_config": dict(named),
                "wait": {"StatusCode": self.code},
                "volumes": {"Volumes": [{"Name": "swarmbook-lab-n1-disk"}]},
            }
            return answers.get(name, made)

        return call

    def of(self, name: str) -> list[Any]:
        return [given for called, given in self.calls if called == name]


def refused(words: str) -> APIError:
    return APIError("500", explanation=words)


def machines(lab: Lab, folder: Path) -> Machines:
    return Machines(Engine(SimpleNamespace(api=lab), "this computer"), "lab", folder)


def test_a_machine_is_made_as_it_always_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_bounding_set", lambda: (1 << 38) - 1)
    lab = Lab({})
    machines(lab, tmp_path).create(
        "n1", "172.30.0.10", "node:1", 10, "ssh-ed25519 A", {22: 2201, 80: None}, disk="/dev/x"
    )
    (host,), (made,) = lab.of("create_host_config"), lab.of("create_container")
    assert host == {
        "binds": {"swarmbook-lab-n1-disk": {"bind": "/lab", "mode": "rw"}},
        "port_bindings": {22: ("127.0.0.1", 2201), 80: ("127.0.0.1", host["port_bindings"][80][1])},
        "tmpfs": {"/run": "", "/run/lock": "", "/tmp": ""},
        "privileged": True,
    }
    assert 20_000 <= host["port_bindings"][80][1] < 32_768, (
        "one that the engine picked would be another after a restart"
    )
    given = made["host_config"]
    assert given["CgroupnsMode"] == "private" and given["MaskedPaths"] == given["ReadonlyPaths"] == []
    assert (made[0], made["name"], made["hostname"], made["ports"]) == ("node:1", "swarmbook-lab-n1", "n1", [22, 80])
    assert made["environment"] == {
        "LAB_DISK_GB": "10",
        "LAB_DISK_LINK": "/dev/x",
        "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE": "1",
    }
    assert made["labels"]["swarmbook.address"] == "172.30.0.10" and made["labels"]["swarmbook.folder"] == str(tmp_path)
    assert lab.of("create_endpoint_config") == [{"ipv4_address": "172.30.0.10"}]
    assert [name for name, _ in lab.calls][-2:] == ["put_archive", "start"]


def test_without_all_capabilities_it_is_made_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privileges, "_bounding_set", lambda: (1 << 38) - 1)
    lab = Lab({"start": [refused("runc create failed: unable to apply caps: operation not permitted")]})
    machines(lab, tmp_path).create("n1", "172.30.0.10", "node:1", 10, "ssh-ed25519 A", {})
    first, second = lab.of("create_host_config")
    assert first["privileged"] and "privileged" not in second and "SYS_ADMIN" in second["cap_add"]
    assert len(lab.of("remove_container")) == 1


def test_one_that_does_not_start_is_not_left_behind(tmp_path: Path) -> None:
    lab = Lab({"start": [refused("no space left on device")]})
    with pytest.raises(WorldError) as caught:
        machines(lab, tmp_path).create("n1", "172.30.0.10", "node:1", 10, "ssh-ed25519 A", {})
    assert caught.value.code is Code.DISK_FULL and len(lab.of("remove_container")) == 1


def test_a_port_that_is_taken_is_left_to_its_owner(tmp_path: Path) -> None:
    words = (
        "driver failed programming external connectivity: Bind for 127.0.0.1:20001 failed: port is already allocated"
    )
    lab = Lab(
        {
            "start": [
                refused(words),
                refused("listen tcp4 127.0.0.1:20002: bind: address already in use: failed to bind host port"),
            ]
        }
    )
    with pytest.raises(WorldError) as caught:  # one that was asked for is not replaced by another
        machines(Lab({"start": [refused(words)]}), tmp_path).create(
            "n1", "172.30.0.10", "node:1", 10, "ssh-ed25519 A", {22: 20001}
        )
    assert caught.value.code is Code.LAB_PORT_TAKEN and "swarmbook explain lab-port-taken" in str(caught.value)
    machines(lab, tmp_path).create("n1", "172.30.0.10", "node:1", 10, "ssh-ed25519 A", {22: None, 80: None})
    drawn = [tuple(outer for _, outer in host["port_bindings"].values()) for host in lab.of("create_host_config")]
    assert len(drawn) == 3 and len(set(drawn)) == 3 and len(lab.of("remove_container")) == 2


def test_a_subnet_that_another_lab_took_in_between_is_left_to_it(tmp_path: Path) -> None:
    lab = Lab({})
    taken = refused("invalid pool request: Pool overlaps with other one on this address space")
    lab.refusals["create_network"] = []
    calls = 0

    def create_network(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise taken
        return {"Id": str(calls)}

    lab.create_network = create_network  # type: ignore[attr-defined]
    assert machines(lab, tmp_path).ensure_network() and calls == 4
    assert len(lab.of("remove_network")) == 2


def test_a_disk_whose_loop_device_stays_attached_is_kept(tmp_path: Path) -> None:
    """Without its file nothing could find the device again; the next run tries it once more."""
    lab = Lab({})
    lab.code = 1
    with pytest.raises(WorldError, match="cannot be detached, so the disk stays"):
        without_machines(lab, tmp_path).destroy("node:1")
    assert lab.of("remove_volume") == [] and len(lab.of("remove_container")) == 1
    lab.code = 0
    assert without_machines(lab, tmp_path).destroy("node:1") == ["disk swarmbook-lab-n1-disk"]
    assert len(lab.of("remove_volume")) == 1


def without_machines(lab: Lab, folder: Path) -> Machines:
    listed = SimpleNamespace(list=lambda **_: [])
    return Machines(Engine(SimpleNamespace(api=lab, containers=listed), "this computer"), "lab", folder)
