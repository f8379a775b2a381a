"""The Docker Engine that the lab's machines run on: found, or installed and started where we may."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from swarmbook.access.ambient import own_environment
from swarmbook.access.docker_api import Engine, local_engine
from swarmbook.access.docker_containers import Containers
from swarmbook.base.activity import doing
from swarmbook.base.codes import Code
from swarmbook.base.errors import EngineUnavailable
from swarmbook.base.wait import wait_for
from swarmbook.model.checks import Check

__all__ = ["engine_outlook", "engine_there", "ensure_engine", "stop_own_engine"]

_PID = Path("/run/swarmbook-dockerd.pid")
_LOG = Path("/var/log/swarmbook-dockerd.log")


def engine_there() -> Engine | None:
    """Return this computer's engine, or None when none runs; none is started to find that out.

    Raises:
        EngineUnavailable: The environment names one, and it does not answer, so what is there is unknown.
    """
    engine = local_engine()
    if engine is None and (named := own_environment().get("DOCKER_HOST")):
        raise EngineUnavailable(
            "the engine that DOCKER_HOST names does not answer",
            where=f"DOCKER_HOST={named}",
            next="start it, or: unset DOCKER_HOST",
            code=Code.ENGINE_NOT_THERE,
        )
    return engine


def ensure_engine(timeout_s: float = 60) -> Engine:
    """Find an engine that runs, or make one run.

    What the environment names (``DOCKER_HOST``) or the usual socket is taken; failing that, root on Debian or Ubuntu
    gets one installed and started.

    Args:
        timeout_s: Seconds a started engine may take.

    Raises:
        EngineUnavailable: There is none, and none can be started; one line says what to do.
    """
    engine = engine_there()
    if engine is not None:
        return engine
    if os.geteuid() != 0:
        raise EngineUnavailable(
            "no Docker Engine is within reach",
            where="this computer",
            next="start Docker (or join its group), or run as root on Debian or Ubuntu, where swarmbook installs it",
            code=Code.ENGINE_NOT_THERE,
        )
    if shutil.which("dockerd") is None:
        if shutil.which("apt-get") is None:
            raise EngineUnavailable(
                "no Docker Engine is installed",
                where="this computer",
                next="install Docker (https://docs.docker.com/engine/install/) and run again",
                code=Code.ENGINE_NOT_THERE,
            )
        install_packages(["docker.io"])
    return _start(timeout_s)


def engine_outlook() -> Check:
    """Check whether the lab's machines have an engine, or :func:`ensure_engine` would get one; nothing is started."""
    engine = local_engine()
    if engine is not None:
        seen, ok = "answers", True
        engine.close()
    elif named := own_environment().get("DOCKER_HOST"):
        seen, ok = f"what DOCKER_HOST names does not answer: {named}", False
    elif os.geteuid() != 0:
        seen, ok = (
            "none that you have access to: start Docker, join its group, or run as root on Debian or Ubuntu",
            False,
        )
    elif shutil.which("dockerd"):
        seen, ok = "installed; 01 starts it", True
    elif shutil.which("apt-get"):
        seen, ok = "not there; 01 installs docker.io and starts it", True
    else:
        seen, ok = "none, and no apt to install it with", False
    return Check("here", "Docker Engine for the machines", "answers, or can be started", seen, ok)


def install_packages(names: list[str]) -> None:
    """Install Debian packages on this computer.

    Raises:
        EngineUnavailable: apt failed; carries its last lines.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *names]):
        with doing("here", " ".join(command)):
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
            raise EngineUnavailable(
                f"{' '.join(names)} could not be installed",
                where=" ".join(command),
                seen=tail,
                next=f"fix apt, or install {' '.join(names)} by hand, and run again",
            )


def _start(timeout_s: float) -> Engine:
    if Path("/run/systemd/system").is_dir():
        done = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EngineUnavailable(
                "docker.service does not start",
                where="this computer",
                seen=done.stderr.strip(),
                next="journalctl -u docker -n 50",
                code=Code.ENGINE_NOT_THERE,
            )
    else:
        # No init to hand it to: a session of its own, so that a Ctrl-C at our terminal does not reach it.
        with _LOG.open("ab") as log:
            process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _PID.write_text(f"{process.pid}\n")

        def alive() -> tuple[bool, Engine | None]:
            if process.poll() is not None:
                tail = "\n".join(_LOG.read_text(errors="replace").strip().splitlines()[-5:])
                raise EngineUnavailable(
                    "the Docker Engine does not start",
                    where=str(_LOG),
                    seen=tail,
                    next="dockerd --debug",
                    code=Code.ENGINE_NOT_THERE,
                )
            engine = local_engine()
            return engine is not None, engine

        return _answering(alive, timeout_s, f"tail {_LOG}")
    return _answering(lambda: ((engine := local_engine()) is not None, engine), timeout_s, "journalctl -u docker -n 50")


def _answering(probe: Callable[[], tuple[bool, Engine | None]], timeout_s: float, next: str) -> Engine:
    engine = wait_for("the Docker Engine answers", probe, timeout_s=timeout_s, where="this computer", next=next)
    assert engine is not None
    return engine


def stop_own_engine(timeout_s: float = 30) -> bool:
    """Stop the engine that :func:`ensure_engine` started, if it runs no container.

    Returns:
        Whether one was stopped.
    """
    engine = local_engine()
    if not _PID.exists() or engine is None or Containers(engine).any_runs():
        return False
    pid = int(_PID.read_text())
    if Path(f"/proc/{pid}/comm").exists() and Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
        os.kill(pid, 15)
        wait_for(
            "the Docker Engine stops",
            lambda: (_gone(pid), pid),
            timeout_s=timeout_s,
            where=f"process {pid}",
            next=f"tail {_LOG}",
        )
    _PID.unlink()
    return True


def _gone(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):  # ours is a child only when the same process started it
        os.waitpid(pid, os.WNOHANG)
    return not Path(f"/proc/{pid}").exists()
