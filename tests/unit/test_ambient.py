"""The engine that a shell was pointed at is not this computer's own, and "could not look" is not "nothing there"."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from swarmbook.access.ambient import own_environment
from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import EngineUnavailable, ParameterError, WorldError
from swarmbook.book.book import Book
from swarmbook.cli import main
from swarmbook.machines import host_engine
from swarmbook.machines.providers import lab
from swarmbook.machines.providers.lab import LabProvider
from swarmbook.params import Params, load_params

NODE = {
    "DOCKER_HOST": "tcp://172.20.0.2:2376",
    "DOCKER_TLS_VERIFY": "1",
    "DOCKER_CERT_PATH": "/x/docker",
    "HOME": "/root",
}


def test_what_env_has_set_is_left_out() -> None:
    assert own_environment({**NODE, "SWARMBOOK_NODE_ENGINE": NODE["DOCKER_HOST"], "SWARMBOOK_OWN_ENGINE": ""}).keys() == {
        "HOME", "SWARMBOOK_NODE_ENGINE", "SWARMBOOK_OWN_ENGINE",
    }  # fmt: skip


def test_what_was_there_before_env_counts_again() -> None:
    before = own_environment(
        {
            **NODE,
            "SWARMBOOK_NODE_ENGINE": NODE["DOCKER_HOST"],
            "SWARMBOOK_OWN_ENGINE": "unix:///run/user/1000/docker.sock",
        }
    )
    assert before["DOCKER_HOST"] == "unix:///run/user/1000/docker.sock" and "DOCKER_TLS_VERIFY" not in before


@pytest.mark.parametrize(
    "other", [{}, {"SWARMBOOK_NODE_ENGINE": ""}, {"SWARMBOOK_NODE_ENGINE": "tcp://172.20.0.3:2376"}]
)
def test_what_a_person_has_set_stays(other: dict[str, str]) -> None:
    assert own_environment({**NODE, **other}) == {**NODE, **other}


class Engine:
    """An engine as far as its identity goes."""

    def __init__(self, id: str, *labels: str) -> None:
        self.about = lambda: SimpleNamespace(id=id, labels=labels)


@pytest.fixture
def provider(home: Path) -> LabProvider:
    return LabProvider(Book("91", Params(), cluster=Cluster("lab", home)))


def on(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    for module in (lab, host_engine):
        monkeypatch.setattr(module, "local_engine", lambda: engine)
    monkeypatch.setattr(lab, "Machines", lambda engine, name, folder: SimpleNamespace(parts=lambda: ["machine sw1"]))


def test_machines_that_no_engine_says_anything_of_are_not_taken_for_gone(
    provider: LabProvider, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, None)
    assert provider.doomed() == [] == provider.destroy(), "a cluster that never had any"
    (home / "clusters" / "lab").mkdir(parents=True)
    (home / "clusters" / "lab" / "engine").write_text("ONE\n")
    for what in (provider.doomed, provider.destroy):
        with pytest.raises(EngineUnavailable, match="no engine says what is left"):
            what()


def test_another_engine_holds_nothing_of_ours(
    provider: LabProvider, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "clusters" / "lab").mkdir(parents=True)
    (home / "clusters" / "lab" / "engine").write_text("ONE\n")
    on(monkeypatch, Engine("ONE", "dc=lab1", "instance_type=lab"))
    assert provider.doomed() == ["machine sw1"]
    on(monkeypatch, Engine("OTHER"))
    for what in (provider.doomed, provider.machines, provider.destroy):
        with pytest.raises(WorldError, match="not the engine on which") as caught:
            what()
        assert (caught.value.wanted, caught.value.seen) == ("engine ONE", "engine OTHER")


def test_no_lab_is_made_in_a_node(provider: LabProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, Engine("ONE", "dc=lab1", "instance_type=lab"))
    with pytest.raises(WorldError, match="a node of a cluster that swarmbook has built"):
        provider.machines()
    on(monkeypatch, Engine("ONE", "dc=theirs"))
    assert provider.doomed() == ["machine sw1"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\n\n"])
def test_silence_means_no_cluster(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty.yaml").write_text(text)
    with pytest.raises(ParameterError, match="cluster"):
        load_params(tmp_path / "empty.yaml")


@pytest.mark.parametrize("command", ["destroy", "cancel", "rebuild"])
def test_what_destroys_takes_no_default_cluster(tmp_path: Path, command: str) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("nodes: [sw1]\nswarm_managers: 1\n")
    done = CliRunner().invoke(main, [command, str(file), "--yes"])
    assert done.exit_code == 2 and "no cluster is named, and this command destroys" in done.output
    assert load_params(file).cluster == "lab"
