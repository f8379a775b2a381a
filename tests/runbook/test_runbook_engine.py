"""The engine tells the truth about every cell, and the file on disk is whole at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from swarmbook.base.errors import Interrupted, WorldError
from swarmbook.runner import execution, pulse
from swarmbook.runner.kernels import KernelPool
from swarmbook.runner.papermill_engine import register
from swarmbook.runner.stop import StopSignals

register()


def run(path: Path, out: Path | None, **kwargs: Any) -> Any:
    return papermill.execute_notebook(
        str(path), None, engine_name="swarmbook", progress_bar=False, save_path=out, **kwargs
    )


def errors(nb: Any, index: int) -> list[str]:
    return [o.ename for o in nb.cells[index].outputs if o.output_type == "error"]


def test_a_notebook_that_passes(book: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    path = book.notebook("a", "# A", "@parameters x = 1", "print(x)", "# end", "")
    run(path, out, parameters={"x": 5})
    assert book.statuses(out, "a")[1:] == ["completed"] * 5  # 6 cells: one was injected
    nb = nbformat.read(out, as_version=4)
    record = nb.metadata.papermill
    assert (record.status, record.exception, record.parameters.x) == ("completed", None, 5)
    assert record.output_path == str(out) and record.kernel_seconds > 0 and record.duration > 0
    assert nb.cells[3].outputs[0].text == "5\n"
    assert set(nb.cells[3].metadata.papermill) == {"status", "start_time", "end_time", "duration", "exception"}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("cell", "status", "ename", "kwargs"),
    [
        ("1/0", "failed", "ZeroDivisionError", {}),
        ("import os; os.kill(os.getpid(), 9)", "kernel-died", "DeadKernel", {}),
        ("import time; time.sleep(30)", "timeout", "CellTimeout", {"timeout": 3}),
        ("import sys; sys.exit(0)", "failed", "SystemExit", {}),
    ],
)
def test_what_did_not_run_is_never_completed(
    book: Any, tmp_path: Path, cell: str, status: str, ename: str, kwargs: dict[str, Any]
) -> None:
    out = tmp_path / "out.ipynb"
    path = book.notebook("a", "# A", "1", cell, "# between", "2", "# end")
    with pytest.raises(PapermillExecutionError) as caught:
        run(path, out, **kwargs)
    assert caught.value.ename == ename
    assert book.statuses(out, "a") == ["completed", "completed", status, "not-run", "not-run", "not-run"]
    nb = nbformat.read(out, as_version=4)
    assert nb.metadata.papermill.status == status and nb.metadata.papermill.exception is True
    assert nb.cells[2].metadata.papermill.exception is True and errors(nb, 2)[0] == ename
    assert nb.cells[4].outputs == []
    if status == "kernel-died":
        assert "SIGKILL" in nb.cells[2].outputs[-1].evalue


LOSES = {
    "the request": "async def lost(*_): pass\nget_ipython().kernel.shell_handlers['execute_request'] = lost",
    "the answer": """
send = get_ipython().kernel.session.send
def lose(stream, kind, *args, **more):
    return {"content": {"status": "ok"}} if kind == "execute_reply" else send(stream, kind, *args, **more)
async def lost(*args, execute=get_ipython().kernel.execute_request):
    get_ipython().kernel.session.send = lose
    await execute(*args)
get_ipython().kernel.shell_handlers["execute_request"] = lost
""",
}


@pytest.mark.parametrize("what", LOSES)
def test_a_cell_that_its_kernel_has_lost(book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Seen under fire: an interrupt between two cells made the kernel drop a request, and the run waited without end."""
    monkeypatch.setattr(pulse, "EVERY_S", 0.5)
    monkeypatch.setattr(pulse, "GRACE_S", 0.5)
    out, ran = tmp_path / "out.ipynb", tmp_path / "ran"
    path = book.notebook("a", LOSES[what], f"open({str(ran)!r}, 'w').close()", "3", traced=False)
    with pytest.raises(PapermillExecutionError) as caught:
        run(path, out, grace=0.2)
    assert caught.value.ename == "LostCell" and ran.exists() == (what == "the answer")
    assert [cell.metadata.papermill.status for cell in nbformat.read(out, as_version=4).cells] == [
        "completed",
        "failed",
        "not-run",
    ]


