"""JupyterLab and a real browser in front of it: the server in the environment of ``make book``, Debian's Chromium without a screen."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .conftest import BOUND_S, ROOT, until

JUPYTER = ROOT / ".venv-book" / "bin" / "jupyter"
#: As wide as a desktop's window, high enough for a screenshot that shows something.
SIZE = {"width": 1440, "height": 1100}
#: Looks ten times a second which cell runs (the first with a star), and notes how often its outputs changed and how long they stood still.
_LISTEN = """() => {
  const heard = window.swarmbookHeard = {};
  clearInterval(window.swarmbookTimer);
  let running = null, since = 0, watcher = null;
  const still = () => { if (running) heard[running.key].silent = Math.max(heard[running.key].silent, performance.now() - since); since = performance.now(); };
  window.swarmbookTimer = setInterval(() => {
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')];
    const at = cells.findIndex(cell => cell.querySelector('.jp-InputPrompt')?.textContent.includes('*'));
    if (running && running.cell === cells[at]) { heard[running.key].seconds = (performance.now() - running.began) / 1000; return; }
    still(); watcher?.disconnect(); running = null;
    if (at < 0) return;
    const key = cells[at].querySelector('.cm-content').innerText.trim().split('\\n').pop();
    running = { key, cell: cells[at], began: performance.now() };
    heard[key] = { silent: 0, seconds: 0, signs: 0 };
    since = performance.now();
    watcher = new MutationObserver(() => { heard[key].signs += 1; still(); });
    watcher.observe(cells[at].querySelector('.jp-Cell-outputWrapper') ?? cells[at], { subtree: true, childList: true, characterData: true });
  }, 100);
}"""


def lacking() -> str:
    """What keeps a browser from reading the book here; empty when nothing does."""
    if not JUPYTER.exists():
        return "no JupyterLab (make .venv-book/.ready)"
    if chromium() is None:
        return "no Chromium (apt-get install chromium)"
    return ""


def chromium() -> str | None:
    """The browser's program."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def jupyter_server(home: Path, env: Mapping[str, str]) -> Iterator[str]:
    """JupyterLab and Notebook 7 on a free port of the loopback, with the book's folder as its root; gives the address, with its token."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    token = secrets.token_hex(16)
    settings = home / "lab-settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )  # a question in a corner would lie over what is clicked
    command = [
        str(JUPYTER), "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root", f"--ServerApp.root_dir={home}",
        f"--LabApp.user_settings_dir={home / 'lab-settings'}", f"--LabApp.workspaces_dir={home / 'lab-workspaces'}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log = home / "jupyter.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            env={**env, "JUPYTER_TOKEN": token, "HOME": str(home)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    try:
        until(
            lambda: "is running at" in log.read_text(errors="replace") or process.poll() is not None,
            why="JupyterLab did not start",
        )
        assert process.poll() is None, log.read_text(errors="replace")
        yield f"http://127.0.0.1:{port}/{{}}?token={token}"
    finally:
        process.terminate()  # it ends its kernels
        process.wait(BOUND_S)


@contextlib.contextmanager
def browser_page() -> Iterator[Any]:
    """A page of a browser of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(BOUND_S * 1000)
        try:
            yield page
        finally:
            browser.close()


def _close(dialog: Any) -> None:
    """Close a dialog, which may be gone by itself meanwhile: who waited for its button then would wait for ever."""
    from playwright.sync_api import Error

    with contextlib.suppress(Error):
        dialog.locator("button").last.click(timeout=3000)


def read(file: Path) -> dict[str, Any]:
    """Read a notebook that JupyterLab may be writing just now: it empties the file first."""

    def whole() -> dict[str, Any] | None:
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(file.read_text())
            return found
        return None

    notebook: dict[str, Any] = until(whole, why=lambda: f"{file} is no notebook: {file.read_text()[:200]!r}")
    return notebook


class Notebook:
    """One notebook in JupyterLab, used as a person would: menus, keys, and what is on the screen.

    Args:
        page: The browser's page.
        address: Of the server, with a gap for the path.
        home: The server's root.
        name: The notebook's file.
    """

    def __init__(self, page: Any, address: str, home: Path, name: str) -> None:
        self.page, self.file = page, home / "notebooks" / name
        # A lab's machines bring network interfaces; Chromium then breaks off what it is sending (ERR_NETWORK_CHANGED), the
        # saving of the notebook, say. A person closes that dialog and goes on; the next saving succeeds.
        dialog = page.locator(".jp-Dialog", has_text="Failed to fetch")
        page.add_locator_handler(dialog, lambda: _close(dialog), no_wait_after=True)
        page.goto(address.format(f"lab/tree/notebooks/{name}") + "&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        page.get_by_text("| Idle").first.wait_for()  # in the status bar: the kernel is connected

    def menu(self, name: str, item: str) -> None:
        """Choose from a menu."""
        self.page.locator(".lm-MenuBar-item", has_text=name).first.click()
        self.page.locator(".lm-Menu-item", has_text=item).first.click()

    def replace_in_cell(self, text: str, old: str, new: str) -> None:
        """Change words in the cell that shows a text, by the keyboard."""
        editor = self.page.locator(".jp-CodeCell .cm-content", has_text=text).first
        source = editor.evaluate(
            "element => element.cmTile?.view?.state?.doc?.toString() ?? element.cmView?.view?.state?.doc?.toString() ?? element.innerText"
        )
        assert old in source, source
        editor.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(source.replace(old, new))

    def run_all(self) -> dict[str, Any]:
        """Run all cells, wait until the last is done, save; gives the saved notebook."""
        self.menu("Edit", "Clear Outputs of All Cells")
        until(
            lambda: self._saved(lambda cell: not cell["execution_count"]),
            pause=0.5,
            why="the outputs are not cleared",
        )
        self.menu("Run", "Run All Cells")
        until(
            lambda: self._saved(lambda cell: cell["execution_count"]),
            pause=1.0,
            why=f"{self.file.name} did not come to its end",
        )
        return read(self.file)

    def listen(self) -> None:
        """From now on note what the cells that run say for themselves."""
        self.page.evaluate(_LISTEN)

    def heard(self) -> dict[str, dict[str, float]]:
        """For each cell that ran: ``seconds`` it took, ``signs`` of life it gave, and its longest silence, ``silent``, in milliseconds."""
        found: dict[str, dict[str, float]] = self.page.evaluate("() => window.swarmbookHeard")
        return found

    def _saved(self, holds: Callable[[dict[str, Any]], object]) -> bool:
        """Save, and see whether something holds of every code cell in the file, or one has failed."""
        self.page.keyboard.press("Control+s")
        with contextlib.suppress(ValueError):  # it may be read in the middle of a save
            codes = [cell for cell in json.loads(self.file.read_text())["cells"] if cell["cell_type"] == "code"]
            failed = any(output["output_type"] == "error" for cell in codes for output in cell["outputs"])
            return failed or all(holds(cell) for cell in codes)
        return False

    def window(self, path: Path) -> None:
        """What the window shows now."""
        self.page.screenshot(path=path)

    def screenshot(self, folder: Path, *, end: bool = False) -> Path:
        """What the window shows, of the notebook's begin or of its end."""
        if end:
            self.page.locator(".jp-Notebook .jp-Cell").last.click()
            self.page.keyboard.press("Escape")
            self.page.keyboard.press("Control+End")
        path = folder / f"{self.file.stem}.png"
        self.page.screenshot(path=path)
        return path
