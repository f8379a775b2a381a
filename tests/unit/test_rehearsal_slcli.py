"""The rehearsal of SoftLayer, asked by the real slcli in processes of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.machines.rehearsal import USERNAME, Cloud, Fault, MemoryMachines, Rehearsal

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm5hn7tLcyTyPHwZ1cWu9oTqGQ2nXm3Qd0p0r3m1cPZ someone"
#: The walkthrough's order, with a system that is offered.
ORDER = shlex.split(
    "vs create --hostname=sw1 --domain=example.com --cpu 2 --memory 4096 -o UBUNTU_22_64 --billing hourly --datacenter=dal10 --disk 25 --disk 100 "
    "--network 100 --vlan-public 2000001 --vlan-private 2000002 --tag lab --tag extra -k mine"
)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(MemoryMachines())


@pytest.fixture
def slcli(cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Runs it with a home and an environment of its own, and gives what it printed."""
    with Rehearsal(cloud) as rehearsal:

        def run(*arguments: str, exit: int = 0, wire: str = "xmlrpc", key: str = "") -> Any:
            lines = [
                "[softlayer]",
                f"username = {USERNAME}",
                f"api_key = {key or cloud.api_key}",
                f"endpoint_url = {getattr(rehearsal, wire)}",
                "timeout = 10",
            ]
            (tmp_path / ".softlayer").write_text("\n".join(lines) + "\n")
            environment = {
                "HOME": str(tmp_path),
                "PATH": os.environ["PATH"],
                "PYTHONWARNINGS": "ignore",
                "COLUMNS": "200",
            }
            command = [str(Path(sys.executable).with_name("slcli")), "-y", "--format", "json", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == exit, done.stdout + done.stderr
            if exit:
                return done.stdout + done.stderr
            return documents(done.stdout)

        yield run


def documents(text: str) -> Any:
    """What was printed: one JSON document, several (as `vs create` prints), or text."""
    found, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest and rest[0] in "[{":
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return text if not found else found[0] if len(found) == 1 else found


def test_the_walkthrough(slcli: Callable[..., Any], cloud: Cloud) -> None:
    assert "SSH key added: 45:28:4c" in slcli("sshkey", "add", "mine", "--key", KEY)
    assert [key["label"] for key in slcli("sshkey", "list")] == ["mine"]

    (tested,) = [document for document in [slcli(*ORDER, "--test")] if isinstance(document, list)]
    assert (
        tested[-1] == {"Cost": "0.090", "Description": "Total hourly cost"} and "REHEARSAL" in tested[0]["Description"]
    )
    assert cloud.guests == {}, "a test orders nothing"

    guests, costs = slcli(*ORDER)
    assert guests[0]["FQDN"] == "sw1.example.com" and costs[-1]["Cost"] == "0.090"
    (guest,) = cloud.guests.values()
    assert guest.tags == ["lab", "extra"] and cloud.machines.made[guest.id] == ("sw1", (KEY,), 100)  # type: ignore[attr-defined]

    (listed,) = slcli("vs", "list", "--tag", "lab", "--columns", "id,hostname,primary_ip,backend_ip,power_state,tags")
    assert (listed["hostname"], listed["primary_ip"], listed["backend_ip"], listed["power_state"]) == (
        "sw1",
        "203.0.113.2",
        "10.77.0.2",
        "Running",
    )
    assert slcli("vs", "list", "--tag", "other") == []
    assert "READY" in slcli("vs", "ready", "sw1")

    detail = slcli("vs", "detail", str(guest.id))
    assert (detail["fqdn"], detail["datacenter"], detail["os_version"], detail["tags"]) == (
        "sw1.example.com",
        "dal10",
        "UBUNTU_22_64",
        ["lab", "extra"],
    )
    assert "REHEARSAL" in detail["notes"] and [drive["Capacity"] for drive in detail["drives"]] == ["25 GB", "100 GB"]

    assert [vlan["Id"] for vlan in slcli("vlan", "list", "-d", "dal10")] == [2000001, 2000002]
    assert {tag["Tag"]: tag["Count"] for tag in slcli("tags", "list")} == {"lab": 1, "extra": 1}
    slcli("tags", "set", "-t", "only", "-k", "GUEST", "-r", str(guest.id))
    assert guest.tags == ["only"]

    slcli("vs", "cancel", str(guest.id))
    assert slcli("vs", "list") == [] and cloud.guests == {}
    slcli("sshkey", "remove", "mine")
    assert slcli("sshkey", "list") == []


def test_what_can_be_ordered(slcli: Callable[..., Any]) -> None:
    offered = json.dumps(slcli("vs", "create-options", "dal10", "--vsi-type", "CLOUD_SERVER"))
    for words in ("REHEARSAL dal10", "UBUNTU_22_64", "GUEST_CORES_2", "RAM_4_GB"):
        assert words in offered


def test_over_rest(slcli: Callable[..., Any], cloud: Cloud) -> None:
    slcli("sshkey", "add", "mine", "--key", KEY, wire="rest")
    slcli(*ORDER, wire="rest")
    assert [guest["hostname"] for guest in slcli("vs", "list", "-H", "sw1", wire="rest")] == ["sw1"]


def test_started_by_hand(tmp_path: Path) -> None:
    """What it names is the file that slcli wants, and only its owner may read it."""
    command = [str(Path(sys.executable).with_name("swarmbook")), "rehearse", "--serve"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "SWARMBOOK_HOME": str(tmp_path)},
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            file = Path(lines[1].split()[2])
            assert file.is_relative_to(tmp_path) and file.stat().st_mode & 0o777 == 0o600
            assert file.read_text().split("api_key = ")[1].split()[0] not in "".join(lines)
            environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SLCLI_CONFIG": str(file)}
            slcli = str(Path(sys.executable).with_name("slcli"))
            done = subprocess.run(
                [slcli, "--format", "json", "vs", "list"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert lines[0].startswith("# REHEARSAL") and done.returncode == 0 and json.loads(done.stdout) == []
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
    assert not file.exists()


def test_refusals_reach_the_person(slcli: Callable[..., Any], cloud: Cloud) -> None:
    assert "Authentication Failed" in slcli("sshkey", "list", key="wrong", exit=1), (
        "slcli knows the words Invalid API token."
    )
    slcli("sshkey", "add", "mine", "--key", KEY)
    cloud.faults.add(Fault("quota", "Product_Order::placeOrder"))
    assert "limit of virtual servers" in slcli(*ORDER, exit=1)
    place = ORDER.index("--datacenter=dal10")
    assert "no datacenter nowhere" in slcli(
        *ORDER[:place], "--datacenter=nowhere", *ORDER[place + 1 :], "--test", exit=1
    )
    assert cloud.guests == {}
