"""A papermill engine that tells the truth.

papermill's own engine stamps every cell ``completed`` when the kernel dies, a time limit passes or
a person presses Ctrl-C, also the cells that never ran. Here each cell ends with the status that is
true of it, and the notebook on disk is whole at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from swarmbook.runner.execution import COMPLETED, Execution, Listener
from swarmbook.runner.kernels import KernelPool
from swarmbook.runner.stop import StopSignals

__all__ = ["SwarmbookEngine", "register"]


def register() -> None:
    """Make ``engine_name="swarmbook"`` known to papermill, also where no entry point is installed."""
    from papermill.engines import papermill_engines

    papermill_engines.register("swarmbook", SwarmbookEngine)


class SwarmbookEngine:
    """Engine ``swarmbook`` for papermill.

    It is no subclass of ``papermill.engines.Engine``: papermill loads entry points while it is being
    imported, so that an import of papermill from here would meet a module that is only half there.
    papermill asks for no more than these three class methods.
    """

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        from papermill.utils import nb_language

        return str(nb_language(nb, language))

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        *,
        save_path: str | os.PathLike[str] | None = None,
        progress_bar: bool | Mapping[str, Any] = False,
        listener: Listener | None = None,
        timeout: float | None = None,
        execution_timeout: float | None = None,
        start_timeout: float = 60.0,
        grace: float = 10.0,
        env: Mapping[str, str] | None = None,
        kernel_cwd: str | os.PathLike[str] | None = None,
        pool: KernelPool | None = None,
        stop: StopSignals | None = None,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        **_: Any,
    ) -> Any:
        """Execute a notebook; return it also when a cell failed, as papermill expects.

        Args:
            nb: The notebook, changed in place.
            kernel_name: Which kernel to start.
            output_path: Where papermill itself will write at the end (in place, not by renaming).
            save_path: Where to save instead, for a caller who passes ``output_path=None`` to
                papermill so that every write of the file is a rename.
            progress_bar: As papermill's; only without a listener.
            listener: Hears about every cell.
            timeout: Seconds a cell may take.
            execution_timeout: papermill's name for the same.
            start_timeout: Seconds a kernel may take to start.
            grace: Seconds an interrupted cell has to end by itself.
            env: Environment variables for the kernel; of no effect with a pool, which has its own.
            kernel_cwd: The kernel's working directory; likewise.
            pool: Where kernels come from.
            stop: Signals watched by a caller whose ``with`` block is wider than this call.
            log_output: Also log what cells print, as papermill does.
            stdout_file: A file that gets a copy of the cells' standard output.
            stderr_file: The same for standard error.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the notebook is saved.
            WorldError: The kernel did not start, or the notebook could not be saved.
        """
        if listener is None and progress_bar:
            options = progress_bar if isinstance(progress_bar, Mapping) else {}
            listener = _ProgressBar(len(nb.cells), options)
        target = _local_path(save_path, output_path)
        if save_path is not None:
            nb.metadata.papermill["output_path"] = os.fspath(save_path)

        def work() -> Any:
            with contextlib.ExitStack() as stack:
                signals = stop or stack.enter_context(StopSignals())
                kernels = pool or stack.enter_context(KernelPool(env=env, cwd=kernel_cwd))
                run = Execution(nb, target, kernels, signals, listener, timeout or execution_timeout, grace)
                run.copies, run.log_output = {"stdout": stdout_file, "stderr": stderr_file}, log_output
                return kernels.run(run.main(kernel_name, start_timeout))

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return work()
        # Called from within a notebook or another loop: that loop's thread cannot run a second one.
        stop = stop or StopSignals()
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(work)
            try:
                return future.result()
            except KeyboardInterrupt:
                stop.request()
                return future.result()


def _local_path(save_path: str | os.PathLike[str] | None, output_path: str | None) -> Path | None:
    if save_path is not None:
        return Path(save_path).absolute()
    if output_path is None or output_path == "-" or "://" in output_path:
        return None  # papermill writes these itself, once, at the end
    from papermill.iorw import papermill_io

    # papermill changes into its ``cwd`` before it calls an engine, and remembers where it came from.
    return Path(getattr(papermill_io.get_handler(output_path), "_cwd", None) or os.getcwd(), output_path)


class _ProgressBar(Listener):
    """papermill's own bar, for ``papermill --engine swarmbook`` on a terminal."""

    def __init__(self, total: int, options: Mapping[str, Any]) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(**{"total": total, "unit": "cell", "desc": "Executing", **options})

    def cell_finished(self, cell: Any, index: int, total: int, status: str, seconds: float) -> None:
        self.bar.update(index + 1 - self.bar.n)
        if status != COMPLETED or index + 1 == total:
            self.bar.close()

    def notebook_started(self, nb: Any) -> None:
        self.bar.refresh()

    def cell_started(self, cell: Any, index: int, total: int) -> None:
        self.bar.refresh()

    def cell_output(self, cell: Any, index: int, output: Any) -> None:
        self.bar.refresh()

    def cell_waiting(self, cell: Any, index: int, seconds: float) -> None:
        self.bar.refresh()
