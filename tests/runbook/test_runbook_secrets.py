"""Canaries: secrets that come out of a notebook in every way there is, and a search of every byte that is kept."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base import secrets
from swarmbook.model.names import keep_names
from swarmbook.model.results import Chapter
from swarmbook.record.audit import audit
from swarmbook.record.evidence import Evidence
from swarmbook.record.signing import Signing
from swarmbook.runner.console import Console
from swarmbook.runner.run import run_chapters

from ..canaries import clothes, files_below, search

FROM_FOLDER, LATE, FROM_ENV, FROM_FILE = (
    "canary-in-folder-41",
    'canary "late" <42>',
    "canary-by-env-43",
    "canary-by-file/44",
)
CANARIES = (FROM_FOLDER, LATE, FROM_ENV, FROM_FILE)

LEAKS = """
import base64, html, json, os, pathlib, sys, time, urllib.parse
from IPython.display import display, HTML, JSON, Markdown
path = pathlib.Path(os.environ["CLUSTER"], "secrets")
path.mkdir(parents=True, exist_ok=True)
path.joinpath("late").write_text(LATE + "\\n")
canaries = [path.joinpath("kept").read_text().strip(), LATE, os.environ["CANARY"], pathlib.Path(os.environ["CANARY_FILE"]).read_text().strip()]
for canary in canaries:
    data = canary.encode()
    print(canary, file=sys.stderr)
    for end in range(len(canary) + 1):
        sys.stdout.write(canary[end:end + 1]); sys.stdout.flush()
        if end % 5 == 0: time.sleep(0.02)
    print()
    print("held until the end:", canary[:-2], end="", flush=True); print(canary[-2:])
    for shift in range(3):
        print(base64.b64encode(b"?" * shift + data + b"?").decode(), base64.urlsafe_b64encode(data).decode().rstrip("="))
    print(data.hex(), data.hex().upper(), urllib.parse.quote(canary, safe=""), json.dumps(canary), repr(canary))
    display(HTML("<b>" + html.escape(canary) + "</b>"), metadata={"text/html": {"note": canary}})
    display(JSON({"a": [{"b": canary}], canary: 1}), Markdown(canary))
    handle = display({"text/plain": "x"}, raw=True, display_id="h" + str(len(canary)))
    handle.update({"text/plain": canary}, raw=True)
    display({"application/vnd.any+json": {"deep": [[canary]]}, "text/x": canary}, raw=True)
print("the end " + canaries[0], end="")
""".replace("LATE", repr(LATE))
WIDGET = """
import ipywidgets
for canary in canaries:
    display(ipywidgets.Text(value=canary, description=canary))
    shown = ipywidgets.Output()
    display(shown)
    with shown:
        print(canary)
