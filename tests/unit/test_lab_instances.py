"""Lab machines as instances, on an engine that is made up: what goes wrong behind the scenes is reported, and tried again where it may be."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from swarmbook.machines.lab.machines import Machine
from swarmbook.machines.rehearsal import Condition, instances
from swarmbook.machines.rehearsal.instances import LabInstances
from swarmbook.model.health import MachineState


class Engine:
    """Stands for :class:`swarmbook.machines.lab.machines.Machines`; ``troubles`` are raised one after the other."""

    def __init__(self) -> None:
        self.there: dict[str, Machine] = {}
        self.troubles: list[Exception] = []
        self.engine = object()

    def __call__(self, client: Any, name: str, folder: Path) -> Engine:
        return self

    def all(self) -> list[Machine]:
        return list(self.there.values())

    def ensure_network(self) -> None:
        pass

    def addresses(self, names: list[str]) -> dict[str, str]:
        return {name: f"10.0.0.{at}" for at, name in enumerate(names, 10)}

    def create(self, name: str, address: str, *_: Any, **__: Any) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.there[name] = Machine(name, "abc", MachineState.RUNNING, address, {})

    def remove(self, name: str, image: str | None) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        del self.there[name]

    def destroy(self, image: str | None) -> list[str]:
        return []


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(instances, "Machines", engine)
    monkeypatch.setattr(instances, "local_engine", lambda: engine.engine)
    monkeypatch.setattr(instances, "ensure_engine", lambda: engine.engine)
    monkeypatch.setattr(instances, "ensure_image", lambda *_: ("node", False))
    monkeypatch.setattr(instances, "node_image", lambda _: None)
    monkeypatch.setattr(instances, "_FRESH_S", 0.0)
    return engine


def until(lab: LabInstances, id: int, wanted: str) -> list[Condition]:
    """All that it says until it is ``wanted``."""
    seen = []
    limit = time.monotonic() + 120
    while not seen or not getattr(seen[-1], wanted):
        assert time.monotonic() < limit, seen
        seen.append(lab.condition(id))
        time.sleep(0.002)
    return seen


def test_ending_is_tried_again_and_says_what_was_in_the_way(engine: Engine, tmp_path: Path) -> None:
    lab = LabInstances("rehearsal", tmp_path, "debian")
    lab.begin(1, "sw1", ("ssh-ed25519 A",), 10)
    assert until(lab, 1, "running")[-1].private_address == "10.0.0.10"
    engine.troubles = [RuntimeError("the engine is busy")]
    lab.end(1)
    seen = until(lab, 1, "gone")
    assert any("the engine is busy" in condition.doing for condition in seen) and not engine.there


def test_a_machine_that_cannot_be_made_is_told(engine: Engine, tmp_path: Path) -> None:
    engine.troubles = [RuntimeError("no room")]
    lab = LabInstances("rehearsal", tmp_path, "debian")
    lab.begin(1, "sw1", (), 10)
    with pytest.raises(RuntimeError, match="no room"):
        until(lab, 1, "running")
    lab.end(1)
    assert until(lab, 1, "gone")


def test_addresses_of_machines_that_are_being_made_are_taken(engine: Engine, tmp_path: Path) -> None:
    lab = LabInstances("rehearsal", tmp_path, "debian")
    for id in (1, 2, 3):
        lab.begin(id, f"sw{id}", (), 10)
    addresses = {until(lab, id, "running")[-1].private_address for id in (1, 2, 3)}
    assert len(addresses) == 3


def test_one_that_was_made_by_another_process_is_found(engine: Engine, tmp_path: Path) -> None:
    LabInstances("rehearsal", tmp_path, "debian").begin(1, "sw1", (), 10)
    other = LabInstances("rehearsal", tmp_path, "debian")
    until(other, 1, "running")
    other.begin(1, "sw1", (), 10)
    assert until(other, 1, "running") and len(engine.there) == 1
