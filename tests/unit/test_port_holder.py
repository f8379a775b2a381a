"""Who holds a port: docker-proxy listens before the container runs for which it does, and is no stranger then."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import cast

import pytest

from swarmbook.params import Params
from swarmbook.params.guarded import Guarded
from swarmbook.phases.galera.members import found_on
from swarmbook.phases.support.ports import holder

PROXY = 'LISTEN 0 4096 0.0.0.0:3306 0.0.0.0:* users:(("docker-proxy",pid=18743,fd=4))'
SERVER = 'LISTEN 0 80 0.0.0.0:3306 0.0.0.0:* users:(("mysqld",pid=9,fd=4))'


def said(tmp_path: Path, listens: str, publishes: str, code: int = 0) -> str:
    """Run the script where ``ss`` and ``docker ps`` say this."""
    for name, answer in (("ss", listens), ("docker", publishes)):
        program = tmp_path / name
        ends = code if name == "docker" else 0
        program.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(answer)}\nexit {ends}\n")
        program.chmod(0o755)
    script = str(holder(3306, "galera_sw1"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("listens", "publishes", "wanted"),
    [
        ("", "", ""),
        (f"{SERVER}\n", "", SERVER),
        # The swarm starts the member's container: the proxy listens, and nothing runs yet.
        (f"{PROXY}\n", "", ""),
        # The container has begun to run between two questions.
        (f"{PROXY}\n", "galera_sw1.1.5w19f29pdgwh galera_sw1\n", ""),
        (f"{PROXY}\n", "shop-db \n", "the container shop-db publishes it"),
        (f"{PROXY}\n", "shop_db.1.x shop_db\n", "the container shop_db.1.x publishes it"),
        # Its name is no proof of whose it is.
        (f"{PROXY}\n", "galera_sw1 \n", "the container galera_sw1 publishes it"),
    ],
    ids=["free", "a-server", "starts", "started", "a-container", "a-service", "by-name"],
)
def test_who_holds_a_port(tmp_path: Path, listens: str, publishes: str, wanted: str) -> None:
    assert said(tmp_path, listens, publishes) == wanted


def test_an_engine_that_does_not_answer_says_nothing_of_a_free_port(tmp_path: Path) -> None:
    assert said(tmp_path, f"{PROXY}\n", "", code=1) == PROXY


def test_a_phase_that_does_not_declare_the_port_can_ask_how_a_member_is() -> None:
    declared = set(Params.model_fields) - {"mariadb_port"}
    params = cast(Params, Guarded(Params(), "21", declared))
    assert "docker-proxy" not in str(found_on(params, "sw1", port=False).script)
    with pytest.raises(AttributeError, match="mariadb_port"):
        found_on(params, "sw1")
