"""Truth under fire: kernels, runners and helpers are killed at every border of the notebooks' cells and inside them.

After each kill nothing is claimed that a witness has not seen, every file is readable, and a resume ends in the same verified cluster.
`make test-live` takes a sample; `make fire` all of them (SWARMBOOK_FIRE=all), by the seed in SWARMBOOK_FIRE_SEED.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from .conftest import ROOT, Lab
from .fire import Fire, Outcome
from .kills import LIMIT, Journey, Kill, journeys, sample

SEED = int(os.environ.get("SWARMBOOK_FIRE_SEED", "905"))
ALL = os.environ.get("SWARMBOOK_FIRE") == "all"
JOURNEYS = journeys(SEED) if ALL else sample(SEED)


@pytest.fixture(scope="module")
def fire(
    make_lab: Callable[..., Lab], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fire]:
    results = ROOT / "fire-results" if ALL else tmp_path_factory.mktemp("fire")
    results.mkdir(exist_ok=True)
    began = time.monotonic()
    fire = Fire(make_lab(["n1", "n2"], swarm_managers=1, lab_disk_gb=3, mariadb_port=3306, wait_timeout=120), results)
    yield fire
    fire.close()
    fire.tell()
    seconds = time.monotonic() - began
    plugins = request.config.pluginmanager
    with plugins.get_plugin("capturemanager").global_and_fixture_disabled():
        terminal: Any = plugins.get_plugin("terminalreporter")
        terminal.write_line(f"\n{len(fire.outcomes)} kills of seed {SEED} in {seconds:.0f} s")
        for outcome in fire.outcomes if ALL else []:
            terminal.write_line(str(outcome))


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    "journey", JOURNEYS, ids=[f"{number}-{journey.kind}" for number, journey in enumerate(JOURNEYS, 1)]
)
def test_truth_under_fire(fire: Fire, journey: Journey, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    before = len(fire.outcomes)
    {"build": build, "rebuild": rebuild, "finished": finished, "cancel": cancel}[journey.kind](fire, journey, name)
    untrue = [str(outcome) for outcome in fire.outcomes[before:] if outcome.untruths]
    assert not untrue, "\n".join(untrue)


def chain(fire: Fire, kills: Sequence[Kill], name: str, *first: str) -> None:
    """Each run meets the next kill, each is resumed by the next, and the last one ends well."""
    command, waiting = first, list[Outcome]()
    if (
        len(kills) > 1 and kills[0].way == LIMIT and first[0] != "run"
    ):  # only `run` takes a time limit, also to resume the others
        kills = [kills[1], kills[0], *kills[2:]]
    for kill in kills:
        if waiting and (gone(fire) if first[0] == "cancel" else first[0] == "rebuild" and waiting[-1].exit_code == 0):
            # The last kill stopped nothing, or came when all was done: the next one needs something to take away.
            ready(fire)
            fire.identity.forget(machines=False)
            command = first
        waiting.append(fire.shoot(kill, name, True, *command))
        if kill.notebook < "90":
            fire.identity.note()
        command = fire.again(*command)
    if first[0] == "cancel" and gone(fire):
        fire.start("", *command)[0].wait().expect(0, "Nothing to cancel.")
    else:
        fire.run(*command)
    for outcome in waiting:
        outcome.resumed = "resumed"


def gone(fire: Fire) -> bool:
    return not fire.lab.folder.exists() and not fire.lab.leftovers()


def ready(fire: Fire) -> None:
    """A finished cluster, as it was left or as it has to be built."""
    if fire.identity.marker and fire.lab.folder.exists():
        return
    fire.identity.forget(machines=not fire.lab.folder.exists())
    fire.run("run")
    fire.identity.same()


def build(fire: Fire, journey: Journey, name: str) -> None:
    away = Journey("cancel", tuple(kill for kill in journey.kills if kill.notebook == "91"))
    if away.kills or fire.lab.folder.exists():
        cancel(fire, away, name)
    chain(fire, journey.kills[len(away.kills) :], name, "run")
    fire.same_cluster()
    fire.sweep()


def rebuild(fire: Fire, journey: Journey, name: str) -> None:
    ready(fire)
    fire.identity.forget(machines=False)
    chain(fire, journey.kills, name, "rebuild", "--yes")
    fire.same_cluster()
    fire.sweep()


def finished(fire: Fire, journey: Journey, name: str) -> None:
    ready(fire)
    for kill in journey.kills:
        command = ("run", "--only", kill.notebook)
        outcome = fire.shoot(kill, name, False, *command)

        def resume(outcome: Outcome = outcome, command: tuple[str, ...] = command) -> None:
            fire.run(*fire.again(*command))
            fire.same_cluster()

        fire.after(outcome, resume)
        fire.sweep()
    fire.nothing_to_change()


def cancel(fire: Fire, journey: Journey, name: str) -> None:
    ready(fire)
    kept = fire.lab.folder
    chain(fire, journey.kills, name, "cancel", "--yes")
    assert fire.lab.leftovers() == []
    assert not kept.exists()
    fire.identity.forget(machines=True)
    fire.sweep()
