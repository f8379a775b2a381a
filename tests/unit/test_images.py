"""An image's name is the hash of what goes into it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from swarmbook.machines import images
from swarmbook.machines.images import image_name

IMAGES = ["consul", "galera", "node"]


@pytest.mark.parametrize("name", IMAGES)
def test_the_same_each_time(name: str) -> None:
    assert image_name(name, "debian:trixie-slim") == image_name(name, "debian:trixie-slim")
    assert image_name(name, "debian:trixie-slim").startswith(f"swarmbook/{name}:")


def test_it_changes_with_base_content_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {image_name("consul", "a"), image_name("consul", "b")}
    for context in (
        {"Dockerfile": b"1"},
        {"Dockerfile": b"2"},
        {"Dockerfile2": b"1"},
        {"Dockerfile": b"1", "x": b""},
        {"D": b"ockerfile\x001"},
    ):
        monkeypatch.setattr(images, "_context", lambda name, c=context: c)
        names.add(image_name("consul", "a"))
    assert len(names) == 7


def test_modes_and_times_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> None:
    before = image_name("galera", "a")
    shutil.copytree(root / "swarmbook" / "machines" / "images", tmp_path / "images")
    for file in (tmp_path / "images" / "galera").iterdir():
        file.chmod(0o600)
        file.touch()
    monkeypatch.setattr(images, "files", lambda package: tmp_path / "images")
    assert image_name("galera", "a") == before


@pytest.mark.parametrize(
    "script",
    [
        *(f"galera/galera-{name}" for name in ("announce", "entrypoint", "health", "status")),
        *(f"consul/consul-{name}" for name in ("entrypoint", "health")),
        "node/lab-machine",
    ],
)
def test_shell_scripts_parse(root: Path, script: str) -> None:
    file = root / "swarmbook" / "machines" / "images" / script
    assert file.read_text().startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", str(file)], check=True)
