"""Files that say the same thing in two places cannot drift apart."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:
    import tomllib
except ImportError:  # Python 3.10: pytest brings it along
    import tomli as tomllib

FILES = [
    "pyproject.toml",
    *(f"requirements/{name}.txt" for name in ("run", "dev", "book")),
    "environment.yml",
    "Makefile",
    ".ci/run",
    ".gitignore",
]


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def environment(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "environment.yml").read_text())  # type: ignore[no-any-return]


LOCKS = {"run": (), "dev": ("test", "check"), "book": ("book",)}
_ENTRY = re.compile(
    r"^(?P<requirement>[^#\s].*?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def locked(root: Path, name: str) -> dict[str, list[Requirement]]:
    """Read a lock file; every line of it has to belong to an entry with hashes."""
    text = (root / "requirements" / f"{name}.txt").read_text()
    found: dict[str, list[Requirement]] = {}
    for entry in _ENTRY.finditer(text):
        requirement = Requirement(entry["requirement"])
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    rest = _ENTRY.sub("", text).splitlines()
    assert len(rest) == 1 and rest[0].startswith("# "), rest[:5]
    return found


def test_conda_takes_what_is_locked(root: Path, project: dict[str, Any], environment: dict[str, Any]) -> None:
    python, pip, inner = environment["dependencies"]
    assert Requirement(python) == Requirement(f"python{project['requires-python']}")
    assert pip == "pip"
    assert set(inner) == {"pip"}
    hashes, *files = inner["pip"]
    assert hashes == "--require-hashes"
    assert files == ["-r requirements/dev.txt", "-r requirements/book.txt"]
    assert {extra for extras in LOCKS.values() for extra in extras} == set(project["optional-dependencies"])
    assert sorted(path.stem for path in (root / "requirements").iterdir()) == sorted(LOCKS)


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_within_its_bounds(root: Path, project: dict[str, Any], name: str) -> None:
    pinned = locked(root, name)
    backend = tomllib.loads((root / "pyproject.toml").read_text())["build-system"]["requires"]
    extras = [wanted for extra in LOCKS[name] for wanted in project["optional-dependencies"][extra]]
    for requirement in map(Requirement, [*project["dependencies"], *backend, *extras]):
        pins = pinned[canonicalize_name(requirement.name)]
        for pin in pins:
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert requirement.specifier.contains(exact.version), f"{requirement} and {pin}"


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_one_version_is_locked_on_each_python_and_in_each_environment(
    root: Path, project: dict[str, Any], version: str
) -> None:
    where = {"python_version": version, "python_full_version": f"{version}.7", "sys_platform": "linux", "os_name": "posix", "platform_python_implementation": "CPython", "implementation_name": "cpython"}  # fmt: skip
    needed = {canonicalize_name(Requirement(r).name) for r in project["dependencies"]}
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, pins in locked(root, lock).items():
            fitting = [str(pin.specifier) for pin in pins if pin.marker is None or pin.marker.evaluate(where)]
            assert len(fitting) <= 1, fitting
            versions.setdefault(name, set()).update(fitting)
            assert fitting or name not in needed, f"{name} on {version}"
    assert not {name: seen for name, seen in versions.items() if len(seen) > 1}


def test_pip_refuses_other_bytes_than_those_that_were_locked(root: Path, tmp_path: Path) -> None:
    """A wheel of the right name and version, from an index that someone else keeps."""
    wheel = tmp_path / "index" / "filelock-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("filelock-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: filelock\nVersion: 1.0\n")
        archive.writestr(
            "filelock-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("filelock-1.0.dist-info/RECORD", "")
    options = re.search(
        r"^PIP := -m pip (.*)\n+LOCKED := \$\(PIP\) (.*)$", (root / "Makefile").read_text(), re.MULTILINE
    )
    assert options
    # Without this machine's own settings of pip, which may name an index of its own.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")} | {"PIP_CONFIG_FILE": os.devnull}  # fmt: skip

    def install(digest: str) -> subprocess.CompletedProcess[str]:
        lock = tmp_path / "lock.txt"
        lock.write_text(f"filelock==1.0 --hash=sha256:{digest}\n")
        words = [*options[1].split(), *options[2].split(), "--no-index", "--find-links", str(wheel.parent)]
        command = [sys.executable, "-m", "pip", *words, "--target", str(tmp_path / "there"), "-r", str(lock)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    refused = install("0" * 64)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "there").exists()
    assert install(hashlib.sha256(wheel.read_bytes()).hexdigest()).returncode == 0


def test_rich_is_left_to_softlayer(project: dict[str, Any]) -> None:
    assert "rich" not in {Requirement(r).name for r in project["dependencies"]}


def test_what_is_imported_is_declared(root: Path, project: dict[str, Any]) -> None:
    import ast

    distributions = {
        "yaml": "pyyaml",
        "IPython": "ipykernel",
        "traitlets": "ipykernel",
        "zmq": "jupyter_client",
        "jupyter_core": "jupyter_client",
        "pymysql": "PyMySQL",
        "nacl": "PyNaCl",
    }
    declared = {canonicalize_name(Requirement(r).name) for r in project["dependencies"]}
    for file in (root / "swarmbook").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            for top in {name.split(".")[0] for name in names} - {"swarmbook"} - set(sys.stdlib_module_names):
                assert canonicalize_name(distributions.get(top, top)) in declared, f"{file}: {top}"


def test_the_entry_points_lead_somewhere(project: dict[str, Any]) -> None:
    for target in [*project["scripts"].values(), *project["entry-points"]["papermill.engine"].values()]:
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_every_file_of_the_images_ships(root: Path) -> None:
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["swarmbook"]
    package = root / "swarmbook"
    shipped = {file for pattern in patterns for file in package.glob(pattern)}
    wanted = {file for file in package.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert wanted <= shipped, sorted(map(str, wanted - shipped))
    assert len(wanted) > 10


def test_no_address_of_a_registry(root: Path) -> None:
    for name in FILES:
        text = (root / name).read_text()
        assert not re.search(r"index-url|find-links|trusted-host|https?://", text.replace("--no-emit-index-url", "")), (
            name
        )


def test_make_help_names_every_target_that_the_readme_may_name(root: Path) -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=root, capture_output=True, text=True, check=True)
    for target in ("run", "book", "test", "check", "audit", "bench", "destroy", "prune", "clean"):
        assert f"make {target} " in done.stdout


def test_a_python_that_is_too_old_or_lacks_venv_is_told_in_one_line(root: Path, tmp_path: Path) -> None:
    """The old one is played: its `-c` exits as Python 3.9's would."""
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/run.txt", "Makefile"):
        (tmp_path / name).write_text((root / name).read_text())
    old = tmp_path / "python"
    for script, words in (
        ("exit 1", "needs Python 3.10 or newer"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ):
        old.write_text(f"#!/bin/sh\n{script}\n")
        old.chmod(0o755)
        done = subprocess.run(
            ["make", "run", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert words in done.stdout
        assert len(done.stdout.splitlines()) == 1
        assert not (tmp_path / ".venv").exists()


def test_ci_says_what_the_readme_says(root: Path) -> None:
    file = root / ".ci" / "run"
    assert os_executable(file)
    text = file.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    calls = re.findall(r"^(?:timed )?(make .+)$", text, re.MULTILINE)
    assert calls == ["make check", "make audit AUDIT=--if-reachable", "make test", "make test-live"]
    assert "test-all: test test-live " in (root / "Makefile").read_text(), "which is what the last two are"
    subprocess.run(["bash", "-n", str(file)], check=True)


def test_what_the_tests_need_is_named_in_one_line(root: Path, tmp_path: Path) -> None:
    """If the tools are missing and may not be installed, make stops and says what to type; it skips no test."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)

    def needs(*programs: str) -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", str(root / "tools" / "needs.sh"), *programs]
        return subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)

    done = needs("chromium", "linux.uml")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "the tests lack chromium linux.uml; on Debian or Ubuntu: sudo apt-get install chromium user-mode-linux"
    ]
    assert needs("root", "sh").returncode == 2
    (tmp_path / "chromium").symlink_to("/bin/true")
    assert needs("chromium").returncode == 0
    assert needs("nonsense").returncode == 2


def os_executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o111)
