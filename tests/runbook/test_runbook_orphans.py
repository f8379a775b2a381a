"""A kernel whose runner has died ends too, also when that happens while it is still starting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def test_a_kernel_that_lost_its_runner_while_starting_ends(book: Any, tmp_path: Path, until: Any, gone: Any) -> None:
    folder = Path("/tmp") / f"swbt-{os.getpid()}-{tmp_path.name[-3:]}"  # a socket's path is short
    folder.mkdir()
    pid = tmp_path / "pid"
    environment = {**os.environ, **book.env}
    guardian = subprocess.Popen([sys.executable, "-c", GUARDIAN, RUNNER, str(folder), str(pid)], env=environment)
    try:
        assert guardian.wait(300) == 0
        assert gone(int(pid.read_text()))
    finally:
        if guardian.poll() is None:
            os.kill(int(pid.read_text()), 9)
            guardian.wait(60)
        subprocess.run(["rm", "-rf", str(folder)], check=True)
