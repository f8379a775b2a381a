"""What 90 would really run: the things of a change, and nothing beside them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.probe import Probe
from swarmbook.base.codes import Code
from swarmbook.base.errors import WaitTimeout, WorldError
from swarmbook.model.change import Action, Change, Word
from swarmbook.model.health import EngineBefore
from swarmbook.params import Params
from swarmbook.phases.destroy import destroy
from swarmbook.phases.destroy import step as module
from swarmbook.phases.destroy.commands import COMMANDS, _empty
from swarmbook.phases.destroy.plan import plan_destroy, refuse_blind, refuse_mounted, refuse_taken
from swarmbook.phases.destroy.remains import Remains, remains_on
from swarmbook.phases.post_provision.disk_probe import Disk
from swarmbook.show.changes import sentence
from swarmbook.testing.errors import raises

from .doubles import Fleet, Host

SEEN = Remains(
    services=("galera_sw1",),
    up=True,
    swarm=True,
    containers=("galera_sw1.1.abc", "mine.2"),
    volumes=("galera-data",),
    images=("swarmbook/galera:1",),
    data="/srv/galera data",
    files=("/etc/docker/swarmbook", "/etc/swarmbook"),
    before=EngineBefore.ABSENT,
    disk="/dev/sdb",
    layers=("gpt:swarmbook-docker", "btrfs:docker"),
    wall=True,
    packages=("docker.io", "lvm2"),
    kept=("lvm2",),
    lists=("/etc/apt/sources.list.d/docker.sources",),
    family="debian",
)


def commands(action: Action, *things: str, remains: Remains = SEEN) -> list[str]:
    return [str(command) for command in COMMANDS[action](Change("sw1", action, things, Word.DESTROY), remains)]


def test_every_action_of_a_plan_has_its_commands() -> None:
    planned = {change.action for change in plan_destroy({"sw1": SEEN})} - {Action.REMOVE_SERVICES}
    assert planned == set(COMMANDS)
    assert all(change.word is Word.DESTROY for change in plan_destroy({"sw1": SEEN}))


def test_what_was_approved_is_what_is_named() -> None:
    assert commands(Action.REMOVE_DATA, "/srv/galera data") == ["rm -rf --one-file-system '/srv/galera data'"]
    assert commands(Action.REMOVE_VOLUMES, "a", "b") == ["docker volume rm -f a b >/dev/null"]
    assert commands(Action.REMOVE_IMAGES, "swarmbook/galera:1") == ["docker rmi -f swarmbook/galera:1 >/dev/null"]
    assert commands(Action.REMOVE_FILES, "/etc/swarmbook") == ["rm -rf /etc/swarmbook"]
    # The ids of tasks are others after a restart; of what was not approved none is named.
    assert commands(Action.REMOVE_CONTAINERS, "galera_sw1") == ["docker rm -f galera_sw1.1.abc >/dev/null 2>&1 || true"]
    (gone,) = commands(Action.REMOVE_PACKAGES, "docker.io", "/etc/apt/sources.list.d/docker.sources")
    assert "grep -xF \"$(printf '%s\\n' docker.io)\"" in gone and "rm -f $nuke" in gone and "lvm2" not in gone, (
        "what could go by now, and was not named"
    )
    assert "rm -rf /etc/apt/sources.list.d/docker.sources /etc/swarmbook-packages" in gone
    undone = "\n".join(commands(Action.UNDO_LAYOUT, "/dev/sdb", "gpt:swarmbook-docker"))
    assert "/dev/sdb" in undone and "/dev/sda" not in undone


def test_an_engine_that_held_other_things_keeps_them() -> None:
    emptied = ("/var/lib/docker", "/var/lib/containerd", "/opt/containerd")
    ours = "\n".join(commands(Action.SET_BACK_ENGINE, "absent", *emptied))
    running = "\n".join(commands(Action.SET_BACK_ENGINE, "running"))
    held = "\n".join(commands(Action.SET_BACK_ENGINE, "held"))
    for folder in emptied:
        assert f"find {folder} -xdev -mindepth 1 -delete" in ours
        assert f"find {folder}" not in running + held and f"{folder}/*" not in running + held
    assert "systemctl disable" in ours and "systemctl disable" in held and "systemctl disable" not in running
    assert "systemctl restart docker.service" in running and "restart" not in ours + held
    for script in (ours, running, held):
        assert "/etc/swarmbook" not in script.replace("/etc/docker/swarmbook", ""), "the record goes last"


def test_what_is_emptied_is_named() -> None:
    (change,) = (c for c in plan_destroy({"sw1": SEEN}) if c.action is Action.SET_BACK_ENGINE)
    assert sentence(change) == (
        "the engine set back to absent; /var/lib/docker, /var/lib/containerd, /opt/containerd emptied"
    )
    held = replace(SEEN, before=EngineBefore.HELD)
    (change,) = (c for c in plan_destroy({"sw1": held}) if c.action is Action.SET_BACK_ENGINE)
    assert sentence(change) == "the engine set back to stopped, with what it held"


@pytest.mark.parametrize("before", [EngineBefore.RUNNING, EngineBefore.HELD, None])
def test_an_engine_that_cannot_be_asked_is_not_taken_for_an_empty_one(before: EngineBefore | None) -> None:
    down = Remains(files=("/etc/docker/swarmbook", "/etc/swarmbook"), before=before)
    with pytest.raises(WorldError, match="cannot be listed; nothing was removed"):
        refuse_blind("sw1", down)
    refuse_blind("sw1", replace(down, up=True))
    refuse_blind("sw1", replace(down, before=EngineBefore.ABSENT))
    refuse_blind("sw1", replace(down, files=("/etc/swarmbook",)))  # killed after it was set back
    refuse_blind("sw1", Remains())


def test_nothing_is_emptied_across_a_mount() -> None:
    mounted = replace(SEEN, mounts=("/var/lib/docker/volumes/x/_data",))
    with pytest.raises(WorldError, match="mounted below the engine's folders") as refused:
        refuse_mounted("sw1", mounted)
    assert "umount /var/lib/docker/volumes/x/_data" in str(refused.value.next)
    refuse_mounted("sw1", SEEN)
    refuse_mounted("sw1", replace(mounted, before=EngineBefore.HELD))  # nothing is emptied there


def test_emptying_a_folder_leaves_what_is_mounted_below_it(tmp_path: Path) -> None:
    """As 90 runs it, with a findmnt that says so: the mount came after the plan."""
    folder = tmp_path / "docker"
    for file in ("volumes/theirs/_data/x", "image/y"):
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
    (tmp_path / "findmnt").write_text(
        f'#!/bin/sh\n[ -z "$MOUNTED" ] || echo {folder}/volumes/theirs/_data\necho {folder}\n'
    )
    (tmp_path / "findmnt").chmod(0o755)

    def run(mounted: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MOUNTED": mounted}
        return subprocess.run(["sh", "-c", _empty(str(folder))], env=path, capture_output=True, text=True, check=False)

    refused = run("yes")
    assert refused.returncode == 1 and "still mounted" in refused.stderr and (folder / "image/y").exists()
    assert run("").returncode == 0 and list(folder.iterdir()) == []


FAKES = {
    "systemctl": "exit 0",
    "docker": 'case "$*" in "$FAILS"*) echo "no answer" >&2; exit 1 ;; "ps -a "*) echo x/running/lab/ ;; volume*) echo x/lab/ ;; *) echo x ;; esac',
}


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the probe where an engine runs, and fails one of the commands."""
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def ask(fails: str, probe: Probe[Any] | None = None) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", (probe or remains_on("lab", "")).command]
        return subprocess.run(command, env={**environment, "FAILS": fails}, capture_output=True, text=True, check=False)

    return ask


