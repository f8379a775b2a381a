"""The notebook linter, on a notebook that is right and on one mistake at a time."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from swarmbook.model.phases import PHASES
from swarmbook.params import phase_params

HEADER = (
    "# Overlay\n\n**What it does**: x. **What it can break**: x. **How to undo it**: x. **How long it takes**: x.\n"
)
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def linter(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("lint_notebooks", root / "tools" / "lint_notebooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def good(linter: Any, phase: str = "06") -> dict[str, Any]:
    new = nbformat.v4
    steps = []
    for step in PHASES[phase].steps:
        steps.append(
            new.new_markdown_cell(
                "## Make it\n\nBy hand:\n\n```sh\n# no heading\n## none either\ndocker network create x\n```\n"
            )
        )
        steps.append(new.new_code_cell(f"{step.replace(':', '.')}(book)"))
    cells = [
        new.new_markdown_cell(HEADER),
        new.new_code_cell(
            "\n".join(linter.parameter_line(name) for name in phase_params(phase)), metadata={"tags": ["parameters"]}
        ),
        new.new_code_cell(
            "from swarmbook.notebook import open_book\n\nbook = open_book('06', globals())\n\nx = 1",
            metadata={"tags": ["bootstrap"]},
        ),
        *steps,
        new.new_markdown_cell(
            "## Conclusion\n\nDone.\n\nNext: [07](07_bootstrap_galera.ipynb#top), [docs](https://example.org/x)\n"
        ),
    ]
    return json.loads(nbformat.writes(new.new_notebook(cells=cells)))  # type: ignore[no-any-return]


def write(tmp_path: Path, data: dict[str, Any], name: str = "06_create_overlay.ipynb") -> Path:
    (tmp_path / "07_bootstrap_galera.ipynb").touch()
    path = tmp_path / name
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("phase", PHASES)
def test_a_good_one(linter: Any, tmp_path: Path, phase: str) -> None:
    assert linter.lint(write(tmp_path, good(linter, phase), PHASES[phase].file)) == []


def source(index: int, text: str) -> Edit:
    return lambda nb: nb["cells"][index].__setitem__("source", text)


def replace(index: int, old: str, new: str) -> Edit:
    def edit(nb: dict[str, Any]) -> None:
        text = "".join(nb["cells"][index]["source"])
        assert old in text
        nb["cells"][index]["source"] = text.replace(old, new)

    return edit


MISTAKES: dict[str, tuple[Edit, str]] = {
    "old format": (lambda nb: nb.update(nbformat_minor=4), "nbformat 4.4, wanted 4.5"),
    "no id": (lambda nb: nb["cells"][1].pop("id"), "cell 2: no id"),
    "an id twice": (lambda nb: nb["cells"][2].update(id=nb["cells"][1]["id"]), "cell 3: has the id"),
    "outputs": (lambda nb: nb["cells"][4].update(outputs=[{"output_type": "stream", "name": "stdout", "text": "x"}]), "cell 5: carries outputs"),
    "a count": (lambda nb: nb["cells"][4].update(execution_count=3), "cell 5: carries outputs or an execution count"),
    "a run's metadata": (lambda nb: nb["metadata"].update(papermill={}), "metadata of a papermill run"),
    "a cell's run": (lambda nb: nb["cells"][4]["metadata"].update(papermill={}), "cell 5: carries the metadata of an execution"),
    "no title": (replace(0, "# Overlay", "Overlay"), "cell 1: 0 H1"),
    "two titles": (replace(0, "# Overlay", "# A\n# B"), "cell 1: 2 H1"),
    "no undo": (replace(0, "How to undo it", "Undo"), "does not say “How to undo it”"),
    "code first": (lambda nb: nb["cells"].pop(0), "cell 1: the first cell is markdown"),
    "no parameters": (lambda nb: nb["cells"][1]["metadata"].update(tags=[]), "0 cells tagged `parameters`"),
    "parameters twice": (lambda nb: nb["cells"][4]["metadata"].update(tags=["parameters"]), "cell 5: 2 cells tagged `parameters`"),
    "a parameter missing": (lambda nb: source(1, "".join(nb["cells"][1]["source"]).split("\n", 1)[1])(nb), "cell 2: missing: cluster: str = \"lab\"  # name of the cluster"),
    "a stranger": (replace(1, "overlay_mtu: int = 0", "x: int = 1  # y\noverlay_mtu: int = 0"), "cell 2: x is no parameter of phase 06"),
    "another default": (replace(1, "overlay_mtu: int = 0", "overlay_mtu: int = 1400"), "wanted: overlay_mtu: int = 0  # MTU of the overlay"),
    "another type": (replace(1, "overlay_mtu: int", "overlay_mtu: str"), "wanted: overlay_mtu: int = 0"),
    "another help": (replace(1, "# MTU", "# the MTU"), "wanted: overlay_mtu: int = 0  # MTU"),
    "no type": (replace(1, "overlay_mtu: int =", "overlay_mtu ="), "only `name: type = default  # help` may stand here"),
    "not Python": (source(1, "cluster ="), "cell 2: the parameters cell is not Python"),
    "logic": (replace(1, "overlay_mtu: int = 0", "overlay_mtu: int = 0 if cluster else 1"), "not as the schema has it"),
    "another order": (
        lambda nb: source(1, "\n".join(reversed("".join(nb["cells"][1]["source"]).split("\n"))))(nb), "cell 2: not in the schema's order: cluster, nodes"),
    "no bootstrap": (lambda nb: nb["cells"].pop(2), "cell 4: the code cell after the parameters opens the book"),
    "a def": (source(4, "def x():\n    pass"), "cell 5: defines something"),
    "a shell": (source(4, "!docker ps"), "cell 5: runs a shell command or a magic: !docker ps"),
    "a magic": (source(4, "x\n  %time y"), "cell 5: runs a shell command or a magic: %time y"),
    "a thick step": (source(4, "a\nb\nc\nd"), "cell 5: 4 lines, wanted at most 3"),
    "an empty step": (source(4, ""), "cell 5: is empty"),
    "a step without a heading": (source(3, "Make it"), "cell 5: a step needs a markdown cell with exactly one H2"),
    "a step with two": (replace(3, "## Make it", "## A\n## B"), "cell 5: a step needs a markdown cell with exactly one H2"),
    "two steps under one heading": (lambda nb: nb["cells"].insert(5, {**nb["cells"][4], "id": "other"}), "cell 6: a step needs"),
    "no conclusion": (replace(-1, "## Conclusion", "## End"), "cell 8: the last cell is markdown with “## Conclusion”"),
    "no next": (replace(-1, "Next:", "After:"), "cell 8: the conclusion has no link"),
    "a dead link": (replace(-1, "07_bootstrap_galera", "09_gone"), "cell 8: the link 09_gone.ipynb#top leads nowhere"),
    "a name that is written otherwise": (replace(-1, "## Conclusion", "## Conclusion\n\nMariadb runs."), "cell 8: Mariadb is written MariaDB"),
    "a module of a parameter's name": (source(2, "from swarmbook.phases import overlay, nodes"), "cell 3: imports nodes, which is a parameter of this notebook"),
    "another step": (source(4, "overlay.reach(book)"), "its steps are overlay.reach(book), overlay.reach(book); swarmbook.model.phases has overlay.create(book), overlay.reach(book)"),
    "no cells": (lambda nb: nb.update(cells=[]), "empty"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told(linter: Any, tmp_path: Path, edit: Edit, words: str) -> None:
    data = good(linter)
    edit(data)
    reported = "\n".join(map(str, linter.lint(write(tmp_path, data))))
    assert words in reported
    assert "06_create_overlay.ipynb" in reported


def test_what_is_no_notebook(linter: Any, tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}'):
        path = tmp_path / "06_create_overlay.ipynb"
        path.write_text(text)
        (finding,) = linter.lint(path)
        assert "not a notebook" in str(finding)
    (finding,) = linter.lint(write(tmp_path, good(linter), "06_overlay.ipynb"))
    assert "no phase of that name" in str(finding)


def test_exit_codes(linter: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = good(linter)
    assert linter.main([str(write(tmp_path, data))]) == 0
    assert capsys.readouterr().out == ""
    data["cells"][4]["source"] = "!ls"
    assert linter.main([str(write(tmp_path, data))]) == 1
    assert "06_create_overlay.ipynb: cell 5: runs a shell command" in capsys.readouterr().out


def test_parameters_are_written_from_the_schema(
    linter: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = good(linter)
    right = data["cells"][1]["source"]
    data["cells"][1]["source"] = 'cluster: str = "mine"  # an old comment'
    path = write(tmp_path, data)
    assert linter.main([str(path)]) == 1
    assert linter.main(["--parameters", str(path)]) == 0
    data["cells"][1]["source"] = "".join(right)
    assert json.loads(path.read_text()) == data, "nothing else was touched"


def test_names_as_their_owners_write_them(linter: Any) -> None:
    assert linter.misspelt("mariadb and DOCKER on debian, by PaperMill") == ["mariadb", "DOCKER", "debian", "PaperMill"]
    for fine in (
        "Btrfs and Papermill begin a sentence",
        "`mariadb` and docker-proxy, docker.io, debian:trixie",
        "[x](https://mariadb.com/kb/en/)",
        "swarmbook/phases/consul/step.py",
    ):
        assert linter.misspelt(fine) == [], fine
