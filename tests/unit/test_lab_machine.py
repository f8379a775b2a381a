"""The small program that stands for a lab machine's firmware."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "swarmbook" / "machines" / "images" / "node" / "lab-machine"


@pytest.mark.parametrize(
    ("found", "disk"),
    [
        ("", ""),
        ("/dev/loop9\n", "/dev/loop9"),
        # Another machine has just made it: losetup cannot ask the kernel whose file it is, and all are called disk.img.
        ("/dev/loop18 (lost)\n", ""),
        ("/dev/loop18 (lost)\n/dev/loop9\n", "/dev/loop9"),
    ],
    ids=["none", "its-own", "of-another", "both"],
)
def test_a_disk_of_another_machine_is_not_taken(tmp_path: Path, found: str, disk: str) -> None:
    losetup = tmp_path / "losetup"
    losetup.write_text(f"#!/bin/sh\nprintf %s '{found}'\n")
    losetup.chmod(0o755)
    done = subprocess.run(
        ["bash", str(PROGRAM), "disk"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == (disk, "")