@pytest.mark.parametrize("fails", ["info", "ps", "volume", "images"])
def test_a_listing_that_fails_ends_the_probe(asked: Callable[[str], Any], fails: str) -> None:
    done = asked(fails)
    assert done.returncode == 1 and "no answer" in done.stderr and done.stdout == ""


def test_an_engine_that_does_not_answer_has_not_stopped_its_tasks(asked: Callable[..., Any]) -> None:
    done = asked("ps", module._RUNNING)
    assert done.returncode == 1 and "no answer" in done.stderr
    assert module._RUNNING.answer(asked("-", module._RUNNING).stdout, "sw1") == ("x",)


def test_a_worker_cannot_list_services_and_that_is_no_failure(asked: Callable[[str], Any]) -> None:
    done = asked("service")
    seen = remains_on("lab", "").answer(done.stdout, "sw1")
    assert done.returncode == 0 and (seen.up, seen.services, seen.volumes) == (True, (), ("x",))


def test_only_what_was_planned_is_run(home: Path) -> None:
    fleet = Fleet({"sw1": Host("sw1", ("galera_sw1.1.x",), ()), "sw2": Host("sw2", ()), "sw3": Host("sw3")})
    book: Any = SimpleNamespace(fleet=fleet, params=Params(), cluster=Cluster("lab"))
    changes = [
        Change("cluster", Action.REMOVE_SERVICES, ("galera_sw1",), Word.DESTROY),
        Change("sw1", Action.REMOVE_VOLUMES, ("galera-data",), Word.DESTROY),
    ]
    destroy.apply(book, None, {"sw1": SEEN, "sw2": Remains(up=True), "sw3": Remains()}, changes)
    service, volume = fleet["sw1"].ran
    assert service == "docker service rm galera_sw1 >/dev/null"
    assert volume == "docker volume rm -f galera-data >/dev/null"
    # Where an engine runs, 90 waits for the tasks; it asks again while some are left.
    assert [len(host.asked) for host in fleet.values()] == [2, 1, 0]
    assert fleet["sw2"].ran == fleet["sw3"].ran == []


