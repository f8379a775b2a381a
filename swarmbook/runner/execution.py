"""One notebook's execution: the loop over its cells, and what is recorded of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from swarmbook.base.errors import Interrupted, WorldError
from swarmbook.base.files import write_atomic
from swarmbook.base.secrets import StreamMask, mask, mask_data
from swarmbook.base.words import typed
from swarmbook.model.states import COMPLETED, FAILED, INTERRUPTED, KERNEL_DIED, NOT_RUN, PENDING, RUNNING, TIMEOUT
from swarmbook.runner.kernels import Kernel, KernelPool, log
from swarmbook.runner.pulse import Pulse, never_asleep
from swarmbook.runner.stop import StopSignals

__all__ = [
    "COMPLETED", "FAILED", "INTERRUPTED", "KERNEL_DIED", "NOT_RUN", "PENDING", "RUNNING", "TIMEOUT",
    "Execution", "Listener", "save_notebook",
]  # fmt: skip


AUTOSAVE_S = 2.0
_TICK_S = 1.0


class Listener(Protocol):
    """Hears about code cells while they run; its errors are logged and change nothing.

    Methods that a listener does not have are not called.
    """

    def notebook_started(self, nb: Any) -> None:
        """Hear, once, of the notebook as it will be executed, injected parameters and all."""

    def cell_started(self, cell: Any, index: int, total: int) -> None: ...

    def cell_output(self, cell: Any, index: int, output: Any) -> None: ...

    def cell_waiting(self, cell: Any, index: int, seconds: float) -> None:
        """Hear, about once a second, that a cell still runs."""

    def cell_finished(self, cell: Any, index: int, total: int, status: str, seconds: float) -> None: ...


def save_notebook(nb: Any, path: Path) -> None:
    """Write a notebook aside and rename it into place.

    Raises:
        WorldError: It could not be written; what was there before is still there, whole.
    """
    # Masked once more as a whole: also what stands in sources and parameters, or reached the outputs by another way.
    # Not as one text: the notebook's own keys are no one's secret. Without the schema check of nbformat.write: 10 times a notebook.
    masked = nbformat.from_dict(mask_data(nb, keys=False))
    text = str(nbformat.v4.writes_json(masked)) + "\n"
    try:
        if path.exists() and not path.is_file():  # /dev/null and the like must not be replaced
            path.write_text(text, "utf-8")
        else:
            write_atomic(path.resolve(), text)
    except OSError as error:
        raise WorldError(
            "the executed notebook could not be saved",
            where=str(path),
            seen=f"{type(error).__name__}: {error.strerror or error}; the last version that could be saved is kept",
            next=f"df -h {typed(path.parent)}",
        ) from error


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


def _error(ename: str, evalue: str, trace: str = "") -> Any:
    evalue = mask(evalue)
    lines = [f"{ename}: {evalue}", *mask(trace).splitlines()]
    return nbformat.v4.new_output("error", ename=ename, evalue=evalue, traceback=lines)


class _Client(NotebookClient):
    """nbclient's execution of one cell, with a look at every message."""

    run: Execution

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        kind, content = msg["msg_type"], msg.get("content", {})
        if kind == "execute_input":
            self.run.begun.set()
        elif kind == "stream":
            # What a listener, a copy or a saved notebook gets is masked already, also when it came in pieces.
            content["text"] = self.run.stream(content["name"]).feed(content["text"])
            if not content["text"]:
                return None
        elif kind != "status":
            for key in ("data", "metadata", "ename", "evalue", "traceback"):
                if key in content:
                    content[key] = _masked_lines(content[key]) if key == "traceback" else mask_data(content[key])
        output = super().process_message(msg, cell, cell_index)
        if msg["msg_type"] not in ("status", "execute_input"):
            self.run.unsaved = True
        if output is not None:
            if self.run.log_output and output.output_type == "stream":
                logging.getLogger("papermill").info(output.text.rstrip("\n"))
            copy = self.run.copies.get(output.get("name", ""))
            if copy is not None:
                copy.write(output.text)
                copy.flush()
            self.run.tell("cell_output", cell, cell_index, output)
        return output


def _masked_lines(lines: Any) -> Any:
    """Mask a traceback as one text: what IPython breaks into lines may begin in one and end in another."""
    whole = "\n".join(map(str, lines))
    return mask(whole).split("\n") if "\n" in whole else mask_data(lines)


