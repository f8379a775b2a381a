"""An engine's start line, as systemd reads it; the options in it; and what was there before our own is put back byte for byte."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swarmbook.access.commands import Script
from swarmbook.base.codes import Code
from swarmbook.phases.engine.settings import merge_settings
from swarmbook.phases.engine.undo import keep_undo, take_back
from swarmbook.phases.engine.unit import options_of, start_line
from swarmbook.testing.errors import raises

PACKAGED = "[Unit]\nExecStart=/not/this\n[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd://\nExecReload=/bin/kill -s HUP $MAINPID\n"


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([PACKAGED], "/usr/bin/dockerd -H fd://"),
        (["[Service]\nExecStart=/usr/bin/dockerd \\\n  -H fd:// \\\n  $OPTIONS\n"], "/usr/bin/dockerd  -H fd://  $OPTIONS"),
        (["[Service]\nExecStart=/usr/bin/dockerd \\\n# why\n ; and why\n  -H fd://\n"], "/usr/bin/dockerd  -H fd://"),
        (["[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n"], "/usr/bin/dockerd -H fd://"),
        (["[Service]\n#ExecStart=/old\n  ExecStart = /usr/bin/dockerd \n"], "/usr/bin/dockerd"),
        (["[Service]\nExecStart=/usr/bin/dockerd --label=a\\\\\nRestart=always\n"], "/usr/bin/dockerd --label=a\\\\"),
        ([PACKAGED, "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --debug\n"], "/usr/bin/dockerd --debug"),
        ([PACKAGED, "[Service]\nEnvironment=A=b\n"], "/usr/bin/dockerd -H fd://"),
        ([PACKAGED, "[Service]\nExecStart=\n"], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_start_line_that_counts(files: list[str], line: str) -> None:
    assert start_line(files) == line


def test_a_start_line_that_no_one_writes_is_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match="5008 characters"):
        start_line([f"[Service]\nExecStart=dockerd {'x' * 5000}"])


@pytest.mark.parametrize(
    ("argv", "line", "options"),
    [
        ([], "/usr/bin/dockerd -H fd:// --containerd=/run/c.sock", {"hosts", "containerd"}),
        ([], "/usr/bin/dockerd -s btrfs --label dc=x --dns 9.9.9.9 -D", {"storage-driver", "labels", "dns", "debug"}),
        ([], "/usr/bin/dockerd --live-restore=false 'unbalanced", set()),
        (["/usr/bin/dockerd", "--live-restore", "--log-opt=max-size=1m"], "dockerd $OPTIONS", {"live-restore", "log-opts"}),
    ],
)  # fmt: skip
def test_options_by_the_names_that_the_file_has_for_them(argv: list[str], line: str, options: set[str]) -> None:
    assert options_of(argv, line) == options


OURS: dict[str, Any] = {
    "dns": [], "log-driver": "json-file", "log-opts": {}, "labels": [], "storage-driver": "overlay2", "tlsverify": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ({"live-restore": True}, (), "live-restore: true"),
        ({"userns-remap": "default"}, (), 'userns-remap: "default"'),
        ({"cluster-store": "consul://x"}, (), "cluster-store"),
        ({}, ("live-restore",), "start line"),
        ({}, ("storage-driver", "tlsverify"), "--storage-driver --tlsverify"),
    ],
)
def test_what_rules_a_swarm_out_is_refused_before_the_engine_is_touched(
    settings: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    with raises(Code.ENGINE_SETTINGS_RULE_OUT, "sw1", said, "not touched"):
        merge_settings("sw1", json.dumps(settings), OURS, options)


@pytest.mark.parametrize("settings", [{"live-restore": False}, {"userns-remap": ""}, {"data-root": "/srv/docker"}])
def test_what_rules_nothing_out_stays(settings: dict[str, Any]) -> None:
    assert settings.items() <= json.loads(merge_settings("sw1", json.dumps(settings), OURS, ("hosts", "debug"))).items()


@pytest.mark.parametrize("settings", [None, b"", b'{"theirs":\t1}  \n'])
@pytest.mark.parametrize("drop_in", [None, b"[Service]\n"])
def test_what_was_there_before_is_put_back_byte_for_byte(
    tmp_path: Path, settings: bytes | None, drop_in: bytes | None
) -> None:
    at = {"folder": tmp_path / "undo", "settings": tmp_path / "daemon.json", "drop_in": tmp_path / "drop-in"}
    for file, content in ((at["settings"], settings), (at["drop_in"], drop_in)):
        if content is not None:
            file.write_bytes(content)
            file.chmod(0o640)

    def run(script: Script) -> str:
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout

    arguments = {name: str(path) for name, path in at.items()}
    assert run(take_back(**arguments)) == "", "nothing is kept yet"
    run(keep_undo(**arguments))
    for file in (at["settings"], at["drop_in"]):
        file.write_text("ours")
    run(keep_undo(**arguments))  # of the next file, or of a run after one that was killed: what was first stays
    assert run(take_back(**arguments)) == "taken back\n"
    for file, content in ((at["settings"], settings), (at["drop_in"], drop_in)):
        assert (file.read_bytes() if file.exists() else None) == content
        assert content is None or file.stat().st_mode & 0o777 == 0o640
    assert not at["folder"].exists()
