"""A rehearsal lets in a caller with its key, and no other user of this computer: its instances are machines with root's rights."""

from __future__ import annotations

import http.client
import json
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmbook.machines.rehearsal import USERNAME, Cloud, Fault, MemoryMachines, Rehearsal
from swarmbook.machines.rehearsal.account import Account, AccountFile
from swarmbook.machines.rehearsal.door import kept_key, new_key, shown_to_slcli
from swarmbook.machines.rehearsal.service import endpoint

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA someone"


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(MemoryMachines(), faults=[Fault("quota", times=1)])


@pytest.fixture
def rehearsal(cloud: Cloud) -> Iterator[Rehearsal]:
    with Rehearsal(cloud) as rehearsal:
        yield rehearsal


def register(rehearsal: Rehearsal, username: str, key: str) -> object:
    """What the review did as another user: register a key of one's own, then order a machine with it."""
    proxy = xmlrpc.client.ServerProxy(f"{rehearsal.xmlrpc}/SoftLayer_Security_Ssh_Key")
    with proxy:
        headers = {"headers": {"authenticate": {"username": username, "apiKey": key}}}
        return proxy.createObject(headers, {"label": "mine", "key": PUBLIC})


def test_the_key_of_before_opens_nothing(rehearsal: Rehearsal, cloud: Cloud) -> None:
    for username, key in [
        ("rehearsal", "REHEARSAL" + "0" * 55),
        ("", ""),
        ("apikey", ""),
        (USERNAME, new_key()),
        ("root", rehearsal.key),
    ]:
        with pytest.raises(xmlrpc.client.Fault, match="Invalid API token"):
            register(rehearsal, username, key)
    assert not cloud.keys and not cloud.calls, "nothing of a stranger's is kept"
    assert [left for _, left in cloud.faults.left()] == [1], "nor counted"


def test_every_process_draws_another() -> None:
    keys = {Cloud(MemoryMachines()).api_key for _ in range(20)}
    assert len(keys) == 20 and {len(key) for key in keys} == {64}


def asked(rehearsal: Rehearsal, headers: dict[str, str], body: bytes = b"") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", int(rehearsal.url.rpartition(":")[2]), timeout=30)
    try:
        connection.putrequest("POST", "/rest/v3.1/SoftLayer_Account/getObject.json", skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_page_that_calls_by_a_name_of_its_own(rehearsal: Rehearsal) -> None:
    """DNS rebinding: the browser of the person who rehearses asks, and its page reads the answer."""
    port = rehearsal.url.rpartition(":")[2]
    for name in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1.evil.example:{port}", ""):
        assert asked(rehearsal, {"Host": name, "Content-Length": "0"}) == 421, name
    assert asked(rehearsal, {}) == 421
    for name in ("127.0.0.1", "localhost"):
        assert asked(rehearsal, {"Host": f"{name}:{port}", "Content-Length": "0"}) == 401


def test_a_call_that_would_fill_the_memory(rehearsal: Rehearsal) -> None:
    host = rehearsal.url.removeprefix("http://")
    for length in ("99999999999", "-1", "0" * 30 + "9" * 9, "1e3", "\u0661".encode().decode("latin-1")):
        assert asked(rehearsal, {"Host": host, "Content-Length": length}) == 413, length


def test_the_file_for_slcli(rehearsal: Rehearsal, tmp_path: Path) -> None:
    assert endpoint(rehearsal.xmlrpc, tmp_path, "x") == (rehearsal.xmlrpc, "")
    with shown_to_slcli(tmp_path, rehearsal.xmlrpc, rehearsal.key) as file:
        assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
        assert kept_key(tmp_path, rehearsal.xmlrpc) == rehearsal.key
        assert endpoint(rehearsal.xmlrpc, tmp_path, "x") == (rehearsal.xmlrpc, rehearsal.key)
        assert kept_key(tmp_path, "http://127.0.0.1:9/xmlrpc/v3.1") == ""
    assert not file.exists() and kept_key(tmp_path, rehearsal.xmlrpc) == ""


def test_the_account_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal" / "account.json"
    with AccountFile(path).held() as account:
        assert isinstance(account, Account)
        account.up_s = 5
    assert json.loads(path.read_text())["up_s"] == 5
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