class Execution:
    """One notebook's execution."""

    def __init__(
        self,
        nb: Any,
        path: Path | None,
        pool: KernelPool,
        stop: StopSignals,
        listener: Listener | None,
        limit: float | None,
        grace: float,
    ) -> None:
        self.nb, self.path, self.pool, self.stop, self.listener = nb, path, pool, stop, listener
        self.limit, self.grace = limit, grace
        self.copies: dict[str, Any] = {}
        self.log_output = False
        self.unsaved = False
        self.stuck = False
        self.begun = asyncio.Event()
        self.stopping = asyncio.Event()
        self.saved = 0.0
        self.current: int | None = None
        self.kernel: Kernel | None = None
        self.streams: dict[str, StreamMask] = {}

    # -- what is recorded -----------------------------------------------------------------------

    def tell(self, what: str, *args: Any) -> None:
        try:
            if self.listener is not None:
                getattr(self.listener, what, lambda *_: None)(*args)
        except Exception:
            log.exception("a listener failed in %s", what)

    def save(self) -> None:
        self.saved, self.unsaved = time.monotonic(), False
        if self.path is not None:
            save_notebook(self.nb, self.path)

    def stream(self, name: str) -> StreamMask:
        """Return the mask over the current cell's standard output or error."""
        return self.streams.setdefault(name, StreamMask())

    def end_streams(self, cell: Any) -> None:
        """Add what the masks still hold back; the cell says no more."""
        for name, held in sorted(self.streams.items()):
            if text := held.flush():
                if (copy := self.copies.get(name)) is not None:
                    copy.write(text)
                    copy.flush()
                last = next((o for o in reversed(cell.outputs) if o.output_type == "stream" and o.name == name), None)
                if last is not None:
                    last.text = mask(last.text + text)
                else:
                    cell.outputs.insert(0, nbformat.v4.new_output("stream", name=name, text=text))
        self.streams.clear()

    def prepare(self) -> None:
        blank: dict[str, Any] = dict.fromkeys(("start_time", "end_time", "duration", "exception"))
        self.nb.metadata.papermill.update({**blank, "start_time": _now(), "status": RUNNING, "kernel_seconds": None})
        for cell in self.nb.cells:
            cell.metadata.papermill = nbformat.from_dict({**blank, "status": PENDING})
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None

    def mark(self, node: Any, status: str, since: float) -> None:
        node.metadata.papermill.update(
            status=status,
            end_time=_now(),
            duration=round(time.monotonic() - since, 6),
            exception=status != COMPLETED,
        )

    # -- the run --------------------------------------------------------------------------------

    async def main(self, kernel_name: str, start_timeout: float) -> Any:
        since = time.monotonic()
        loop = asyncio.get_running_loop()
        self.prepare()
        self.tell("notebook_started", self.nb)
        try:
            with self.stop.subscribed(lambda: loop.call_soon_threadsafe(self.stopping.set)):
                self.save()
                if self.stop.requested or not await self.start(kernel_name, start_timeout):
                    status = INTERRUPTED
                else:
                    status = await self.cells()
        except BaseException:
            with contextlib.suppress(WorldError):  # the first error is the one to report
                await self.finish(FAILED, since)
            raise
        await self.finish(status, since)
        if status == INTERRUPTED:
            raise Interrupted(
                f"interrupted by {self.stop.name or 'the caller'}",
                where=str(self.path) if self.path else None,
                next="the same command again; what was done is not done twice",
            )
        return self.nb

    async def start(self, kernel_name: str, start_timeout: float) -> bool:
        since = time.monotonic()
        task = asyncio.ensure_future(self.pool.take(kernel_name, start_timeout))
        if not await self.unless_stopped(task, None):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return False
        self.kernel = task.result()
        self.pool.warm(kernel_name)
        self.nb.metadata.papermill["kernel_seconds"] = round(time.monotonic() - since, 6)
        self.nb.metadata["language_info"] = nbformat.from_dict(self.kernel.language_info)
        # What ran, whatever a kernelspec of that name says elsewhere.
        version = str(self.kernel.language_info.get("version", ""))
        self.nb.metadata.papermill["kernel"] = {"interpreter": self.kernel.interpreter, "version": version}
        # A notebook whose cell failed on purpose is failed by papermill in the end: so stop there.
        # Outputs that do not arrive (iopub) are an error, not a warning: they could be the error.
        self.client = _Client(
            self.nb, km=self.kernel.km, log=log, force_raise_errors=True, raise_on_iopub_timeout=True, iopub_timeout=30
        )
        never_asleep(self.kernel.kc.shell_channel)
        self.client.kc, self.client.run = self.kernel.kc, self
        return True

    async def unless_stopped(self, task: asyncio.Future[Any], timeout: float | None) -> bool:
        """Return True once the task is done, False at the time limit or when asked to stop."""
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({task, stopping}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return task.done()

    async def cells(self) -> str:
        total = len(self.nb.cells)
        for index, cell in enumerate(self.nb.cells):
            if self.stop.requested:
                return INTERRUPTED
            since = time.monotonic()
            if "skip-execution" in cell.metadata.get("tags", []):
                continue  # finish() calls it what it is: not run
            cell.metadata.papermill["start_time"] = _now()
            if cell.cell_type != "code" or not cell.source.strip():
                self.mark(cell, COMPLETED, since)
                continue
            self.current = index
            cell.metadata.papermill.update(status=RUNNING, exception=False)
            self.save()
            self.tell("cell_started", cell, index, total)
            status = await self.code_cell(index, cell, since)
            self.mark(cell, status, since)
            self.current = None
            try:
                self.save()
            finally:
                self.tell("cell_finished", cell, index, total, status, cell.metadata.papermill["duration"])
            if status != COMPLETED:
                return status
        return COMPLETED

    async def code_cell(self, index: int, cell: Any, since: float) -> str:
        assert self.kernel is not None
        with contextlib.closing(Pulse(self.kernel)) as pulse:
            try:
                return await self._code_cell(index, cell, since, pulse)
            finally:
                self.end_streams(cell)

    async def _code_cell(self, index: int, cell: Any, since: float, pulse: Pulse) -> str:
        self.begun.clear()
        task = asyncio.ensure_future(self.client.async_execute_cell(cell, index))
        verdict = ""
        while not task.done():
            left = since + self.limit - time.monotonic() if self.limit else _TICK_S
            if left <= 0:
                verdict = TIMEOUT
                break
            if not await self.unless_stopped(task, min(_TICK_S, left)) and self.stop.requested:
                verdict = INTERRUPTED
                break
            if await pulse.lost() and not task.done():
                verdict = FAILED
                break
            if self.unsaved and time.monotonic() - self.saved >= AUTOSAVE_S:
                # The step goes on though its record cannot be saved now; the save at its end is strict.
                with contextlib.suppress(WorldError):
                    self.save()
            self.tell("cell_waiting", cell, index, time.monotonic() - since)
        if verdict:
            at = len(cell.outputs)
            await self.end_cell(task)
            # Before the traceback of the interrupt: papermill takes a cell's first error for the cause.
            ename, evalue = self.why(verdict)
            cell.outputs.insert(min(at, len(cell.outputs)), _error(ename, evalue))
            return verdict
        return await self.outcome(task, cell)

    def why(self, verdict: str) -> tuple[str, str]:
        if verdict == FAILED:
            return (
                "LostCell",
                "the kernel waits and has not said how this cell ended: it was interrupted on the way, and the cell ran to its end, in part, or not at all",
            )
        if verdict == TIMEOUT:
            return "CellTimeout", f"the cell was interrupted at its time limit of {self.limit:g} s"
        return "Interrupted", f"the cell was interrupted by {self.stop.name}"

    async def end_cell(self, task: asyncio.Future[Any]) -> None:
        """Interrupt the cell so that its ``finally`` runs, and wait a bounded time for it."""
        assert self.kernel is not None
        # ipykernel drops an interrupt that arrives before it has taken the cell up.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.begun.wait(), 1.0)
        await self.kernel.interrupt()
        await asyncio.wait({task}, timeout=self.grace)
        if not task.done():
            self.stuck = True  # no use in asking this kernel to end by itself
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def outcome(self, task: asyncio.Future[Any], cell: Any) -> str:
        assert self.kernel is not None
        try:
            task.result()
            return COMPLETED
        except CellExecutionError as error:
            first = next((o for o in cell.outputs if o.output_type == "error"), None)
            if first is None or (first.ename == "SystemExit" and first.evalue in ("", "0")):
                # papermill takes exit(0) for success, though the cells behind it did not run.
                cell.outputs.insert(0, _error(error.ename, f"the cell left the notebook: {error.evalue}"))
            return FAILED
        except DeadKernelError:
            if self.stop.requested:  # a whole process group or unit was signalled
                cell.outputs.append(_error(*self.why(INTERRUPTED)))
                return INTERRUPTED
            said = self.kernel.last_words()
            text = f"the kernel died in this cell: {await self.kernel.exit_text()}"
            cell.outputs.append(_error("DeadKernel", text, said))
            return KERNEL_DIED
        except CellTimeoutError as error:
            cell.outputs.append(_error("CellTimeout", str(error).splitlines()[1]))
            return TIMEOUT
        except Exception as error:
            cell.outputs.append(_error(type(error).__name__, str(error)))
            return FAILED

    async def finish(self, status: str, since: float) -> None:
        """End the execution, whatever happened: nothing stays running, nothing unreached is called completed."""
        for index, cell in enumerate(self.nb.cells):
            if index == self.current:
                # Only a save that failed or an error of our own leaves a cell in this state.
                self.mark(cell, status, since)
            elif cell.metadata.papermill["status"] == PENDING:
                cell.metadata.papermill["status"] = NOT_RUN
        self.mark(self.nb, status, since)
        if self.kernel is not None and self.client.widget_state:
            with contextlib.suppress(Exception):  # widgets are pictures: without them the notebook is still true
                self.client.set_widgets_metadata()
                self.nb.metadata.widgets = nbformat.from_dict(mask_data(self.nb.metadata.widgets))
        if status == COMPLETED:
            self.nb.metadata.papermill["exception"] = None  # as papermill leaves it
        try:
            self.save()  # first: shutting down may take a while, and a second signal may be a SIGKILL
        finally:
            if self.kernel is not None:
                clean = status in (COMPLETED, FAILED) and self.current is None
                await self.pool.release(self.kernel, now=self.stuck, group=not clean)
