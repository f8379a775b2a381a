"""What 90 would really run: the things of a change, and nothing beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.model.change import Action, Change, Word
from swarmbook.params import Params
from swarmbook.phases.destroy import COMMANDS, Remains, destroy, plan_destroy

SEEN = Remains(
    services=("galera_sw1",),
    swarm=True,
    containers=("galera_sw1.1.abc", "mine.2"),
    volumes=("galera-data",),
    images=("swarmbook/galera:1",),
    data="/srv/galera data",
    files=("/etc/docker/swarmbook", "/etc/swarmbook"),
    engine="absent",
    disk="/dev/sdb",
    layers=("gpt:swarmbook-docker", "btrfs:docker"),
)


def commands(action: Action, *things: str, remains: Remains = SEEN) -> list[str]:
    return [str(command) for command in COMMANDS[action](Change("sw1", action, things, Word.DESTROY), remains)]


def test_every_action_of_a_plan_has_its_commands() -> None:
    planned = {change.action for change in plan_destroy({"sw1": SEEN})} - {Action.REMOVE_SERVICES}
    assert planned == set(COMMANDS)
    assert all(change.word is Word.DESTROY for change in plan_destroy({"sw1": SEEN}))


def test_what_was_approved_is_what_is_named() -> None:
    assert commands(Action.REMOVE_DATA, "/srv/galera data") == ["rm -rf '/srv/galera data'"]
    assert commands(Action.REMOVE_VOLUMES, "a", "b") == ["docker volume rm -f a b >/dev/null"]
    assert commands(Action.REMOVE_IMAGES, "swarmbook/galera:1") == ["docker rmi -f swarmbook/galera:1 >/dev/null"]
    assert commands(Action.REMOVE_FILES, "/etc/swarmbook") == ["rm -rf /etc/swarmbook"]
    # The ids of tasks are others after a restart; of what was not approved none is named.
    assert commands(Action.REMOVE_CONTAINERS, "galera_sw1") == ["docker rm -f galera_sw1.1.abc >/dev/null 2>&1 || true"]
    undone = "\n".join(commands(Action.UNDO_LAYOUT, "/dev/sdb", "gpt:swarmbook-docker"))
    assert "/dev/sdb" in undone and "/dev/sda" not in undone


def test_an_engine_that_was_there_keeps_what_is_in_it() -> None:
    ours = "\n".join(commands(Action.SET_BACK_ENGINE, "absent"))
    theirs = "\n".join(commands(Action.SET_BACK_ENGINE, "running"))
    assert "find /var/lib/docker -mindepth 1 -delete" in ours and "systemctl disable" in ours
    assert "/var/lib/docker" not in theirs and "systemctl restart docker.service" in theirs
    for script in (ours, theirs):
        assert "/etc/swarmbook" not in script.replace("/etc/docker/swarmbook", ""), "the record goes last"


class Host:
    """Keeps what is run."""

    def __init__(self, name: str) -> None:
        self.name, self.ran = name, list[str]()

    def run(self, command: str, **_: Any) -> Any:
        self.ran.append(str(command))
        return SimpleNamespace(ok=True, stdout="")


class Fleet(dict[str, Host]):
    def each(self, work: Callable[[Host], Any], names: Iterable[str] | None = None) -> dict[str, Any]:
        return {name: work(self[name]) for name in (self if names is None else names)}


def test_only_what_was_planned_is_run(home: Path) -> None:
    fleet = Fleet({name: Host(name) for name in ("sw1", "sw2")})
    book: Any = SimpleNamespace(fleet=fleet, params=Params(), cluster=Cluster("lab"))
    changes = [
        Change("cluster", Action.REMOVE_SERVICES, ("galera_sw1",), Word.DESTROY),
        Change("sw1", Action.REMOVE_VOLUMES, ("galera-data",), Word.DESTROY),
    ]
    destroy.apply(book, None, {"sw1": SEEN, "sw2": Remains()}, changes)
    (service, wait, volume), (wait2,) = fleet["sw1"].ran, fleet["sw2"].ran
    assert service == "docker service rm galera_sw1 >/dev/null 2>&1"
    assert volume == "docker volume rm -f galera-data >/dev/null"
    assert wait == wait2 and "rm" not in wait.split()


def test_an_action_of_another_step_touches_nothing(home: Path) -> None:
    fleet = Fleet({"sw1": Host("sw1")})
    book: Any = SimpleNamespace(fleet=fleet, params=Params(), cluster=Cluster("lab"))
    with pytest.raises(AssertionError, match="cannot be applied: wipe-disk"):
        destroy.apply(book, None, {"sw1": SEEN}, [Change("sw1", Action.WIPE_DISK, ("/dev/sda",), Word.DESTROY)])
    assert fleet["sw1"].ran == []
