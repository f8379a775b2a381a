"""The account of a rehearsal, kept in a file between processes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from swarmbook.machines.rehearsal import USERNAME, AccountFile, Cloud, Fault, MemoryMachines, ServiceError
from swarmbook.machines.rehearsal import service as rehearsal
from swarmbook.machines.rehearsal.cloud import Call

ORDER = {
    "hostname": "sw1", "domain": "example.com", "startCpus": 2, "maxMemory": 4096, "localDiskFlag": True, "hourlyBillingFlag": True,
    "operatingSystemReferenceCode": "UBUNTU_22_64", "datacenter": {"name": "dal10"}, "networkComponents": [{"maxSpeed": 100}],
    "blockDevices": [{"device": "0", "diskImage": {"capacity": 25}}, {"device": "2", "diskImage": {"capacity": 100}}],
}  # fmt: skip


def ask(cloud: Cloud, name: str, *args: object, id: int | None = None) -> object:
    mask = (
        "mask[id,provisionDate,activeTransaction[transactionStatus[friendlyName]],blockDevices[device]]"
        if "getVirtualGuests" in name
        else ""
    )
    return cloud.call(Call(name, id, args, mask, username=USERNAME, api_key=cloud.api_key)).value


def test_what_one_process_ordered_another_one_cancels(tmp_path: Path) -> None:
    file, machines = tmp_path / "account.json", MemoryMachines()
    first = Cloud(machines, file=AccountFile(file))
    made = ask(first, "Virtual_Guest::createObject", ORDER)
    assert isinstance(made, dict)
    assert "REHEARSAL" in json.loads(file.read_text())["what"]
    second = Cloud(machines, file=AccountFile(file))
    listed = ask(second, "Account::getVirtualGuests")
    assert isinstance(listed, list) and [guest["id"] for guest in listed] == [made["id"]]
    assert listed[0]["provisionDate"] and listed[0]["blockDevices"][1]["device"] == "2"
    assert ask(second, "Virtual_Guest::deleteObject", id=made["id"]) is True
    assert ask(first, "Account::getVirtualGuests") == []
    assert not file.exists()  # nothing is left to remember


def test_it_comes_up_in_its_time_however_soon_its_machine_does(tmp_path: Path) -> None:
    file = AccountFile(tmp_path / "account.json", up_s=600)
    cloud = Cloud(MemoryMachines(), file=file)
    ask(cloud, "Virtual_Guest::createObject", ORDER)
    (guest,) = ask(cloud, "Account::getVirtualGuests")  # type: ignore[misc]
    assert guest["activeTransaction"]["transactionStatus"]["friendlyName"] == "Assign Host" and not guest.get(
        "provisionDate"
    )
    with file.held() as account:
        account.up_s = 0
    (guest,) = ask(cloud, "Account::getVirtualGuests")  # type: ignore[misc]
    assert guest["provisionDate"] and "activeTransaction" not in guest


def test_faults_are_counted_off_over_processes(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal" / "account.json"
    assert rehearsal.set_up(tmp_path, up_s=5, faults=[Fault.parse("quota,on=Virtual_Guest::createObject,times=2")]) == (
        5, ["quota on Virtual_Guest::createObject, 2 more times"],
    )  # fmt: skip
    for left in ("1 more times", ""):
        with pytest.raises(ServiceError, match="limit of virtual servers"):
            ask(Cloud(MemoryMachines(), file=AccountFile(path, 20)), "Virtual_Guest::createObject", ORDER)
        assert left in "".join(rehearsal.set_up(tmp_path)[1])
    assert rehearsal.set_up(tmp_path, up_s=20) == (20, [])
    assert not path.exists()


def test_a_file_that_is_no_account(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format 99"), AccountFile(tmp_path / "account.json").held():
        pass
    assert (tmp_path / "account.json").read_text() == '{"format": 99}'


@pytest.mark.parametrize("text", ["", "nonsense", "quota,times", "quota,kind=slow", "quota,colour=green"])
def test_what_is_no_fault(text: str) -> None:
    with pytest.raises(ValueError, match="wanted KIND"):
        Fault.parse(text)


def test_an_id_is_never_given_twice(tmp_path: Path) -> None:
    """What serves an account while another process empties it would take a new instance for one that has ended."""
    machines, file = MemoryMachines(), tmp_path / "account.json"
    serving = Cloud(machines, file=AccountFile(file))
    first = ask(serving, "Virtual_Guest::createObject", ORDER)["id"]  # type: ignore[index]
    ask(serving, "Virtual_Guest::deleteObject", id=first)
    assert ask(serving, "Account::getVirtualGuests") == [] and not file.exists()
    until = time.time() + 3
    while int(time.time()) == int(until) - 3:  # an account is begun at most once a second
        time.sleep(0.01)
    second = ask(serving, "Virtual_Guest::createObject", ORDER)["id"]  # type: ignore[index]
    (guest,) = ask(serving, "Account::getVirtualGuests")  # type: ignore[misc]
    assert second != first and guest["provisionDate"]
