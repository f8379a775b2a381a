"""Materials: what a run found deployed reaches its ledger as data, and its envelope as resolved dependencies."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.access.probe import Refused
from swarmbook.base.codes import Code
from swarmbook.base.errors import CheckFailed, WorldError
from swarmbook.book.book import Book
from swarmbook.model.checks import Check
from swarmbook.model.ledger import FILE, read_chain
from swarmbook.model.material import Kind, Material, found
from swarmbook.model.results import Chapter, ChapterRecord, RunResult
from swarmbook.model.rundir import RunFolder
from swarmbook.model.transcript import Transcript
from swarmbook.params import Params
from swarmbook.phases.engine.step import configure
from swarmbook.phases.post_provision.software import System, _versions, system, wanted_packages
from swarmbook.phases.support.images import image_materials
from swarmbook.phases.support.systems import FAMILIES
from swarmbook.record import envelope
from swarmbook.record.evidence import Evidence
from swarmbook.record.reader import read_record
from swarmbook.record.signing import Signing

from .doubles import Fleet, Host
from .steps import made_step

DIGEST = "sha256:" + "ab" * 32


def test_a_package_url_names_it() -> None:
    for material, uri in (
        (found("sw1", Kind.SERVER, "consul", "1.20.6"), "pkg:generic/consul@1.20.6"),
        (found("sw1", Kind.DEB, "lvm2", "2.03.16-2", origin="debian"), "pkg:deb/debian/lvm2@2.03.16-2"),
        (found("sw1", Kind.DEB, "x", "1:2~rc1+b1", origin="debian"), "pkg:deb/debian/x@1%3A2~rc1%2Bb1"),
        (found("sw1", Kind.RPM, "x", "2^git1-3.el9", origin="rocky"), "pkg:rpm/rocky/x@2%5Egit1-3.el9"),
        (found("sw1", Kind.IMAGE, "swarmbook/galera", "0123", id=DIGEST), "pkg:docker/swarmbook/galera@0123"),
    ):
        assert material.uri == uri and Material.from_json(json.loads(json.dumps(material.to_json()))) == material


@pytest.mark.parametrize(
    "lie",
    [
        ("consul", ""),
        ("consul", "1; reboot"),
        ("", "1"),
        ("consul", "1\n2"),
        ("consul", "\x1b]52;c;x\x07"),
        ("c", "1" * 200),
    ],
)
def test_what_a_host_says_of_it_is_bounded(lie: tuple[str, str]) -> None:
    with pytest.raises(WorldError) as caught:
        found("sw1", Kind.SERVER, *lie)
    assert caught.value.code is Code.ANSWER_REFUSED and "\x1b" not in str(caught.value)
    with pytest.raises(WorldError):
        found("sw1", Kind.IMAGE, "a", "1", id="sha256:short")


def test_images_by_their_ids() -> None:
    engines: Any = {name: SimpleNamespace(image_id=lambda tag: DIGEST) for name in ("sw1", "sw2")}
    rows = image_materials(
        engines, {"sw1": ["swarmbook/consul:1", "swarmbook/galera:2"], "sw2": ["swarmbook/consul:1"]}
    )
    assert [(m.host, m.name, m.version, m.digest) for m in rows] == [
        ("sw1", "swarmbook/consul", "1", "ab" * 32),
        ("sw1", "swarmbook/galera", "2", "ab" * 32),
        ("sw2", "swarmbook/consul", "1", "ab" * 32),
    ]


def test_packages_by_their_versions() -> None:
    params = Params(nodes=["sw1"], swarm_managers=1, packages=["htop"])
    seen = {"sw1": System({"ID": "debian", "VERSION_ID": "13"})}
    answer = [("htop", "3.4.1-5"), ("lvm2", "2.03.31-2")]
    book: Any = SimpleNamespace(fleet=Fleet(sw1=Host("sw1", answer)), params=params)
    uris = [material.uri for material in system.materials(book, wanted_packages(params, seen), seen)]
    assert uris == ["pkg:generic/debian@13", "pkg:deb/debian/htop@3.4.1-5", "pkg:deb/debian/lvm2@2.03.31-2"]
    (asked,) = book.fleet["sw1"].asked
    assert "dpkg-query" in asked and "htop" in asked


def test_the_question_for_versions_is_understood_by_this_system() -> None:
    if subprocess.run(["sh", "-c", "command -v dpkg-query"], capture_output=True).returncode:
        pytest.skip("no dpkg here")
    probe = _versions(FAMILIES["debian"], ("dpkg", "there-is-no-such-package"))
    done = subprocess.run(["sh", "-c", probe.command], capture_output=True, text=True, check=False)
    ((package, version),) = probe.answer(done.stdout, "sw1")
    assert package == "dpkg" and version[0].isdigit()
    with pytest.raises(Refused):
        probe.answer("versions\n dpkg\n", "sw1")


def test_an_engine_by_its_version() -> None:
    seen: Any = {"sw1": SimpleNamespace(version="26.1.5+dfsg1")}
    assert [m.uri for m in configure.materials(None, None, seen)] == [  # type: ignore[arg-type]
        "pkg:generic/docker@26.1.5%2Bdfsg1"
    ]


@pytest.fixture
def folder(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = cluster.root / "runs" / "lab" / "2026-11-23T15-00-00Z"
    path.mkdir(parents=True)
    for name, value in RunFolder(path).environment().items():
        monkeypatch.setenv(name, value)
    return path


def test_a_step_tells_what_it_found_deployed(cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = Evidence(folder, cluster, Signing(cluster))
    chapter = Chapter(cluster.root / "none.ipynb", {}, "03", "build_swarm")
    evidence.began([chapter], {"nodes": ["sw1", "sw2"]})
    evidence.chapter_began(chapter)

    def step_with(ok: bool, version: str) -> Any:
        made = made_step(
            "images", plan=lambda wanted, seen: [], verify=lambda wanted, seen: [Check("sw1", "x", "a", "a", ok)]
        )
        monkeypatch.setattr(
            type(made),
            "materials",
            lambda self, book, wanted, seen: [found(n, Kind.SERVER, "docker", version) for n in ("sw1", "sw2")],
        )
        return made

    book = Book("03", Params(nodes=["sw1", "sw2"], swarm_managers=1), cluster=cluster)
    step_with(True, "26.0")(book)
    step_with(True, "26.1")(book)
    with pytest.raises(CheckFailed):
        step_with(False, "27")(book)  # what is not as wanted is not said to be deployed
    record = ChapterRecord("03", "build_swarm", "completed", notebook=chapter.notebook)
    (folder / "summary.json").write_text("{}")
    evidence.chapter_ended(record)
    assert "signed by" in evidence.ended(RunResult(folder, "completed", 0, 1.0, (record,)))
    events = [e for e in read_chain((folder / FILE).read_bytes()).events if e["event"] == "material"]
    assert [(e["host"], e["version"]) for e in events] == [(n, v) for v in ("26.0", "26.1") for n in ("sw1", "sw2")]
    assert {m.uri for m in read_record(folder).materials} == {"pkg:generic/docker@26.1"}, "as it was last"
    said = json.loads(base64.b64decode(json.loads((folder / envelope.FILE).read_text())["payload"]))
    things = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": "docker", "uri": "pkg:generic/docker@26.1", "annotations": {"hosts": ["sw1", "sw2"]}} in things
    assert any(thing.get("uri", "").startswith("pkg:pypi/papermill@") for thing in things)


def test_without_a_run_nothing_is_asked() -> None:
    transcript = Transcript()
    assert not transcript.recorded
    transcript.deployed([found("sw1", Kind.SERVER, "docker", "26")])
