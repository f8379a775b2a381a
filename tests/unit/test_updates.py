"""When the swarm has replaced a service's containers: not before it has begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from swarmbook.access.docker_types import Service
from swarmbook.phases.support import updates
from swarmbook.phases.support.updates import Updates

ID = "a" * 25
OLD, NEW = {"ContainerSpec": {"Image": "old"}}, {"ContainerSpec": {"Image": "new"}}


def service(state: str | None, before: Mapping[str, Any] | None) -> Service:
    entry = {"ID": ID, "Spec": {"Name": "galera_sw1", "TaskTemplate": NEW}, "PreviousSpec": before}
    return Service.from_json({**entry, "UpdateStatus": {"State": state} if state else None})


@pytest.mark.parametrize(
    ("state", "before", "late"),
    [
        (None, None, None),  # new
        (None, {"TaskTemplate": NEW}, None),  # other labels, the same containers
        (None, {"TaskTemplate": OLD}, "not begun"),  # deployed just now: the one that answers is the old container
        ("updating", {"TaskTemplate": OLD}, "updating"),
        ("paused", {"TaskTemplate": OLD}, "paused"),
        ("completed", {"TaskTemplate": OLD}, None),
    ],
)
def test_what_is_not_through(state: str | None, before: Mapping[str, Any] | None, late: str | None) -> None:
    found = Updates().late({"sw1": service(state, before), "sw2": service("updating", None)}, ["sw1", "gone"])
    assert found == ({"sw1": late} if late else {})


def test_one_that_never_begins_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Updates()
    monkeypatch.setattr(updates, "_BEGINS_S", -1)
    assert asked.late({"sw1": service(None, {"TaskTemplate": OLD})}, ["sw1"]) == {}
