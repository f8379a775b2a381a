"""daemon.json is merged: what is not ours stays, and a second merge changes nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmbook.access.node import Endpoint, Node
from swarmbook.base.errors import WorldError
from swarmbook.params import Params
from swarmbook.phases.engine import step
from swarmbook.phases.engine.api import api_address, api_names
from swarmbook.phases.engine.probe import Engine
from swarmbook.phases.engine.step import drop_in_for, merge_settings, settings_for

MakeNode = Callable[..., Node]
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
labels = st.lists(st.sampled_from(["rack=7", "dc=old", "dc", "instance_type=x", "ssd", ""]), max_size=4)
options = st.dictionaries(st.sampled_from(["max-size", "max-file", "tag", "compress"]), st.text(max_size=4), max_size=3)
daemon = st.fixed_dictionaries(
    {},
    optional={
        "labels": labels, "log-opts": options, "log-driver": st.sampled_from(["json-file", "journald"]), "dns": st.lists(st.text(max_size=8), max_size=2),
        "registry-mirrors": values, "data-root": values, "storage-driver": values, "tlsverify": values, "insecure-registries": values,
    },
)  # fmt: skip


@pytest.fixture
def ours(node: MakeNode) -> dict[str, Any]:
    return settings_for(Params(datacenter="ams3").view("03"), node(), ("192.0.2.53",))


def test_what_is_wanted(node: MakeNode) -> None:
    params = Params(dns_primary="9.9.9.9", log_max_size="5m", storage_driver="btrfs").view("03")
    settings = settings_for(params, node(), ("192.0.2.53",))
    assert settings["dns"] == ["10.9.0.1", "9.9.9.9"]
    assert settings["log-opts"] == {"max-size": "5m", "max-file": "3"}
    assert settings["storage-driver"] == "btrfs"
    assert settings["dns-search"] == ["service.consul"]
    assert settings["tlsverify"] is True


def test_the_nodes_own_name_servers_are_taken_when_none_is_given(node: MakeNode) -> None:
    params = Params(dns_search_domain="").view("03")
    settings = settings_for(params, node(), ("127.0.0.53", "::1", "192.0.2.53", "10.9.0.1"))
    assert settings["dns"] == ["10.9.0.1", "192.0.2.53"]
    assert "dns-search" not in settings


@given(daemon)
def test_foreign_keys_survive(ours: dict[str, Any], existing: dict[str, Any]) -> None:
    merged = json.loads(merge_settings("sw1", json.dumps(existing), ours))
    assert {k: v for k, v in merged.items() if k not in ours} == {k: v for k, v in existing.items() if k not in ours}
    assert all(merged[k] == v for k, v in ours.items() if k not in ("labels", "log-opts"))
    kept = [label for label in existing.get("labels", []) if label.partition("=")[0] not in ("dc", "instance_type")]
    assert merged["labels"] == [*kept, "dc=ams3", "instance_type=lab"]
    assert ours["log-opts"].items() <= merged["log-opts"].items()
    if existing.get("log-driver") != "json-file":
        assert merged["log-opts"] == ours["log-opts"]  # another driver's options would keep the engine from starting
    else:
        assert existing.get("log-opts", {}).keys() <= merged["log-opts"].keys()


@given(daemon)
def test_a_second_merge_changes_nothing(ours: dict[str, Any], existing: dict[str, Any]) -> None:
    once = merge_settings("sw1", json.dumps(existing), ours)
    assert merge_settings("sw1", once, ours) == once
    assert merge_settings("sw1", json.dumps(json.loads(once)), ours) == once


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_nothing_there(ours: dict[str, Any], text: str) -> None:
    assert json.loads(merge_settings("sw1", text, ours)) == ours


@pytest.mark.parametrize("text", ["{", "[]", "null", "7", "{'a': 1}"])
def test_what_cannot_be_merged_into(ours: dict[str, Any], text: str) -> None:
    with pytest.raises(WorldError, match="were left alone"):
        merge_settings("sw1", text, ours)


@pytest.mark.parametrize("key", ["labels", "log-opts"])
@pytest.mark.parametrize("value", [None, "text", 7, [1]])
def test_our_own_keys_holding_nonsense(ours: dict[str, Any], key: str, value: Any) -> None:
    """Replaced or refused; the engine would not have started with it."""
    existing = json.dumps({"log-driver": "json-file", key: value})
    try:
        merged = json.loads(merge_settings("sw1", existing, ours))
    except WorldError:
        return
    assert merged[key] == ours[key]


def test_addresses_in_the_file_cannot_stand_beside_those_on_the_command_line(ours: dict[str, Any]) -> None:
    """dockerd refuses `hosts` in daemon.json together with the unit's -H; the API's address is in the unit."""
    with pytest.raises(WorldError, match="hosts"):
        merge_settings("sw1", '{"hosts": ["unix:///var/run/docker.sock"]}', ours)


def test_the_drop_in_empties_the_start_line_first() -> None:
    text = drop_in_for("/usr/sbin/dockerd -H fd:// $DOCKER_OPTS", Endpoint("10.9.0.1", 2376))
    assert text.splitlines() == [
        "[Service]",
        "ExecStart=",
        "ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS -H tcp://10.9.0.1:2376",
    ]


def test_names_of_the_certificate(node: MakeNode) -> None:
    """Not the loopback, where tunnels to every node end, nor the public address, where it does not listen."""
    assert api_names(node()) == ["sw1", "10.9.0.1"]


def test_where_an_engine_listens(node: MakeNode) -> None:
    """Never on all addresses: the private one of a lab machine, else the loopback alone."""
    assert api_address(node(), 2376) == "10.9.0.1"
    assert api_address(node(tunnel=True), 2376) == "127.0.0.1"


@pytest.mark.parametrize(
    ("engine", "file", "was"),
    [
        (Engine(), "", "absent"),
        (Engine(version="26.1"), "", "stopped"),
        (Engine(version="26.1"), "image/overlay2/repositories.json", "stopped"),
        (Engine(version="26.1"), "volumes/metadata.db", "stopped"),
        (Engine(version="26.1"), "volumes/theirs/_data/x", "held"),
        (Engine(version="26.1"), "containers/abc/config.v2.json", "held"),
        (Engine(version="26.1"), "image/overlay2/imagedb/content/sha256/abc", "held"),
        (Engine(version="26.1", active=True), "volumes/theirs/_data/x", "running"),
    ],
)
def test_the_record_says_what_the_engine_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, file: str, was: str
) -> None:
    record = tmp_path / "etc" / "engine-before"
    for name, path in {
        "MOUNT_POINT": tmp_path / "data", "_RECORD": record, "SETTINGS": tmp_path / "daemon.json", "_BEFORE": tmp_path / "before",
    }.items():  # fmt: skip
        monkeypatch.setattr(step, name, str(path))
    if file:
        (tmp_path / "data" / file).parent.mkdir(parents=True)
        (tmp_path / "data" / file).write_text("")
    (tmp_path / "daemon.json").write_text("theirs")
    subprocess.run(["sh", "-c", step._keep_record(engine)], check=True)
    assert record.read_text().strip() == was and (tmp_path / "before").read_text() == "theirs"
    # A second run finds an engine that the book has set up: the first word stands.
    (tmp_path / "daemon.json").write_text("ours")
    subprocess.run(["sh", "-c", step._keep_record(Engine(version="26.1", active=True))], check=True)
    assert record.read_text().strip() == was and (tmp_path / "before").read_text() == "theirs"


@pytest.mark.parametrize(
    ("status", "well"),
    [
        ("Up 3 seconds", True),
        ("Up 5 days (healthy)", True),
        ("Up 1 second (health: starting)", False),
        ("Up 2 hours (unhealthy)", False),
        ("Restarting (1) 2 seconds ago", False),
        ("Exited (137) 2 minutes ago", False),
        ("Created", False),
    ],
)
def test_only_a_task_that_was_well_is_waited_for_when_its_engine_restarts(status: str, well: bool) -> None:
    assert step._well(status) is well
