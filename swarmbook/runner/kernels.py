"""Kernels for the papermill engine: started over unix sockets, warmed up early, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from queue import Empty
from typing import Any, TypeVar

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from swarmbook.base.errors import WorldError

__all__ = ["OWN", "WARM_UP", "Kernel", "KernelPool"]

T = TypeVar("T")

log = logging.getLogger("swarmbook.runner")
# Without a handler Python's last resort writes warnings of nbclient and jupyter_client to the terminal.
log.addHandler(logging.NullHandler())

# Leaves no name behind: a notebook must not come to need what only a warmed kernel has.
WARM_UP = "try:\n    __import__('swarmbook.notebook')\nexcept Exception:\n    pass"

# sun_path holds 108 bytes on Linux, 104 on macOS; "/k-5" comes on top of the folder.
_LONGEST_FOLDER = 96
_PREFIX = "swbk-"
# This runs after a kernel's imports; leaves no name behind either.
_ORPHANED = "__import__('swarmbook.base.orphans', fromlist=['*']).end_with_runner()"
#: What notebooks of the book name: Python. It is this very interpreter, whatever kernelspec of that name lies around.
OWN = "python3"
# What a kernel may take for its ``atexit`` functions and threads before it is killed.
_LEAVE_WAIT_S = 12.0
# As multiprocessing ends its children: threads joined, ``atexit`` functions run, then out. Taking the
# interpreter and ipykernel's sockets apart piece by piece would cost another 0.3 s a notebook.
_LEAVE = """
def _swarmbook_leave():
    import atexit, os, threading
    from ipykernel.kernelapp import IPKernelApp
    try:
        atexit.unregister(IPKernelApp.instance().close)
        threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        os._exit(0)
_swarmbook_shell = __import__('IPython').get_ipython()
try:
    _swarmbook_shell.kernel.io_loop.call_later(0.005, _swarmbook_leave)
except Exception:
    _swarmbook_shell.ask_exit()