def test_a_long_cell_is_not_lost(book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY_S", 0.2)
    monkeypatch.setattr(pulse, "GRACE_S", 0.2)
    out = tmp_path / "out.ipynb"
    run(book.notebook("a", "import time; time.sleep(4)", "2"), out)
    assert book.statuses(out, "a") == ["completed", "completed"]


def test_a_cell_at_its_limit_runs_its_finally(book: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    path = book.notebook("a", "import time\ntry:\n    time.sleep(30)\nfinally:\n    print('fixed')")
    with pytest.raises(PapermillExecutionError):
        run(path, out, timeout=3)
    nb = nbformat.read(out, as_version=4)
    assert "fixed" in "".join(o.get("text", "") for o in nb.cells[0].outputs)


def test_a_cell_that_will_not_end_is_ended(book: Any, tmp_path: Path, gone: Any) -> None:
    out = tmp_path / "out.ipynb"
    stubborn = "while True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass"
    path = book.notebook(
        "a",
        f"import os, time, subprocess\nc = subprocess.Popen(['sleep', '60'])\nprint(os.getpid(), c.pid, flush=True)\n{stubborn}",
        "2",
    )
    stop, pids = StopSignals(), []

    class Watch:
        def cell_output(self, cell: Any, index: int, output: Any) -> None:
            pids.extend(int(word) for word in output.text.split())
            threading.Timer(0.1, stop.request, [signal.SIGTERM]).start()

    with pytest.raises(Interrupted, match="SIGTERM"):
        run(path, out, grace=0.3, stop=stop, listener=Watch())
    assert book.statuses(out, "a") == ["interrupted", "not-run"]
    assert errors(nbformat.read(out, as_version=4), 0) == ["Interrupted"]
    assert len(pids) == 2 and all(gone(pid) for pid in pids)


def test_a_kernel_leaves_in_an_orderly_way(book: Any, tmp_path: Path) -> None:
    said = tmp_path / "said"
    cell = f"""
import atexit, threading, time
def say(word):
    time.sleep(0.1)
    with open({str(said)!r}, "a") as stream:
        stream.write(word)
atexit.register(say, "atexit ")
threading.Thread(target=say, args=("thread ",)).start()
"""
    run(book.notebook("a", cell), tmp_path / "out.ipynb")
    assert said.read_text() == "thread atexit "


def test_asked_to_stop_before_anything_ran(book: Any, tmp_path: Path) -> None:
    stop = StopSignals()
    stop.request()
    with pytest.raises(Interrupted):
        run(book.notebook("a", "# A", "1"), tmp_path / "out.ipynb", stop=stop)
    assert book.statuses(tmp_path / "out.ipynb", "a") == ["not-run", "not-run"]


def test_no_kernel_no_completed_cell(book: Any, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="kernel did not start"):
        run(book.notebook("a", "# A", "1"), tmp_path / "out.ipynb", kernel_name="none-such", language="python")
    assert book.statuses(tmp_path / "out.ipynb", "a") == ["not-run", "not-run"]


@pytest.mark.parametrize("failing", [1, 3, 4])
def test_a_save_that_fails_keeps_the_last_good_version(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls, write = [], execution.write_atomic

    def full(path: Path, content: str) -> None:
        calls.append(path)
        if len(calls) >= failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(execution, "write_atomic", full)
    out = tmp_path / "out.ipynb"
    with pytest.raises(WorldError, match="could not be saved") as caught:
        run(book.notebook("a", "1", "2"), out)
    assert "No space left" in str(caught.value) and str(out) in str(caught.value)
    assert book.seen("begin", "a") == (set() if failing < 3 else {0})
    if failing > 1:
        nb = nbformat.read(out, as_version=4)
        done = [cell.metadata.papermill.status for cell in nb.cells]
        assert done == (["running", "pending"] if failing == 3 else ["completed", "pending"])
    else:
        assert not out.exists()


@contextlib.contextmanager
def no_room_for_more(disk: Path) -> Iterator[str]:
    """The kernel refuses what goes beyond 64 KiB: a small disk, or a limit for a user who may not mount one; yields its words."""
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if os.geteuid() == 0 and subprocess.run(mounting, capture_output=True, check=False).returncode == 0:
        try:
            yield "No space left"
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        yield os.strerror(errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_really_full(book: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with no_room_for_more(disk) as words:
        out = disk / "out.ipynb"
        with pytest.raises(WorldError, match=words):
            run(book.notebook("a", "1", "print('x' * 200_000)", "3"), out)
        nb = nbformat.read(out, as_version=4)
        assert [c.metadata.papermill.status for c in nb.cells] == ["completed", "running", "pending"]
        assert [p.name for p in disk.iterdir()] == ["out.ipynb"]


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        execution.save_notebook(nbformat.v4.new_notebook(), pipe)
        assert os.read(reader, 100).startswith(b"{") and pipe.is_fifo()
    finally:
        os.close(reader)


def test_saved_while_it_runs_and_a_broken_listener(book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "AUTOSAVE_S", 0.0)
    monkeypatch.setattr(execution, "_TICK_S", 0.05)
    out, seen, events = tmp_path / "out.ipynb", [], []

    class Broken:
        def cell_started(self, cell: Any, index: int, total: int) -> None:
            events.append(("started", index, total))
            raise ValueError

        def cell_waiting(self, cell: Any, index: int, seconds: float) -> None:
            nb = nbformat.read(out, as_version=4)
            seen.append((nb.cells[1].metadata.papermill.status, "".join(o.text for o in nb.cells[1].outputs)))
            raise ValueError

        def cell_finished(self, cell: Any, index: int, total: int, status: str, seconds: float) -> None:
            events.append((status, index, total))
            raise ValueError

    run(book.notebook("a", "# A", "import time\nprint('early', flush=True)\ntime.sleep(0.8)"), out, listener=Broken())
    assert ("running", "early\n") in seen
    assert events == [("started", 1, 2), ("completed", 1, 2)]
    assert book.statuses(out, "a") == ["completed", "completed"]


def test_plain_papermill_with_a_relative_path_within_a_running_loop(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "else").mkdir()
    path = book.notebook("a", "import os; print(os.getcwd())")

    async def within() -> None:
        papermill.execute_notebook(str(path), "out.ipynb", engine_name="swarmbook", cwd="else", progress_bar=True)

    asyncio.run(within())
    assert book.statuses(tmp_path / "out.ipynb", "a") == ["completed"]
    assert nbformat.read("out.ipynb", as_version=4).cells[0].outputs[0].text.strip() == str(tmp_path / "else")
    assert list((tmp_path / "else").iterdir()) == []


def test_sockets_fit_below_a_long_temporary_folder(book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = tmp_path / ("d" * 60) / ("e" * 60)
    far.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    run(book.notebook("a", "1"), tmp_path / "out.ipynb", env={"TMPDIR": "/tmp"})
    assert list(far.iterdir()) == []


def test_warm_kernels_are_fresh_kernels(book: Any, tmp_path: Path, gone: Any) -> None:
    cell = "import os\nprint(os.getpid(), 'left' in dir(), 'swarmbook' in dir(), os.environ['MARK'])\nleft = 1"
    path = book.notebook("a", cell, traced=False)
    pids = []
    with KernelPool(env={**book.env, "MARK": "m"}, notebooks=3) as pool:
        pool.warm()
        for index in range(3):
            nb = run(path, tmp_path / f"{index}.ipynb", pool=pool)
            pid, left, imported, mark = nb.cells[0].outputs[0].text.split()
            assert (left, imported, mark) == ("False", "False", "m")
            assert nb.cells[0].execution_count == 1
            pids.append(int(pid))
        home = pool._folder
    assert len(set(pids)) == 3 and all(gone(pid) for pid in pids)
    assert home is not None and not home.exists()


def test_a_warm_kernel_that_died_is_not_used(book: Any, tmp_path: Path, until: Any) -> None:
    path = book.notebook("a", "import time; time.sleep(1)", "2", traced=False)
    with KernelPool(notebooks=2) as pool:
        pool.warm()
        kernel = pool.run(pool._next[1])  # type: ignore[index]
        os.kill(kernel.km.provisioner.pid, signal.SIGKILL)
        until(lambda: not pool.run(kernel.alive()))
        nb = run(path, tmp_path / "out.ipynb", pool=pool)
    assert [c.metadata.papermill.status for c in nb.cells] == ["completed", "completed"]


def test_as_an_entry_point_of_the_papermill_command(book: Any, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "swarmbook_engine-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: swarmbook-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[papermill.engine]\nswarmbook = swarmbook.runner.papermill_engine:SwarmbookEngine\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), book.env["PYTHONPATH"]])}
    # Our module first: papermill, while being imported, loads the entry point from it.
    check = "import swarmbook.runner.papermill_engine as e, papermill.engines as p; assert p.papermill_engines._engines['swarmbook']"
    subprocess.run([sys.executable, "-c", check], env=environment, check=True)
    path, out = book.notebook("a", "# A", "import os; os._exit(1)", "2"), tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "--engine", "swarmbook", "--log-output", str(path), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "the kernel died in this cell: exit code 1" in done.stderr
    nb = nbformat.read(out, as_version=4)
    ours = [c.metadata.papermill.status for c in nb.cells if "papermill" in c.metadata]
    assert ours == ["completed", "kernel-died", "not-run"]  # papermill puts its own note above the failed cell
