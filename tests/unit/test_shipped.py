"""A reader's copy of the book: completed, never overwritten, and compared with what a newer version ships."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

from swarmbook.base.codes import Code
from swarmbook.base.errors import ForeignData, WorldError
from swarmbook.cli import main, shipped
from swarmbook.cli.shipped import MARK, copy_to, differences
from swarmbook.testing.errors import raises


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a newer version's files lie, which is the book that ships from then on."""
    folder = tmp_path / "newer"
    for path, source in shipped.shipped().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / path)
    monkeypatch.setattr(
        shipped, "shipped", lambda: {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    )
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_copy_is_the_book(tmp_path: Path) -> None:
    written = copy_to(tmp_path / "mine")
    assert "params/lab.yaml" in written and "notebooks/08_verify_galera.ipynb" in written
    assert all(
        (tmp_path / "mine" / path).read_bytes() == source.read_bytes() for path, source in shipped.shipped().items()
    )
    assert differences(tmp_path / "mine") == [] and copy_to(tmp_path / "mine") == []


def test_no_link_leads_out_of_a_copy(tmp_path: Path) -> None:
    copy_to(tmp_path)
    links = []
    for page in [*tmp_path.glob("docs/**/*.md"), *tmp_path.glob("notebooks/*.ipynb")]:
        text = page.read_text()
        if page.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|href)=\"([^\"#]+)", text)
        links += [(page, link) for link in map("".join, found) if "://" not in link]
    assert len(links) > 50, "they are found"
    assert [f"{page.relative_to(tmp_path)}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_a_copy_that_was_broken_off_is_completed_and_nothing_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    copy_to(mine)
    change(mine / "params" / "lab.yaml", "cluster: lab", "cluster: shop")
    (mine / "notebooks" / "05_verify_swarm.ipynb").unlink()
    (mine / MARK).unlink()
    with pytest.raises(ForeignData) as refused:
        copy_to(mine)
    assert refused.value.seen == "params/lab.yaml" and not (mine / "notebooks" / "05_verify_swarm.ipynb").exists()
    change(mine / "params" / "lab.yaml", "cluster: shop", "cluster: lab")
    assert copy_to(mine) == ["notebooks/05_verify_swarm.ipynb"]
    change(mine / "params" / "lab.yaml", "cluster: lab", "cluster: shop")
    assert copy_to(mine) == [] and "cluster: shop" in (mine / "params" / "lab.yaml").read_text()


def test_whose_change_it_is(tmp_path: Path, newer: Path) -> None:
    mine = tmp_path / "mine"
    copy_to(mine)
    change(mine / "params" / "lab.yaml", "cluster: lab", "cluster: shop")
    change(newer / "params" / "softlayer.yaml", "sl_cpu: 2", "sl_cpu: 4")
    change(mine / "notebooks" / "01_provision_instances.ipynb", "## Reach them", "## Reach every one")
    change(newer / "notebooks" / "01_provision_instances.ipynb", "## See the price", "## See what it costs")
    (mine / "params" / "rehearsal.yaml").unlink()
    (newer / "params" / "own.yaml").write_text("cluster: own\n")
    (newer / "notebooks" / "91_cancel_instances.ipynb").unlink()
    found = {difference.path: difference for difference in differences(mine)}
    assert {path: difference.what for path, difference in found.items()} == {
        "notebooks/01_provision_instances.ipynb": "changed by you, and in this version since 0.1.0",
        "notebooks/91_cancel_instances.ipynb": "not in this version any more",
        "params/lab.yaml": "changed by you",
        "params/own.yaml": "new in this version",
        "params/rehearsal.yaml": "removed by you",
        "params/softlayer.yaml": "changed in this version since 0.1.0",
    }
    both = "\n".join(found["notebooks/01_provision_instances.ipynb"].lines)
    assert "-## Reach every one" in both and "+## See what it costs" in both and '"cell_type"' not in both
    assert copy_to(mine) == ["params/own.yaml", "params/rehearsal.yaml"]


def test_an_executed_notebook_is_not_a_changed_one(tmp_path: Path) -> None:
    copy_to(tmp_path)
    path = tmp_path / "notebooks" / "05_verify_swarm.ipynb"
    data = json.loads(path.read_text())
    code = next(cell for cell in data["cells"] if cell["cell_type"] == "code")
    code["execution_count"], code["outputs"] = 1, [{"output_type": "stream", "name": "stdout", "text": "3 nodes"}]
    path.write_text(json.dumps(data))
    assert differences(tmp_path) == []


def test_no_copy_and_a_broken_one_are_told(tmp_path: Path) -> None:
    with raises(Code.NO_COPY_OF_THE_BOOK):
        differences(tmp_path)
    (tmp_path / MARK).write_text("{")
    with pytest.raises(WorldError, match="cannot be read"):
        differences(tmp_path)


def test_the_command(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(main, ["init"]).exit_code == 2
    assert "next: cd" in run(main, ["init", str(tmp_path / "b")]).output
    assert run(main, ["init", str(tmp_path / "b"), "--diff"]).exit_code == 0
    change(tmp_path / "b" / "params" / "lab.yaml", "cluster: lab", "cluster: shop")
    done = run(main, ["init", str(tmp_path / "b"), "--diff"])
    assert done.exit_code == 1 and "-cluster: shop" in done.output and "1 file differs" in done.output
    assert (
        json.loads(run(main, ["init", str(tmp_path / "b"), "--diff", "--json"]).output)[0]["path"] == "params/lab.yaml"
    )


def test_the_wheel_carries_the_book(root: Path, tmp_path: Path) -> None:
    """Built from a copy of the sources and installed beside no checkout; the packages that it needs are lent to it."""
    source = tmp_path / "source"
    shutil.copytree(
        root,
        source,
        ignore=lambda folder, names: [
            n for n in names if n.startswith(".") or n in ("tests", "clusters", "runs", "build", "fire-results")
        ],
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("swarmbook-*.whl")
    shutil.rmtree(source)
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    subprocess.run(
        [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SWARMBOOK_", "PYTHON"))}

    def swarmbook(*arguments: str) -> str:
        done = subprocess.run(
            [tmp_path / "env" / "bin" / "swarmbook", *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "files written" in swarmbook("init", "mine")
    assert sorted(p.name for p in (tmp_path / "mine" / "notebooks").iterdir()) == sorted(
        p.name for p in (root / "notebooks").glob("*.ipynb")
    )
    assert "same as this version ships" in swarmbook("init", "mine", "--diff")
