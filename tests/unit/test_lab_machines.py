"""The lab's machines, on an engine that is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from swarmbook.machines.lab.machines import Machines


class Container:
    """One machine whose execs answer what they are told to."""

    short_id, status = "abc", "running"

    def __init__(self, folder: Path, answers: list[tuple[int, bytes]]) -> None:
        self.labels = {"swarmbook.access.cluster": "lab", "swarmbook.node": "n1", "swarmbook.folder": str(folder)}
        ports = {"22/tcp": [{"HostPort": "2201"}], "3306/tcp": [{"HostPort": "2202"}], "80/tcp": None}
        self.attrs = {"NetworkSettings": {"Networks": {"swarmbook-lab": {"IPAddress": "10.0.0.2"}}, "Ports": ports}}
        self._answers = answers

    def exec_run(self, command: Any) -> Any:
        code, output = self._answers.pop(0)
        return SimpleNamespace(exit_code=code, output=output)


def test_an_answer_whose_text_was_lost_is_asked_for_again(tmp_path: Path) -> None:
    """Seen under fire: the engine gave exit code 0 and no output, and a machine without a host key is none that one may talk to."""
    container = Container(tmp_path, [(3, b"ssh-ed25519 AAAA root@n1\n"), (0, b""), (0, b"ssh-ed25519 AAAA root@n1\n")])
    client = SimpleNamespace(containers=SimpleNamespace(get=lambda name: container, list=lambda **_: [container]))
    node = Machines(client, "lab", tmp_path).node("n1", 10)
    assert node.host_key == "ssh-ed25519 AAAA" and container._answers == []
    assert (node.ssh.port, {port: end.port for port, end in node.ports.items()}) == (2201, {3306: 2202})
