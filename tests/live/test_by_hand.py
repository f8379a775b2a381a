"""What the notebooks tell a reader to type is typed, word for word: what looks, looks; what stands for a step leaves that step nothing to do."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Done, Lab

ROOT = Path(__file__).parents[2]
NODES = ["sw1", "sw2", "sw3"]


@dataclass(frozen=True)
class Box:
    """One box of commands in a notebook; ``instead`` of a step, or only to look."""

    notebook: str
    cell: str
    instead: bool
    script: str


def boxes() -> list[Box]:
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] != "markdown":
                continue
            before = 0
            for match in re.finditer(r"```sh\n(.*?)```", cell["source"], re.DOTALL):
                words = cell["source"][before : match.start()]
                kinds = re.findall(r"\b([Ii]nstead|[Tt]o look|Break it, and see)\b", words)
                assert kinds, (
                    f"{path.name}, {cell['id']}: nothing says whether this box is to look, or instead of the step:\n{match[1]}"
                )
                found.append(Box(path.stem[:2], cell["id"], kinds[-1].lower() != "to look", match[1]))
                before = match.end()
    return found


BOXES = boxes()
#: Notebooks that this lab has been given besides those of a run.
RAN: set[str] = set()


def box(cell: str) -> Box:
    """The first box of a cell that changes something; the one for other machines than the lab's is typed in test_disks.py."""
    return next(box for box in BOXES if box.cell == cell and box.instead)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    lab = make_lab(NODES)
    lab.file()
    return lab


def typed(lab: Lab, script: str) -> Done:
    """Typed in the book's folder, with the environment active; only the lab's name is another one."""
    for words in ("clusters/lab", "backups/lab", "swarmbook-lab", "swarmbook.cluster=lab"):
        script = script.replace(words, words[: -len("lab")] + lab.name)
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return lab.call(["bash", "-e", "-o", "pipefail", "-c", script], env=env)


def changes(lab: Lab) -> dict[str, int]:
    """Changes by step of the last run."""
    return {step["title"]: step["changes"] or 0 for chapter in lab.summary()["chapters"] for step in chapter["steps"]}


def test_a_key_is_made_by_hand(lab: Lab) -> None:
    typed(lab, box("01-step1-text").script).expect(0)
    lab.book("run", "--only", "01").expect(0)
    assert changes(lab)["Create an SSH key"] == 0


def test_disks_are_laid_out_by_hand(lab: Lab) -> None:
    typed(lab, box("02-step1-text").script).expect(0)
    typed(lab, box("02-step2-text").script).expect(0)
    lab.book("run", "--only", "02").expect(0)
    assert set(changes(lab).values()) == {0}, changes(lab)


def test_a_swarm_is_formed_by_hand(lab: Lab) -> None:
    lab.book("run", "--to", "03").expect(0)
    for name in NODES:
        typed(lab, box("90-step2-text").script.replace("sw3", name)).expect(0)
    typed(lab, box("03-step2-text").script).expect(0)
    typed(lab, box("03-step3-text").script).expect(0)
    lab.book("run", "--only", "03").expect(0)
    assert set(changes(lab).values()) == {0}, changes(lab)


def test_a_network_is_made_by_hand(lab: Lab) -> None:
    lab.book("run", "--to", "05").expect(0)
    typed(lab, box("06-step1-text").script).expect(0)
    lab.book("run", "--from", "06").expect(0)
    assert changes(lab)["Create the network"] == 0


@pytest.mark.parametrize(
    "look",
    # Those of a first run always, those of later days by night.
    [
        pytest.param(box, id=box.cell, marks=[pytest.mark.long] if "08" < box.notebook < "90" else [])
        for box in BOXES
        if not box.instead
    ],
)
def test_what_looks_works(lab: Lab, look: Box) -> None:
    lab.need()
    for number in {"09": ["20"], "20": ["20"], "24": ["20", "24"]}.get(look.notebook, []):
        # No run ends with these, unless the parameters say so; nothing that is typed here takes them away.
        if number not in RAN:
            lab.book("run", "--only", number).expect(0)
            RAN.add(number)
    if look.notebook in ("26", "27") and not (lab.home / "backups").exists():
        lab.book("backup", "--verify").expect(0)
    done = typed(lab, look.script)
    done.expect(0)
    assert done.out.strip(), f"it shows nothing:{done}"


def test_break_it_and_see(lab: Lab) -> None:
    lab.need()
    typed(lab, box("08-end").script).expect(0)
    said = lab.book("verify").said
    assert "sw3" in said and "next:" in said, said
    rows = {row["node"]: row for row in lab.book("status", "--json").json}
    assert rows["sw3"]["engine"] != "active"
    # After it, a member's part at the endpoint: there is one if the boxes of 20 were run before this.
    assert all(rows[node]["galera"].startswith("Synced, Primary") for node in ("sw1", "sw2")), rows
    lab.book("run").expect(0)
    lab.book("verify").expect(0)
