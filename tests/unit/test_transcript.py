"""The transcript: masked, folded, and a shell can read it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmbook.base.secrets import MASK, register
from swarmbook.model.transcript import Command, Transcript
from swarmbook.show.commands import as_html, as_script

COMMANDS = [
    Command("sw2", "true", 0, 0.5),
    Command("sw1", "cat <<END\na\nEND", 0, 1.25),
    Command("sw1", "ls /none", 2, 0.1, "ls: no such file\n`$(' \""),
]


def test_host_by_host_as_a_script() -> None:
    assert as_script(COMMANDS) == (
        "# --- sw1 ---\n# 1.25 s, exit 0\ncat <<END\na\nEND\n# 0.10 s, exit 2\nls /none\n#   ls: no such file\n#   `$(' \"\n"
        "# --- sw2 ---\n# 0.50 s, exit 0\ntrue"
    )  # fmt: skip


def test_a_shell_runs_it() -> None:
    done = subprocess.run(["sh", "-c", as_script(COMMANDS[:2])], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("a\n", "")


@settings(max_examples=25)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_no_output_breaks_out_of_its_comment(output: str) -> None:
    transcript = Transcript()
    transcript.record("sw1", "false", 1, 0.1, output)
    text = as_script(transcript.since(0))
    assert [line for line in text.split("\n") if not line.startswith("#")] == ["false"]
    subprocess.run([shutil.which("sh") or "sh", "-n"], input=text.encode(), check=True)


def test_folded_html() -> None:
    page = as_html(COMMANDS)
    assert page.startswith("<details><summary>3 commands on 2 hosts, 1.9 s of work</summary><pre>")
    assert "&lt;&lt;END" in page
    assert as_html([]) == ""


def test_recording_masks_and_keeps_the_end_of_failures_only() -> None:
    register("s3cr3t-value")
    transcript = Transcript()
    transcript.record("sw1", "login s3cr3t-value", 0, 0.12345, "all\nfine")
    transcript.record("sw1", "login", 1, 0.1, "\n".join([*"abcdef", "bad s3cr3t-value"]))
    fine, failed = transcript.since(0)
    assert fine == Command("sw1", f"login {MASK}", 0, 0.123, "")
    assert failed.tail == f"c\nd\ne\nf\nbad {MASK}"
    assert len(transcript.since(1)) == 1


def test_a_run_keeps_it_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register("s3cr3t-value")
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(tmp_path))
    Transcript().record("sw1", "x s3cr3t-value\ny", 1, 0.1, "s3cr3t-value")
    Transcript().record("sw2", "z", 0, 0.1)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [(line["host"], line["exit"]) for line in lines] == [("sw1", 1), ("sw2", 0)]
    assert "s3cr3t" not in (tmp_path / "ledger.jsonl").read_text()


def test_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMBOOK_RUN_DIR", str(tmp_path))
    transcript = Transcript()
    threads = [
        threading.Thread(target=lambda n=n: [transcript.record(f"sw{n}", "x" * 500, 0, 0.1) for _ in range(20)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert transcript.position() == 160
    assert all(json.loads(line)["text"] == "x" * 500 for line in (tmp_path / "ledger.jsonl").read_text().splitlines())
