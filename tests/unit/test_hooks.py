"""Hooks: who hears how a run ended, what they are given, and that they cannot change it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from swarmbook.base.errors import ParameterError, UsageError
from swarmbook.base.secrets import MASK, Secret
from swarmbook.model.checks import Check
from swarmbook.model.results import ChapterRecord, RunResult, StepRecord
from swarmbook.params import Params, load_params
from swarmbook.runner.hooks import call, hooks_of, summary


class Listener:
    """A webhook on the loopback that gives the answers it was set to, and keeps what it is sent."""

    def __init__(self) -> None:
        self.answers: list[int] = [204]
        self.bodies: list[Any] = []
        self.endless = False
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                listener.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                code = listener.answers.pop(0) if len(listener.answers) > 1 else listener.answers[0]
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", listener.url + "/elsewhere")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while listener.endless:
                        self.wfile.write(b"x" * 65536)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()


def result(home: Path, exit_code: int = 1, seen: str = "Donor") -> RunResult:
    checks = (Check("sw1", "state", "Synced", "Synced", True), Check("sw2", "state", "Synced", seen, False))
    step = StepRecord("08", "verify_galera", "State", "failed", 3, 0, 2, 1, checked=checks)
    error = {"ename": "CheckFailed", "evalue": "1 of 2", "code": "check-failed"}
    chapters = (
        ChapterRecord("05", "verify_swarm", "completed"),
        ChapterRecord("08", "verify_galera", "failed" if exit_code else "completed", steps=(step,), error=error),
    )
    folder = home / "runs" / "lab" / "2026-01-01T00-00-00Z"
    folder.mkdir(parents=True, exist_ok=True)
    return RunResult(folder, "failed" if exit_code else "completed", exit_code, 2.0, chapters)


def program(home: Path, body: str) -> str:
    path = home / "tell me"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return "tell me"


def test_a_program_reads_the_summary(home: Path) -> None:
    name = program(home, 'cat > heard; echo "$SWARMBOOK_CLUSTER $SWARMBOOK_EXIT_CODE $SWARMBOOK_RUN_FOLDER" > with')
    hooks = hooks_of(Params(on_finish=name), home)
    ended = result(home)
    os.chdir(home)
    assert call(hooks, ended, "lab", "verify", 30) == []
    heard = json.loads((home / "heard").read_text())
    assert heard == json.loads(json.dumps(summary(ended, "lab", "verify")))
    assert heard["failed_checks"] == [
        {"chapter": "08", "host": "sw2", "name": "state", "wanted": "Synced", "seen": "Donor"}
    ]
    assert (
        heard["text"].startswith("verify: lab: NOT FINE: 2 checks, 1 failed; 08 verify_galera failed")
        and heard["exit_code"] == 1
    )
    assert str(home) not in json.dumps(heard)
    assert (home / "with").read_text() == f"lab 1 {ended.folder}\n"


def test_a_webhook_gets_it_and_secrets_are_masked(home: Path, listener: Listener) -> None:
    Secret("x", "Xq8-secret-of-ours")
    hooks = hooks_of(Params(on_finish=listener.url), home)
    assert call(hooks, result(home, seen="pw Xq8-secret-of-ours"), "lab", "run", 30) == []
    assert listener.bodies[0]["failed_checks"][0]["seen"] == f"pw {MASK}" and len(listener.bodies) == 1


def test_a_failure_is_reported_to_both_and_a_success_to_one(home: Path, listener: Listener) -> None:
    name = program(home, "echo x >> failures")
    hooks = hooks_of(Params(on_finish=listener.url, on_failure=name), home)
    os.chdir(home)
    assert call(hooks, result(home, 0), "lab", "run", 30) == [] and not (home / "failures").exists()
    assert call(hooks, result(home, 130), "lab", "run", 30) == [] and (home / "failures").exists()
    assert [body["exit_code"] for body in listener.bodies] == [0, 130]


def test_what_may_pass_is_tried_again(home: Path, listener: Listener) -> None:
    listener.answers = [503, 429, 500, 204]
    assert call(hooks_of(Params(on_finish=listener.url), home), result(home), "lab", "run", 30) == []
    assert len(listener.bodies) == 4


def test_an_answer_without_end_is_no_answer(home: Path, listener: Listener) -> None:
    listener.endless, listener.answers = True, [200]
    lines = call(hooks_of(Params(on_finish=listener.url), home), result(home), "lab", "run", 0.2)
    assert lines == ["on_finish: ConnectionError"]


@pytest.mark.parametrize(("answer", "tries"), [(404, 1), (302, 1), (403, 1)])
def test_what_will_not_pass_is_said_once(home: Path, listener: Listener, answer: int, tries: int) -> None:
    listener.answers = [answer]
    lines = call(hooks_of(Params(on_finish=listener.url), home), result(home), "lab", "run", 30)
    assert lines == [f"on_finish: the webhook answers HTTP {answer}"] and len(listener.bodies) == tries


def test_no_one_listens(home: Path, listener: Listener) -> None:
    listener.server.server_close()
    (home / "url").write_text(listener.url + "/T0KEN-of-the-webhook\n")
    lines = call(hooks_of(Params(on_failure="file:url"), home), result(home), "lab", "run", 0.3)
    assert lines == ["on_failure: ConnectionError"]
    assert MASK in str(Secret("y", listener.url)) and "T0KEN" not in repr(hooks_of(Params(on_failure="file:url"), home))


def test_a_program_that_fails_or_hangs_is_said_and_leaves_nothing(home: Path) -> None:
    ended, failing = result(home), program(home, "echo first >&2; echo why >&2; exit 3")
    lines = call(hooks_of(Params(on_finish=failing), home), ended, "lab", "run", 30)
    assert lines == [f"on_finish: {home / 'tell me'} ended with exit code 3: why"]
    hanging = program(home, f"echo $$ > {home}/pid; sleep 600 & sleep 600")
    lines = call(hooks_of(Params(on_finish=hanging), home), ended, "lab", "run", 0.5)
    assert lines == [f"on_finish: {home / 'tell me'} has not ended within 0.5 s (wait_timeout), and was stopped"]
    group = int((home / "pid").read_text())
    deadline = time.monotonic() + 30
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.InvalidURL("x"), urllib3.exceptions.LocationParseError("x"), OSError(7, "too long"), UnicodeError("x"), ValueError("embedded null byte")],
)  # fmt: skip
def test_whatever_a_hook_raises_is_a_line(home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(requests.Session, "post", fails)
    monkeypatch.setattr("swarmbook.runner.hooks.subprocess.Popen", fails)
    hooks = hooks_of(Params(on_finish=program(home, "exit 0"), on_failure="https://hooks.example/x"), home)
    if type(error) is ValueError:
        with pytest.raises(ValueError):  # a fault of our own is not hidden
            call(hooks, result(home), "lab", "run", 0.2)
        return
    first, second = call(hooks, result(home), "lab", "run", 0.2)
    assert first.startswith("on_finish: ") and second.startswith("on_failure: ")


def test_one_that_does_not_read_is_no_trouble(home: Path) -> None:
    assert call(hooks_of(Params(on_finish=program(home, "exit 0")), home), result(home), "lab", "run", 30) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere/program", "not there"),
        ("plain", "not executable"),
        ("file:secret", "leads to no URL"),
        ("env:SWARMBOOK_TEST_NO_SUCH", "is not there"),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused_before_anything_runs(home: Path, given: str, words: str) -> None:
    (home / "plain").write_text("x")
    (home / "secret").write_text("no-url-at-all-but-secret\n")
    with pytest.raises(UsageError) as caught:
        hooks_of(Params(on_failure=given), home)
    assert words in str(caught.value) and caught.value.exit_code == 2 and "no-url-at-all" not in str(caught.value)


@pytest.mark.parametrize("given", ["rm -rf /; true", "ftp://host/x", "https://user:pass@host/x?y=$(id)", "-x", "a\nb"])
def test_what_is_no_hook_is_refused_by_the_schema(tmp_path: Path, given: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"on_failure: {json.dumps(given)}\n")
    with pytest.raises(ParameterError, match="on_failure"):
        load_params(file)