"""
FAILURE = "def deep(value):\n    raise ValueError('it was ' + value + ' ' + base64.b64encode(value.encode()).decode())\ndeep(canaries[NUMBER])"


@pytest.mark.parametrize("masked", [True, False])
def test_no_canary_gets_into_a_run_s_folder(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    pytest.importorskip("ipywidgets")
    for name, value in (("_known", set()), ("_watched", {}), ("_seen", {})):
        monkeypatch.setattr(secrets, name, value)
    cluster, folder = tmp_path / "cluster", tmp_path / "run"
    (cluster / "secrets").mkdir(parents=True)
    (cluster / "secrets" / "kept").write_text(FROM_FOLDER + "\n")
    (tmp_path / "by-file").write_text(FROM_FILE + "\n")
    monkeypatch.setenv("CANARY", FROM_ENV)
    if not masked:
        monkeypatch.setenv("SWARMBOOK_MASK", "off")
    env = {
        **book.env,
        "CLUSTER": str(cluster),
        "CANARY_FILE": str(tmp_path / "by-file"),
        "SWARMBOOK_RUN_DIR": str(folder),
    }
    said = []
    for number in range(len(CANARIES) if masked else 1):
        # The notebook itself does not hold the canary that it makes: a source is no output.
        leaks = LEAKS.replace(repr(LATE), "chr(34).join(['canary ', 'late', ' <42>'])")
        path = book.notebook("leak", "# L", "@parameters pw: str = ''\nother: str = ''", "## Leak", leaks, "## Widget", WIDGET,
                             "## Fail", FAILURE.replace("NUMBER", str(number)), traced=False)  # fmt: skip
        chapter = Chapter(path, {"pw": "env:CANARY", "other": f"file:{tmp_path / 'by-file'}"}, "04", "leak")
        stream = (tmp_path / "terminal").open("w+", encoding="utf-8")
        with stream:
            result = run_chapters([chapter], folder, env=env, console=Console(stream), cwd=tmp_path, cluster=cluster)
            stream.seek(0)
            said.append(stream.read())
        assert (result.status, [step.status for step in result.chapters[0].steps]) == (
            "failed",
            ["completed", "completed", "failed"],
        )
        text = (folder / "04_leak.ipynb").read_text()
        assert text.count(secrets.MASK) > 40 if masked else secrets.MASK not in text
        outputs = json.loads(text)["cells"][4]["outputs"]
        assert "widget-state" in text and any(o["output_type"] == "stream" for o in outputs)
        found = search(CANARIES, files_below(folder))
        if masked:
            assert found == set()
            assert not any(form in said[-1] for canary in CANARIES for form in clothes(canary))
        else:
            assert {canary for canary, _ in found} == set(CANARIES)
            assert {"04_leak.ipynb", "summary.json"} <= {name for _, name in found}


def test_text_keeps_its_order_and_loses_nothing(book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {"hunter2hunter2"})
    cell = "import sys\nprint('one hunt'); print('two', end=' hun', flush=True); display(3); print('four', flush=True); print('five hunter', end='', flush=True)"
    result = run_chapters(
        [Chapter(book.notebook("a", "# A", cell, traced=False), {}, "01", "a")], tmp_path / "run", env=book.env
    )
    assert result.status == "completed"
    outputs = json.loads((tmp_path / "run" / "01_a.ipynb").read_text())["cells"][1]["outputs"]
    text = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert text == "one hunt\ntwo hunfour\nfive hunter"


#: What an earlier version took for secrets, and what stands in a run's structure: names, words and keys of the files.
WORDS = (
    "galera", "bootstrap", "bootstrap_galera", "completed", "metadata", "papermill", "execution_count", "provision", "notebook", "chapter", "parameters",
    "summary", "sw1-north", "source", "outputs",
)  # fmt: skip


def test_a_record_stays_true_though_a_secret_of_an_earlier_version_is_a_word_of_its_structure(
    book: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_known", set()), ("_watched", {}), ("_seen", {}), ("_structure", set())):
        monkeypatch.setattr(secrets, name, value)
    root = tmp_path / "home"
    cluster = Cluster("lab", root)
    cluster.secrets_folder.mkdir(parents=True)
    for at, word in enumerate(WORDS):
        (cluster.secrets_folder / f"word-{at}").write_text(word + "\n")
    monkeypatch.setenv("MY_PW", "Vo4ieghu8eeNgei")
    path = book.notebook("07_bootstrap_galera", "# 07", "@parameters pw: str = ''\nnodes: list = []", "## First", "print('a provision of Vo4ieghu8eeNgei: sw1-north')",
                         "## Second", "{'completed': 1, 'text': 'metadata'}", traced=False)  # fmt: skip
    chapter = Chapter(path, {"pw": "env:MY_PW", "nodes": ["sw1-north"]}, "07", "bootstrap_galera")
    folder = root / "runs" / "lab" / "2026-11-27T10-00-00Z"
    stream = io.StringIO()
    keep_names(["sw1-north"])
    result = run_chapters(
        [chapter],
        folder,
        env=book.env,
        console=Console(stream),
        cwd=tmp_path,
        cluster=cluster.folder,
        evidence=Evidence(folder, cluster, Signing(cluster)),
    )
    assert result.status == "completed", stream.getvalue()
    assert "07 bootstrap_galera" in stream.getvalue()
    report = audit(folder, root)
    assert (report.exit_code, report.finding, report.status) == (0, "", "completed"), report
    nb = nbformat.read(folder / "07_bootstrap_galera.ipynb", as_version=4)
    nbformat.validate(nb)
    assert nb.metadata.papermill.status == "completed" and "sw1-north" in str(nb.metadata.papermill.parameters)
    assert "Vo4ieghu8eeNgei" not in (folder / "07_bootstrap_galera.ipynb").read_text()
    kept = json.loads((folder / "summary.json").read_text())
    assert kept["status"] == "completed" and kept["chapters"][0]["name"] == "bootstrap_galera"
