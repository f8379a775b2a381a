"""Files are written aside and renamed, with their mode from the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarmbook.base.files import write_atomic, write_private


@pytest.mark.parametrize("content", ["grüße\n", b"\x00\xff"])
def test_content(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "a" / "b" / "file"
    write_atomic(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(file.parent) == ["file"]


def test_private(tmp_path: Path) -> None:
    file = tmp_path / "s" / "key"
    write_private(file, "k")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_mode_is_tightened(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_failure_keeps_the_old_file_and_leaves_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_atomic(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_atomic(file, "old")
    seen, replace = [], os.replace

    def watched(source: str, target: Path) -> None:
        seen.append(file.read_text())
        assert os.stat(source).st_mode & 0o777 == 0o600
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_private(file, "new")
    assert (seen, file.read_text()) == (["old"], "new")


def test_the_name_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename lies in the folder: where that is not synced, a power cut takes it back."""
    synced, order, fsync, replace = [], [], os.fsync, os.replace

    def watched(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        order.append(f"sync {synced[-1].name}" if synced[-1].is_dir() else "sync file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), replace(*names)))
    write_atomic(tmp_path / "a" / "b" / "file", "new")
    assert order == [f"sync {tmp_path.name}", "sync a", "sync file", "rename", "sync b"]
