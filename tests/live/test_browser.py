"""A learner in JupyterLab: the book from 00 to 08 in a real browser, cell by cell, and its read-only notebooks replayed by nbval."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmbook.model.phases import PHASES
from swarmbook.params import phase_params

from .browser import Notebook, browser_page, jupyter_server, lacking, read
from .conftest import COMMAND_S, ROOT, Lab, until

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")
#: These take long, and one is confirmed by a word: a test of their own, for the night.
LATER = ("26", "27", "28", "30")
#: In the order in which they can be run: 09 uses what 20 puts there.
BOOK = [
    phase.file
    for phase in sorted(PHASES.values(), key=lambda phase: "20+" if phase.number == "09" else phase.number)
    if not phase.takes_away and phase.number not in LATER
]
#: The last of a first run; the notebooks of a cluster's later days follow it.
LAST = PHASES["08"].file
#: Kept: the best of them stand in the README.
SCREENSHOTS = ROOT / "test-results" / "screenshots"
#: How long each cell took and was silent, for who wants to know; it depends on the machine, so nothing is asserted of it.
SIGNS_OF_LIFE = ROOT / "test-results" / "signs-of-life.jsonl"


#: What every sanitiser of HTML leaves alone.
PLAIN = {"p", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "img"}


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """A copy of the book whose parameters cells name this lab: what a reader would type there first."""
    lab = make_lab(["b1", "b2"], swarm_managers=1)
    for name in BOOK:
        name_this_lab(lab, name)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    SIGNS_OF_LIFE.unlink(missing_ok=True)
    return lab


def name_this_lab(lab: Lab, name: str) -> None:
    path = lab.home / "notebooks" / name
    data = json.loads(path.read_text())
    cell = next(cell for cell in data["cells"] if "parameters" in cell["metadata"].get("tags", []))
    lines = cell["source"].splitlines()
    for key in phase_params(name[:2]):
        if key in lab.params:
            lines = [
                re.sub(r"= .*?  #", f"= {json.dumps(lab.params[key])}  #", line) if line.startswith(f"{key}:") else line
                for line in lines
            ]
    cell["source"] = "\n".join(lines)
    path.write_text(json.dumps(data, indent=1))


@pytest.fixture(scope="module")
def address(lab: Lab) -> Iterator[str]:
    lab.book("ls")  # from here on it has to be cleaned up
    with jupyter_server(lab.home, lab.env) as address:
        yield address


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with browser_page() as page:
        yield page


def said(notebook: dict[str, Any]) -> str:
    """All that the outputs say as text."""
    parts = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            parts += ["".join(output.get("text", ""))] + [
                "".join(text) for kind, text in output.get("data", {}).items() if kind == "text/plain"
            ]
            parts += ["\n".join(output.get("traceback", []))]
    return "\n".join(parts)


def test_a_parameter_that_is_changed_in_its_cell_counts(lab: Lab, address: str, page: Any) -> None:
    notebook = Notebook(page, address, lab.home, BOOK[0])
    before = said(notebook.run_all())
    assert "b2" in before and "b3" not in before
    notebook.replace_in_cell("nodes: list[str]", '["b1", "b2"]', '["b1", "b2", "b3"]')
    assert "b3" in said(notebook.run_all())
    notebook.replace_in_cell("nodes: list[str]", '"b3"]', '"B 3"]')
    wrong = said(notebook.run_all())
    assert "ParameterError" in wrong and "nodes" in wrong and "fix:" in wrong and "Traceback" not in wrong
    notebook.replace_in_cell("nodes: list[str]", ', "B 3"]', "]")
    assert "b3" not in said(notebook.run_all())


@pytest.mark.parametrize(
    "name",
    # A first run and the application always, the later days by night.
    [pytest.param(name, marks=[pytest.mark.long] if name[:2] > "20" else []) for name in BOOK],
)
def test_all_cells_of_each_notebook_run(lab: Lab, address: str, page: Any, name: str) -> None:
    if name[:2] > "20" and not lab.runs:
        lab.need()
        lab.book("run", "--only", "20").expect(0)
    notebook = Notebook(page, address, lab.home, name)
    notebook.listen()
    saved = notebook.run_all()
    errors = [
        output
        for cell in saved["cells"]
        for output in cell.get("outputs", [])
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert not errors, said(saved)[-3000:]
    assert "FAILED" not in said(saved)
    notebook.screenshot(SCREENSHOTS, end=name != BOOK[0])
    heard = notebook.heard()
    mute = [cell for cell, reported in heard.items() if reported["seconds"] > 5 and not reported["signs"]]
    assert not mute, f"no one could tell whether these still worked: {mute}"
    with SIGNS_OF_LIFE.open("a") as file:
        file.writelines(
            json.dumps({"notebook": name, "cell": cell, **reported}) + "\n" for cell, reported in heard.items()
        )


def in_view(locator: Any) -> bool:
    """Scroll to something that is drawn again each second: what is scrolled to may be gone by then."""
    from playwright.sync_api import Error

    try:
        locator.scroll_into_view_if_needed(timeout=5000)
    except Error:
        return False
    return True


def test_the_board_turns_green_and_red_and_green_again(lab: Lab, address: str, page: Any) -> None:
    """It is looked at in 08, while a member is stopped and started outside of the notebook."""
    notebook = Notebook(page, address, lab.home, LAST)
    notebook.run_all()
    page.get_by_text("swarmbook.notebook import open_book").first.scroll_into_view_if_needed()
    board = page.locator(f'img[alt^="Cluster {lab.name}: "]').first
    until(lambda: in_view(board), why="it is not shown")
    until(lambda: board.get_attribute("alt").count("✔") == 10, why="it does not turn green")
    notebook.window(SCREENSHOTS / "board.png")
    b2 = lab.machine("b2")
    b2.sh("systemctl stop docker docker.socket")
    until(lambda: "engine ✘ inactive" in board.get_attribute("alt"), why="it does not turn red")
    notebook.window(SCREENSHOTS / "board-broken.png")
    b2.sh("systemctl start docker")
    until(lambda: board.get_attribute("alt").count("✔") == 10, why="it does not turn green again")
    # Another member may have become the writer. What the replays below are held against is how things are now.
    assert "FAILED" not in said(notebook.run_all())


def test_07_draws_who_donated_and_who_joined(lab: Lab) -> None:
    cells = read(lab.home / "notebooks" / PHASES["07"].file)["cells"]
    reported = re.search(
        r'alt="Members[^"]*"',
        "".join("".join(out.get("data", {}).get("text/html", "")) for cell in cells for out in cell.get("outputs", [])),
    )
    assert reported is not None
    b1, b2 = html.unescape(reported[0]).split("; ")
    assert re.search("starting from .* Synced from .* Donor from .* Synced from", b1) and re.search(
        "starting from .* Joiner from .* Synced from", b2
    ), reported[0]


def test_the_last_notebook_says_what_was_built(lab: Lab) -> None:
    text = said(read(lab.home / "notebooks" / LAST))
    assert "Synced" in text and "b1" in text and "b2" in text
    lab.book("status").expect(0, "Synced, Primary")


def test_they_open_in_notebook_7_too(lab: Lab, address: str, page: Any) -> None:
    page.goto(address.format(f"notebooks/notebooks/{BOOK[0]}"))
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.get_by_text("Docker Engine for the machines").first.wait_for()


@pytest.mark.parametrize("number", ["00", "05", "08"])
def test_what_only_looks_says_the_same_again(lab: Lab, number: str) -> None:
    """nbval runs the notebook that the browser has saved, and holds its tables against the saved ones."""
    done = replay(lab, number)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout and "skipped" not in done.stdout


def test_a_replay_sees_what_has_changed(lab: Lab) -> None:
    lab.machine("b2").sh(
        "docker service scale nothing=1 2>/dev/null; docker ps -qf name=galera_b2 | xargs docker stop -t 20 && systemctl stop docker docker.socket"
    )
    done = replay(lab, "08")
    assert done.returncode == 1 and "b2" in done.stdout, done.stdout
    lab.book("run").expect(0)


def test_an_executed_notebook_reads_well_before_anybody_trusts_it(lab: Lab, address: str, page: Any) -> None:
    """As JupyterLab shows what came from someone else, and in plain HTML, which other sites that show notebooks leave alone as well."""
    run = sorted((lab.home / "runs" / lab.name).glob("2*"))[-1]
    for file in run.glob("*.ipynb"):
        outputs = [output for cell in json.loads(file.read_text())["cells"] for output in cell.get("outputs", [])]
        pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
        assert all("text/plain" in output["data"] for output in outputs if "data" in output), file.name
        assert {tag for page in pages for tag in re.findall(r"<([a-z0-9]+)", page)} <= PLAIN, file.name
    page.goto(address.format(f"lab/tree/runs/{lab.name}/{run.name}/{LAST}") + "&reset")
    page.locator('[title*="not trusted"]').first.wait_for()
    pictures = page.locator(".jp-OutputArea-output img")
    until(
        lambda: pictures.evaluate_all(
            "them => them.length > 1 && them.every(one => one.complete && one.naturalWidth > 400)"
        ),
    )
    assert pictures.last.get_attribute("alt").startswith("Who worked when in this run: b1 ")
    assert page.locator(".jp-OutputArea-output table").count() >= 2


def test_the_form_writes_what_is_right(lab: Lab, address: str, page: Any) -> None:
    file = lab.home / "params" / f"{lab.name}.yaml"
    file.write_text(f"cluster: {lab.name}  # the reader's\nnodes: [b1, b2]\nswarm_managers: 1\n")
    notebook = Notebook(page, address, lab.home, BOOK[0])
    notebook.run_all()
    field = page.locator(".widget-text", has_text="swarm_managers").locator("input").first
    field.scroll_into_view_if_needed()
    field.fill("2")
    page.get_by_text("2 managers: raft needs a majority").first.wait_for()
    save = page.get_by_role("button", name="Save", exact=True).last
    assert save.is_disabled()
    field.fill("1")
    page.locator(".widget-text", has_text="mariadb_port").locator("input").first.fill("3307")
    save.click()
    until(lambda: "mariadb_port: 3307" in file.read_text())
    assert (
        file.read_text()
        == f"cluster: {lab.name}  # the reader's\nnodes: [b1, b2]\nswarm_managers: 1\nmariadb_port: 3307\n"
    )
    notebook.window(SCREENSHOTS / "form.png")


@pytest.mark.long
def test_a_reader_backs_up_and_restores_and_does_a_drill(lab: Lab, address: str, page: Any) -> None:
    lab.need()
    lab.book("run", "--only", "20").expect(0)
    for number in LATER:
        name_this_lab(lab, PHASES[number].file)

    def ran(number: str, *before: tuple[str, str, str]) -> str:
        notebook = Notebook(page, address, lab.home, PHASES[number].file)
        for change in before:
            notebook.replace_in_cell(*change)
        text = said(notebook.run_all())
        notebook.screenshot(SCREENSHOTS, end=True)
        return text

    def well(number: str, *before: tuple[str, str, str]) -> None:
        text = ran(number, *before)
        assert "Error" not in text and "FAILED" not in text, text[-3000:]

    well("26")
    refused = ran("27")
    assert "ConfirmationMissing" in refused and "galera-data" in refused, refused[-3000:]
    well("27", ("confirm: str", 'confirm: str = ""', 'confirm: str = "RESTORE"'))
    well("07")
    well("08")
    well("30")
    alone = ran("28")
    assert "UsageError" in alone and "standby_of" in alone and "Traceback" not in alone, (
        "there is no second cluster here"
    )


def test_destroying_wants_the_word_in_its_box(lab: Lab, address: str, page: Any) -> None:
    name = PHASES["90"].file
    name_this_lab(lab, name)
    notebook = Notebook(page, address, lab.home, name)
    refused = said(notebook.run_all())
    assert "ConfirmationMissing" in refused and "would be removed" in refused
    field = page.locator('input[placeholder="type DESTROY"]').first
    field.scroll_into_view_if_needed()
    button = page.get_by_role("button", name="Destroy", exact=True)
    field.fill("destroy")
    assert button.is_disabled()
    field.press("Control+a")
    page.keyboard.type("DESTROY")
    until(
        button.is_enabled, why="the word does not count"
    )  # its kernel says so; the key would pass over one that is not
    notebook.window(SCREENSHOTS / "confirm.png")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("run the cell again. It does what stands here").first.wait_for()
    assert lab.book("status").expect(0, "Synced, Primary"), "nothing has gone yet"
    page.locator(".jp-CodeCell .cm-content", has_text="destroy.destroy(book)").first.click()
    page.keyboard.press("Shift+Enter")
    until(
        lambda: (
            lab.machine("b1").try_sh("ls /etc/swarmbook")[0] != 0
            and lab.machine("b2").try_sh("ls /etc/swarmbook")[0] != 0
        ),
        why=lambda: "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts()),
    )


def replay(lab: Lab, number: str) -> subprocess.CompletedProcess[str]:
    (path,) = (lab.home / "notebooks").glob(f"{number}_*.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(lab.home),
        "--nbval-lax",
        str(path),
    ]
    sanitise = ["--nbval-sanitize-with", str(Path(__file__).with_name("nbval.cfg"))]
    return subprocess.run(
        [*command, *sanitise], cwd=lab.home, env=lab.env, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