def test_tasks_that_do_not_stop_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STOPPED_WITHIN", 0)
    fleet = Fleet({"sw1": Host("sw1", ("galera_sw1.1.x",))})
    book: Any = SimpleNamespace(fleet=fleet, params=Params(), cluster=Cluster("lab"))
    changes = [
        Change("cluster", Action.REMOVE_SERVICES, ("galera_sw1",), Word.DESTROY),
        Change("sw1", Action.LEAVE_SWARM, (), Word.DESTROY),
    ]
    with pytest.raises(WaitTimeout, match="containers on sw1 have stopped") as caught:
        destroy.apply(book, None, {"sw1": SEEN}, changes)
    assert caught.value.seen == "galera_sw1.1.x"
    assert len(fleet["sw1"].ran) == 1


def test_containers_that_the_engine_is_removing_itself_are_waited_for(home: Path) -> None:
    """They hold the volumes, which go next."""
    fleet = Fleet({"sw1": Host("sw1", ("galera_sw1.1.x",), ("galera_sw1.1.x",), ())})
    book: Any = SimpleNamespace(fleet=fleet, params=Params(), cluster=Cluster("lab"))
    changes = [
        Change("sw1", Action.LEAVE_SWARM, (), Word.DESTROY),
        Change("sw1", Action.REMOVE_VOLUMES, ("galera-data",), Word.DESTROY),
    ]
    destroy.apply(book, None, {"sw1": SEEN}, changes)
    leave, remove, volumes = fleet["sw1"].ran
    assert leave.startswith("docker swarm leave --force") and remove.endswith("|| true")
    assert volumes == "docker volume rm -f galera-data >/dev/null"
    assert len(fleet["sw1"].asked) == 3 and all("docker ps --all " in command for command in fleet["sw1"].asked)


def test_an_action_of_another_step_touches_nothing(home: Path) -> None:
    fleet = Fleet({"sw1": Host("sw1")})
    book: Any = SimpleNamespace(fleet=fleet, params=Params(), cluster=Cluster("lab"))
    with pytest.raises(AssertionError, match="cannot be applied: wipe-disk"):
        destroy.apply(book, None, {"sw1": SEEN}, [Change("sw1", Action.WIPE_DISK, ("/dev/sda",), Word.DESTROY)])
    assert fleet["sw1"].ran == []


def test_a_layout_in_whose_place_something_else_is_mounted_is_left() -> None:
    refuse_taken("sw1", Disk("/dev/sdb"))
    with raises(Code.MOUNT_POINT_TAKEN, "sw1", "nfs files:/export", "undo_storage: false"):
        refuse_taken("sw1", Disk("/dev/sdb", taken="nfs files:/export"))


@pytest.mark.parametrize("before", EngineBefore)
def test_an_engine_is_set_back_to_what_it_was(before: EngineBefore) -> None:
    (script,) = commands(Action.SET_BACK_ENGINE, before.value)
    assert "mv -f /etc/docker/daemon.json.before-swarmbook /etc/docker/daemon.json;" in script
    # Of one that holds other things, the bridge that a swarm has left goes; one that is emptied loses all its links.
    assert ("docker network rm docker_gwbridge" in script) is not before.ours
    assert ("systemctl restart docker.service" in script) is (before is EngineBefore.RUNNING)
    assert ("systemctl disable -q --now docker.service" in script) is (before is not EngineBefore.RUNNING)


def test_an_engine_that_was_enabled_goes_on_upon_the_first_disk() -> None:
    assert "systemctl start docker.service" in commands(Action.UNDO_LAYOUT, "/dev/sdb", "btrfs:docker")[-1]
