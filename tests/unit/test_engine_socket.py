"""Where an engine's socket is, and that no one else's lies there."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access import engine_socket
from swarmbook.access.engine_socket import socket_path
from swarmbook.base.errors import WorldError


def test_any_name_that_parameters_allow_makes_a_path_that_a_system_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert socket_path("lab", "sw1") == Path("/run/user/1000/swarmbook-lab-sw1.sock")
    one, other = (socket_path("c" * 63, f"{'n' * 62}{n}") for n in (1, 2))
    assert one != other and len(os.fsencode(one)) <= 104


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="sb-") as folder:  # pytest's own folders are too long for a socket
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield socket_path("lab", "sw1")


def test_what_a_killed_process_left_is_replaced_and_what_one_serves_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    engine_socket._prepare(path)
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
        served.listen()
        with pytest.raises(WorldError, match="another process serves"):
            engine_socket._prepare(path)
    assert path.exists()


def test_a_folder_that_others_may_write_to_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(WorldError, match="another user could replace the socket"):
        engine_socket._prepare(path)
    path.parent.chmod(0o700)