"""


def _own_kernel() -> KernelSpec:
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    started = {"kernel_provisioner": {"provisioner_name": "local-provisioner"}}  # not what a variable may name
    return KernelSpec(argv=argv, display_name="Python 3", language="python", metadata=started)


class Kernel:
    """One fresh kernel process with its client; lives on the event loop that started it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.log_path = folder / "kernel.log"
        self.started = time.monotonic()
        self.km = AsyncKernelManager(
            kernel_name=name,
            transport="ipc",  # no ports to collide on, no other user can connect
            ip=str(folder / "k"),
            connection_file=str(folder / "k.json"),
            log=log,
        )
        if name == OWN:
            self.km._kernel_spec = _own_kernel()
        self.kc: Any = None
        self.language_info: dict[str, Any] = {}
        self._pgid: int | None = None

    @property
    def interpreter(self) -> str:
        """What is started."""
        spec = self.km.kernel_spec
        return str(spec.argv[0]) if spec is not None else self.km.kernel_name

    async def spawn(self, env: Mapping[str, str], cwd: str | None) -> None:
        """Start the process; it boots on its own from here on."""
        with self.log_path.open("wb") as sink:  # what a kernel says on its own must not hit the terminal
            await self.km.start_kernel(
                extra_arguments=["--HistoryManager.hist_file=:memory:", f"--IPKernelApp.exec_lines={_ORPHANED}"],
                env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        self._pgid = getattr(self.km.provisioner, "pgid", None)
        self.kc = self.km.client()
        self.kc.start_channels(stdin=False, hb=False)

    async def ready(self, timeout: float) -> None:
        """Wait until the kernel answers on both channels.

        ``wait_for_ready`` of jupyter_client spends 0.2 s on draining iopub; seeing the idle message
        of one's own request proves the same at once.
        """
        deadline = time.monotonic() + timeout
        while True:
            asked = self.kc.kernel_info()
            with contextlib.suppress(Empty):
                reply = await self._get(self.kc.shell_channel, asked, 1.0)
                self.language_info = reply["content"].get("language_info", {})
                await self._get(self.kc.iopub_channel, asked, 0.3, state="idle")
                return
            if not await self.km.is_alive() or time.monotonic() > deadline:
                raise WorldError(
                    "the notebook's kernel did not start",
                    where=f"{self.km.kernel_name}: {self.interpreter}",
                    wanted=f"an answer within {timeout:g} s",
                    seen=self.last_words() or "no answer",
                    next=f"{shlex.quote(self.interpreter)} -m ipykernel_launcher --version",
                )

    async def _get(self, channel: Any, asked: str, patience: float, state: str = "") -> dict[str, Any]:
        deadline = time.monotonic() + patience
        while True:
            message: dict[str, Any] = await channel.get_msg(timeout=max(0.0, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == asked and (
                not state or message["content"].get("execution_state") == state
            ):
                return message

    def last_words(self, lines: int = 6) -> str:
        """Return the end of what the kernel process itself wrote on stderr."""
        with contextlib.suppress(OSError):
            text = self.log_path.read_text("utf-8", "replace").strip()
            return "\n".join(text.splitlines()[-lines:])
        return ""

    async def exit_text(self) -> str:
        """Say in words how the process ended."""
        code = await self.km.provisioner.poll() if self.km.provisioner else None
        if code is None:
            return "it runs no more"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    async def alive(self) -> bool:
        return bool(await self.km.is_alive())

    async def interrupt(self) -> None:
        with contextlib.suppress(Exception):  # it may have died in the meantime
            await self.km.interrupt_kernel()

    async def _leave(self) -> None:
        """Ask the kernel to end by itself, so that ``atexit`` functions run; kill it if it does not.

        Not by ``shutdown_request``: ipykernel answers that on its control thread, which then deadlocks
        with the main thread's clean-up in one of twenty shutdowns (seen with 7.4; posit-dev/positron#7142).
        """
        self.kc.execute(_LEAVE, silent=True, store_history=False)
        deadline = time.monotonic() + _LEAVE_WAIT_S
        while await self.km.is_alive():
            if time.monotonic() > deadline:
                await self.km.shutdown_kernel(now=True)
                return
            await asyncio.sleep(0.01)

    async def shutdown(self, *, now: bool = False, group: bool = False) -> None:
        """End the process and remove its files.

        Args:
            now: Kill instead of asking.
            group: Also end what the kernel had started and not detached; for a kernel that died
                or had to be stopped, whose children no process waits for any more.
        """
        ended = False
        try:
            if self.km.has_kernel and await self.km.is_alive():
                if now:
                    await self.km.shutdown_kernel(now=True)
                else:
                    await self._leave()
            ended = True
        except Exception as error:
            log.warning("shutting a kernel down: %s", error)
        finally:
            if self._pgid and (now or group or not ended):  # not ended: no one else would end it
                with contextlib.suppress(OSError):
                    os.killpg(self._pgid, signal.SIGKILL)
                if self.km.provisioner is not None and not ended:
                    with contextlib.suppress(Exception):
                        await self.km.provisioner.wait()  # or it stays a zombie
            if self.kc is not None:
                self.kc.stop_channels()
            with contextlib.suppress(Exception):
                await self.km.cleanup_resources()
            shutil.rmtree(self.folder, ignore_errors=True)


class KernelPool:
    """Hands out fresh kernels and boots the next one while the current notebook executes.

    All kernels of a pool live on its one event loop, which stands still between two notebooks
    (papermill is synchronous); a kernel process started on it boots on meanwhile.

    Args:
        env: Variables set for every kernel, on top of this process's.
        cwd: Folder the kernels run in.
        notebooks: How many notebooks are to come; no kernel is warmed beyond that.
        warm_up: Code run silently in a kernel before its notebook; None for none.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        notebooks: int = 1,
        warm_up: str | None = WARM_UP,
    ) -> None:
        self._env = dict(env or {})
        self._cwd = os.fspath(cwd) if cwd is not None else None
        self._left = notebooks
        self._warm_up = warm_up
        self._loop = asyncio.new_event_loop()
        self._folder: Path | None = None
        self._lock = -1
        self._count = 0
        self._next: tuple[str, asyncio.Task[Kernel]] | None = None
        self._alive: set[Kernel] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the pool's loop to its end."""
        return self._loop.run_until_complete(coroutine)

    def warm(self, kernel_name: str = OWN) -> None:
        """Start to boot the next kernel; callable before the first notebook too."""
        if self._next is None and self._left > 0:
            task = self._loop.create_task(self._boot(kernel_name, 60.0, self._warm_up))
            self._next = (kernel_name, task)
            if not self._loop.is_running():
                # One turn is enough to get the process going; it needs no loop to boot.
                self.run(asyncio.sleep(0.02))

    async def take(self, kernel_name: str, start_timeout: float = 60.0) -> Kernel:
        """Return a kernel that was never used, ready: the one that :meth:`warm` started to boot, or a new one."""
        booked, self._next = self._next, None
        self._left -= 1
        if booked is not None:
            try:
                kernel = await booked[1]
                if booked[0] == kernel_name and await kernel.alive():
                    return kernel
                await self.release(kernel, now=True)
            except WorldError as error:
                log.warning("a warm kernel did not come up: %s", error)
        return await self._boot(kernel_name, start_timeout, None)

    async def release(self, kernel: Kernel, *, now: bool = False, group: bool = False) -> None:
        await kernel.shutdown(now=now, group=group)
        self._alive.discard(kernel)

    async def _boot(self, name: str, timeout: float, warm_up: str | None) -> Kernel:
        self._count += 1
        folder = self._home() / str(self._count)
        folder.mkdir(mode=0o700)
        kernel = Kernel(name, folder)
        self._alive.add(kernel)
        try:
            await kernel.spawn(self._env, self._cwd)
            await kernel.ready(timeout)
            if warm_up:
                asked = kernel.kc.execute(warm_up, silent=True, store_history=False)
                with contextlib.suppress(Empty):
                    await kernel._get(kernel.kc.iopub_channel, asked, timeout, state="idle")
                    await kernel._get(kernel.kc.shell_channel, asked, 1.0)
        except WorldError:
            await self.release(kernel, now=True)
            raise
        except Exception as error:
            await self.release(kernel, now=True)
            raise WorldError(
                "the notebook's kernel did not start", where=name, seen=f"{type(error).__name__}: {error}"
            ) from error
        return kernel

    def _home(self) -> Path:
        """Return a private folder with a path short enough for unix sockets, removed by :meth:`close`."""
        if self._folder is None:
            for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):  # noqa: S108 - mkdtemp makes a private folder in it
                if len(os.fsencode(base)) + len(_PREFIX) + 8 + 5 > _LONGEST_FOLDER:
                    continue
                with contextlib.suppress(OSError):
                    _sweep(Path(base))
                    self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
                    self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
                    fcntl.flock(self._lock, fcntl.LOCK_EX)
                    return self._folder
            raise WorldError(
                "no temporary folder for the kernels' sockets",
                wanted=f"a writable folder with a path of at most {_LONGEST_FOLDER} bytes and room in it",
                seen=tempfile.gettempdir(),
                next="export TMPDIR=/tmp",
            )
        return self._folder

    def close(self) -> None:
        """End every kernel that is left and remove the sockets."""

        async def end() -> None:
            if self._next is not None:
                self._next[1].cancel()
                await asyncio.gather(self._next[1], return_exceptions=True)
            await asyncio.gather(*(self.release(kernel, now=True) for kernel in list(self._alive)))
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        if self._loop.is_closed():
            return
        try:
            self.run(end())
            self.run(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
            if self._folder is not None:
                os.close(self._lock)
                shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> KernelPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _sweep(base: Path) -> None:
    """Remove folders of pools that were killed: their lock is free, and they are not brand new."""
    for folder in base.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < 60:
                continue
            lock = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
