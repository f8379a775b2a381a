"""The small programs in a member's container: what they make of answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "swarmbook" / "machines" / "images" / "galera"


def program(name: str) -> ModuleType:
    """One of them as a module; read by hand, so that no bytecode lies in the folder that becomes an image."""
    module = ModuleType(name.replace("-", "_"))
    exec(compile((FOLDER / name).read_text(), name, "exec"), module.__dict__)
    return module


PEERS = program("galera-peers")


@pytest.mark.parametrize(
    ("address", "subnet", "inside"),
    [
        ("10.200.0.7", "10.200.0.0/24", True),
        ("10.200.1.7", "10.200.0.0/24", False),
        ("10.200.1.7", "10.200.0.0/16", True),
        ("172.17.0.2", "10.200.0.0/16", False),
        ("198.51.100.1", "0.0.0.0/0", True),
    ],
)
def test_answers_from_elsewhere_are_dropped(address: str, subnet: str, inside: bool) -> None:
    assert PEERS.inside(address, subnet) is inside


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b'HTTP/1.0 200 -\r\n\r\n{"primary": true, "fresh": true}', "primary"),
        (b'HTTP/1.0 200 -\r\n\r\n{"primary": true, "fresh": false}', "waiting"),
        (b'HTTP/1.0 200 -\r\n\r\n{"primary": false, "fresh": true}', "waiting"),
        (b'HTTP/1.0 200 -\r\n\r\n{"primary": "yes", "fresh": 1}', "waiting"),
        (b'HTTP/1.0 200 -\r\n\r\n{"member": "galera-sw1"}', "silent"),
        (b"HTTP/1.0 400 -\r\n\r\nno", "silent"),
        (b"HTTP/1.0 200 -\r\n\r\n[]", "silent"),
        (b"", "silent"),
    ],
)
def test_what_an_agent_says_is_one_of_three_words(answer: bytes, word: str) -> None:
    assert PEERS.word(answer) == word


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Agents at addresses of the loopback, each with its answer; one that has none accepts, and says nothing."""
    answers = {"127.0.7.1": b"one", "127.0.7.2": b"two", "127.0.7.3": b""}
    listeners = []
    with socket.create_server(("127.0.7.1", 0)) as first:
        port = first.getsockname()[1]
    monkeypatch.setattr(PEERS, "PORT", port)
    monkeypatch.setattr(PEERS, "LIMIT_S", 0.5)

    def serve(listener: socket.socket, answer: bytes) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            assert connection.recv(100).startswith(b"GET / ")
            if answer:
                connection.sendall(answer)
            else:
                connection.settimeout(2)
                connection.recv(100)

    for address, answer in answers.items():
        listener = socket.create_server((address, port))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
    yield answers
    for listener in listeners:
        listener.close()


def test_all_are_asked_at_once_and_one_that_hangs_holds_up_none(agents: dict[str, bytes]) -> None:
    found = PEERS.ask([*agents, "127.0.7.4"])
    assert found == {**agents, "127.0.7.4": b""}


def status(folder: Path, client: str) -> tuple[int, dict[str, object]]:
    """Run galera-status beside a client that prints something."""
    fake = folder / "mariadb"
    fake.write_text(f"#!/bin/sh\n{client}\n")
    fake.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-IBS", str(FOLDER / "galera-status")],
        env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def test_a_status_is_json_whatever_the_server_says(tmp_path: Path) -> None:
    rows = "wsrep_local_state\t4\nwsrep_ready\tON\nwsrep_local_index\t18446744073709551615\nwsrep_last_committed\tundefined\n"
    code, said = status(tmp_path, f"printf '{rows}wsrep_node_name\\ta\"b\\\\c\\001\\n'")
    assert code == 0
    assert (said["state"], said["ready"], said["connected"]) == (4, True, False)
    assert said["local_index"] is None and said["last_committed"] is None
    assert str(said["node_name"]).startswith('a"b')


def test_a_server_that_does_not_answer_is_an_error_in_json(tmp_path: Path) -> None:
    code, said = status(tmp_path, "echo 'ERROR 2002: \"no\"\nsocket' >&2; exit 1")
    assert code == 1 and list(said) == ["error"] and "ERROR 2002" in str(said["error"])
