"""Hooks: a program of this computer or a webhook that hears how a run ended (``on_finish``, ``on_failure``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from swarmbook.access.answers import bound
from swarmbook.base.border import foreign, words
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError, WaitTimeout
from swarmbook.base.plain import plain
from swarmbook.base.secrets import mask, mask_data, resolve
from swarmbook.base.wait import wait_for
from swarmbook.model.results import RunResult
from swarmbook.params import Params

__all__ = ["FORMAT", "Hook", "call", "hooks_of", "summary"]

#: Of what a hook is given.
FORMAT = 1
_URL = ("http://", "https://")
_ANSWER_S = (10, 20)  # to connect, to answer; each attempt
_MOST = 1 << 20  # bytes of an answer, of which the status alone counts


@dataclass(frozen=True)
class Hook:
    """Someone who hears of a run.

    Args:
        name: The parameter: ``on_finish`` or ``on_failure``.
        program: What is started; None for a webhook.
        url: Where the summary is sent; empty for a program. What a reference leads to is a secret.
    """

    name: str
    program: Path | None = None
    url: str = field(default="", repr=False)


def hooks_of(params: Params, home: Path) -> tuple[Hook, ...]:
    """Read the hooks of the parameters, before anything runs.

    Args:
        params: The parameters.
        home: The book's folder, where relative paths begin.

    Raises:
        UsageError: A program that is not there or may not be started, a reference that leads nowhere, or to no URL.
    """
    return tuple(
        _hook(name, value, home) for name in ("on_finish", "on_failure") if (value := str(getattr(params, name)))
    )


def _hook(name: str, value: str, home: Path) -> Hook:
    if value.startswith(("env:", "file:")):
        kind, _, rest = value.partition(":")
        value = f"file:{home / Path(rest).expanduser()}" if kind == "file" else value
        secret = resolve(name, value, home)
        if not secret.reveal().startswith(_URL):
            raise UsageError(
                f"{name} leads to no URL", where=rest, wanted="https://HOST/...", next="write the webhook's URL there",
                code=Code.PARAMETERS_WRONG,
            )  # fmt: skip
        return Hook(name, url=secret.reveal())
    if value.startswith(_URL):
        return Hook(name, url=value)
    program = home / Path(value).expanduser()
    if not program.is_file() or not os.access(program, os.X_OK):
        raise UsageError(
            f"{name} cannot be started",
            where=str(program),
            wanted="a program",
            seen="not executable" if program.is_file() else "not there",
            next=f"chmod +x '{program}'" if program.is_file() else f"correct {name}",
            code=Code.PARAMETERS_WRONG,
        )
    return Hook(name, program=program)


def summary(result: RunResult, cluster: str, command: str) -> dict[str, Any]:
    """Return what a hook is given of a run: secrets are masked, and no path of this computer is in it.

    Args:
        result: What became of the run.
        cluster: The cluster's name.
        command: What ran: ``run``, ``verify``, ``destroy``, ...

    Returns:
        ``text`` (one line, which chats show), ``status``, ``exit_code``, ``chapters``, ``failed_checks`` and more.
    """
    failed = [
        {"chapter": step.number, "host": c.host, "name": c.name, "wanted": str(c.wanted), "seen": str(c.seen)}
        for step in result.steps
        for c in step.checked
        if not c.ok
    ]
    data = {
        "format": FORMAT,
        "text": f"{command}: {result.line(cluster)}".replace(str(result.folder), result.folder.name),
        "cluster": cluster,
        "command": command,
        "run": result.folder.name,
        "status": result.status,
        "exit_code": result.exit_code,
        "seconds": result.seconds,
        "changes": result.changes,
        "chapters": [
            {"number": c.number, "name": c.name, "status": c.status, "error": dict(c.error) if c.error else None}
            for c in result.chapters
        ],
        "failed_checks": failed,
    }
    return dict(mask_data(data, keys=False))


def call(hooks: Sequence[Hook], result: RunResult, cluster: str, command: str, patience_s: float) -> list[str]:
    """Report to those whom it concerns: ``on_finish`` always, ``on_failure`` after a run that did not end well.

    Args:
        hooks: Of the parameters.
        result: What became of the run. It stays the same, whatever a hook does.
        cluster: The cluster's name.
        command: What ran.
        patience_s: Seconds that each hook may take (``wait_timeout``).

    Returns:
        A line for each hook that could not be called.
    """
    report = summary(result, cluster, command)
    lines = []
    for hook in hooks:
        if hook.name == "on_failure" and result.exit_code == 0:
            continue
        try:
            if hook.program:
                trouble = _start(hook.program, report, result.folder, patience_s)
            else:
                trouble = _send(hook, report, patience_s)
        except WaitTimeout as error:
            trouble = error.seen or error.what
        except Exception as error:  # whatever it is: the run has ended, and keeps its result
            if not foreign(error):
                raise
            trouble = words(error)
        if trouble:
            lines.append(plain(mask(f"{hook.name}: {trouble}")))
    return lines


def _start(program: Path, report: Mapping[str, Any], folder: Path, patience_s: float) -> str:
    """Start a program with the summary on its standard input; return what went wrong."""
    environment = {
        **os.environ,
        "SWARMBOOK_RUN_FOLDER": str(folder),
        "SWARMBOOK_CLUSTER": str(report["cluster"]),
        "SWARMBOOK_EXIT_CODE": str(report["exit_code"]),
    }
    # In a session of its own, so that what it started ends with it.
    child = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        _, said = child.communicate(json.dumps(report, indent=1).encode(), timeout=patience_s)
    except subprocess.TimeoutExpired:
        return f"{program} has not ended within {patience_s:g} s (wait_timeout), and was stopped"
    finally:
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    last = (said.decode(errors="replace").strip().splitlines() or [""])[-1][:300]
    return (
        f"{program} ended with exit code {child.returncode}" + (f": {last}" if last else "") if child.returncode else ""
    )


def _send(hook: Hook, report: Mapping[str, Any], patience_s: float) -> str:
    """Send the summary to a webhook; what may pass (no answer, an error of the server's) is tried again until the time is up."""

    session = requests.Session()
    bound(session, most=_MOST)
    session.max_redirects = 1  # none is followed, and its status is said

    def attempt() -> tuple[bool, str]:
        try:
            # A webhook that leads elsewhere would learn what it was not meant to know.
            answer = session.post(hook.url, json=report, timeout=_ANSWER_S, allow_redirects=False)
        except requests.RequestException as error:
            return not isinstance(error, (requests.ConnectionError, requests.Timeout)), type(error).__name__
        return answer.status_code < 500 and answer.status_code != 429, f"HTTP {answer.status_code}"

    seen = wait_for("the webhook takes the summary", attempt, timeout_s=patience_s, slowest_s=5.0)
    return "" if seen.startswith("HTTP 2") else f"the webhook answers {seen}"
