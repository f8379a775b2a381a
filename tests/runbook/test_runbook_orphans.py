"""A kernel whose runner has died ends too, also when that happens while it is still starting."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.model.results import Chapter
from swarmbook.runner.kernels import OWN, KernelPool
from swarmbook.runner.run import run_chapters

#: Takes in orphans, as systemd does for a user's session: who looks for the parent 1 waits in vain. Ends when all of them have.
GUARDIAN = """
import ctypes, os, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
subprocess.run([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], check=True)
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        break
"""
#: Starts a kernel, and is gone before that kernel has imported what would notice.
RUNNER = """
import asyncio, os, sys
from pathlib import Path
from swarmbook.runner.kernels import Kernel
kernel = Kernel("python3", Path(sys.argv[1]))
asyncio.run(kernel.spawn({}, None))
Path(sys.argv[2]).write_text(str(kernel.km.provisioner.pid))
os._exit(0)
"""


def ends_with_its_runner(guardian: subprocess.Popen[bytes], pid: Path, folder: Path, gone: Any) -> None:
    """Wait until the runner is killed, and its kernel gone; whatever comes, nothing is left."""
    try:
        assert guardian.wait(300) == 0
        assert gone(int(pid.read_text()))
    finally:
        if guardian.poll() is None:
            os.kill(int(pid.read_text()), 9)
            guardian.wait(60)
        shutil.rmtree(folder)


def test_a_kernel_that_lost_its_runner_while_starting_ends(book: Any, tmp_path: Path, until: Any, gone: Any) -> None:
    folder = Path("/tmp") / f"swbt-{os.getpid()}-{tmp_path.name[-3:]}"  # a socket's path is short
    folder.mkdir()
    pid = tmp_path / "pid"
    environment = {**os.environ, **book.env}
    guardian = subprocess.Popen([sys.executable, "-c", GUARDIAN, RUNNER, str(folder), str(pid)], env=environment)
    ends_with_its_runner(guardian, pid, folder, gone)


#: Lets ipykernel look for its runner only when that is gone: a moment that a busy computer can make as long as it likes.
LATE = """
import importlib.abc, importlib.util, os, sys, time
class Late(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "ipykernel.parentpoller":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            run = module.ParentPollerUnix.run
            def late(poller):
                while os.getppid() == poller.parent_pid:
                    time.sleep(0.01)
                run(poller)
            module.ParentPollerUnix.run = late
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Late())
"""
#: Starts a kernel, waits until it answers, and is killed.
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from swarmbook.runner.kernels import Kernel
async def main():
    kernel = Kernel("python3", Path(sys.argv[1]))
    await kernel.spawn({}, None)
    await kernel.ready(120)
    Path(sys.argv[2]).write_text(str(kernel.km.provisioner.pid))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_a_kernel_ends_when_its_runner_is_killed_before_ipykernel_looks_for_it(
    book: Any, tmp_path: Path, gone: Any
) -> None:
    folder = Path("/tmp") / f"swbt-{os.getpid()}-k{tmp_path.name[-3:]}"
    folder.mkdir()
    pid = tmp_path / "pid"
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(LATE)
    path = os.pathsep.join([str(tmp_path / "late"), book.env["PYTHONPATH"]])
    guardian = subprocess.Popen(
        [sys.executable, "-c", GUARDIAN.replace("check=True", "check=False"), KILLED, str(folder), str(pid)],
        env={**os.environ, **book.env, "PYTHONPATH": path},
    )
    ends_with_its_runner(guardian, pid, folder, gone)


def test_a_kernel_that_cannot_be_asked_to_leave_is_ended(tmp_path: Path, gone: Any) -> None:
    with KernelPool() as pool:
        kernel = pool.run(pool.take(OWN))
        pid = int(kernel.km.provisioner.pid)

        def no_more_files(*_: object, **__: object) -> None:
            raise OSError(24, "Too many open files")

        kernel.kc.execute = no_more_files
        pool.run(pool.release(kernel))
        assert gone(pid)


STRAY = '{"argv": ["/bin/false", "{connection_file}"], "display_name": "another Python", "language": "python"}'


@pytest.mark.parametrize("provisioner", ["", "nowhere-at-all"])
def test_a_run_uses_the_runners_own_interpreter_whatever_kernelspecs_lie_around(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provisioner: str
) -> None:
    stray = tmp_path / "jupyter" / "kernels" / "python3"
    stray.mkdir(parents=True)
    (stray / "kernel.json").write_text(STRAY)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    if provisioner:
        monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", provisioner)
    path = book.notebook("a", "# A", "import sys\nprint(sys.executable, sys.version.split()[0])", traced=False)
    result = run_chapters([Chapter(path, {}, "01", "a")], tmp_path / "run", env=book.env)
    assert result.status == "completed"
    nb = nbformat.read(tmp_path / "run" / "01_a.ipynb", as_version=4)
    version = ".".join(map(str, sys.version_info[:3]))
    assert nb.cells[-1].outputs[0].text.split() == [sys.executable, version]
    assert nb.metadata.papermill["kernel"] == {"interpreter": sys.executable, "version": version}
