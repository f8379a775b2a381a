"""What is printed to be typed can be typed: in folders with a blank, an umlaut, a percent sign, a dollar; and after a move."""

from __future__ import annotations

import ast
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.node import Endpoint, Jump, Node
from swarmbook.access.ssh_keys import generate_key
from swarmbook.base.words import typed
from swarmbook.book.book import Book
from swarmbook.diagnosis.status import by_ssh, how_to_reach
from swarmbook.params import Params

ROOT = Path(__file__).resolve().parents[2]
ODD = "mv ä%h $x & it's (1)"
#: How a path is called in the code.
_PATHS = ("path", "folder", "file", "parent", "key_file", "known_hosts", "ssh_config", "authority")


def _pasted(tree: ast.AST) -> Iterator[ast.FormattedValue]:
    """Values in what is to be typed: ``next=f"..."``, and the texts that say how something is reached."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "next":
            yield from (part for part in ast.walk(node.value) if isinstance(part, ast.FormattedValue))
        if isinstance(node, ast.FunctionDef) and node.name in ("how_to_reach", "by_ssh", "env", "tunnel"):
            yield from (part for part in ast.walk(node) if isinstance(part, ast.FormattedValue))


def _ends_with(value: ast.expr) -> str:
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name.lstrip("_").rpartition("_")[2] if name not in _PATHS else name


def test_every_path_in_what_is_to_be_typed_is_quoted() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{part.lineno}: {{{ast.unparse(part.value)}}}: use typed()"
        for file in sorted((ROOT / "swarmbook").rglob("*.py"))
        for part in _pasted(ast.parse(file.read_text(encoding="utf-8")))
        if _ends_with(part.value) in _PATHS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def odd(tmp_path: Path, node: Callable[..., Node]) -> Cluster:
    cluster = Cluster("lab", tmp_path / ODD)
    generate_key(cluster.key_file, "test")
    jump = Jump(Endpoint("10.0.0.9", 22), "ssh-ed25519 J", "hop")
    cluster.save_nodes([node("sw1"), node("sw2", jump=jump)], "lab")
    return cluster


def _asked(config: Path, name: str) -> dict[str, str]:
    done = subprocess.run(["ssh", "-G", "-F", str(config), name], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client on this computer")
def test_openssh_reads_the_files_of_a_folder_with_any_name(odd: Cluster) -> None:
    for name in ("sw1", "sw2", "sw2.jump"):
        said = _asked(odd.ssh_config, name)
        # -G prints a path before its tokens are replaced.
        assert said["identityfile"].replace("%%", "%") == str(odd.key_file)
        assert said["userknownhostsfile"].replace("%%", "%") == str(odd.known_hosts)


def test_the_settings_of_openssh_follow_a_folder_that_moves(odd: Cluster, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    odd.root.rename(elsewhere)
    moved = Cluster("lab", elsewhere)
    text = moved.ssh_config.read_text()
    assert str(tmp_path / ODD).replace("%", "%%") not in text and str(moved.key_file) in text
    assert moved.ssh_config.stat().st_mode & 0o777 == 0o600
    before = moved.ssh_config.stat().st_mtime_ns
    assert moved.ssh_config.stat().st_mtime_ns == before, "it is written where it differs only"
    others = [f for f in elsewhere.rglob("*") if f.is_file() and str(tmp_path / ODD).encode() in f.read_bytes()]
    assert others == []


def test_what_says_how_to_reach_a_cluster_can_be_pasted(odd: Cluster) -> None:
    params = Params(nodes=["sw1", "sw2"], mariadb_port=3306, mariadb_admin="dba")
    book = Book("", params, cluster=odd)
    whole = how_to_reach(book) + "\n" + by_ssh(odd, odd.nodes[0], [3306])
    words = [word for line in whole.splitlines() for word in shlex.split(line, comments=True)]
    files = [word for word in words if str(odd.folder) in word]
    assert len(files) >= 5 and all("  " not in word and word.count(ODD) == 1 for word in files)
    for word in files:
        path = word.partition("=")[2] or word
        assert path.startswith(str(odd.folder)), word


@pytest.mark.parametrize("path", [ODD, "plain", "$(reboot)", "`id`", "a\\b", "-rf", "~", "*"])
def test_a_typed_word_is_one_word_to_a_shell(path: str) -> None:
    said = subprocess.run(["sh", "-c", f"printf %s {typed(path)}"], capture_output=True, text=True, check=True)
    assert said.stdout == path


@pytest.mark.parametrize(("limit", "code"), [(64, 3), (255, 3), (256, 0), (1024, 0)])
def test_too_few_open_files_are_named_and_a_low_soft_limit_is_raised(limit: int, code: int) -> None:
    script = (
        "import resource, sys; from swarmbook.base.limits import allow_open_files; from swarmbook.base.errors import WorldError\n"
        "try:\n    allow_open_files()\nexcept WorldError as error:\n    print(error); sys.exit(3)\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    hard = f"ulimit -Sn 64; ulimit -Hn {limit};"
    done = subprocess.run(["bash", "-c", f'{hard} exec "$0" -c "$1"', sys.executable, script], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == code, done
    assert done.stdout == f"{limit}\n" if code == 0 else f"seen:   {limit}" in done.stdout and "next:" in done.stdout
