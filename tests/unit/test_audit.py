"""Audit: whatever was changed in a run's folder is found, and named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmbook.access.cluster import Cluster
from swarmbook.base.codes import Code
from swarmbook.base.errors import UsageError
from swarmbook.cli import main
from swarmbook.model.ledger import FILE, Ledger
from swarmbook.record.audit import Report, audit
from swarmbook.record.manifest import canonical, make
from swarmbook.record.signing import Signing

Recorded = Callable[..., Path]
LISTS = ("clusters/lab/allowed_signers", "clusters/.records/lab/allowed_signers")
NOTEBOOK = "02_post_provision.ipynb"


@pytest.fixture
def run(cluster: Cluster, recorded: Recorded) -> Path:
    return recorded(cluster, signing=Signing(cluster))


@pytest.fixture
def unsigned(cluster: Cluster, recorded: Recorded) -> Path:
    return recorded(cluster, "unsigned")


def misfit(folder: Path, *words: str, code: int = 1, signers: str | None = None) -> Report:
    report = audit(folder, folder.parents[2], signers)
    assert report.exit_code == code, report
    assert all(word in report.finding for word in words), report.finding
    return report


def test_what_nobody_touched(run: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    report = audit(run, home)
    assert (report.exit_code, report.finding, report.status, report.run, report.cluster) == (
        0,
        "",
        "completed",
        "one",
        "lab",
    )
    assert report.signature.startswith("by swarmbook@lab, SHA256:")
    elsewhere = tmp_path_factory.mktemp("auditor")
    copy = shutil.copytree(run, elsewhere / "copied")
    assert audit(copy, elsewhere).code == Code.RECORD_REPLAYED.value, "no one said which run the copy is of"
    reported = audit(copy, elsewhere, run="one")
    assert "signed by SHA256:" in reported.signature and "not checked against any allowed_signers" in reported.signature
    assert (reported.exit_code, reported.code) == (4, Code.RECORD_NOT_VOUCHED.value)
    held = audit(copy, elsewhere, str(home / "clusters/lab/allowed_signers"), run="one")
    assert held.exit_code == 0 and held.signature.startswith("by swarmbook@lab")


@pytest.mark.parametrize("status", ["failed", "interrupted", "completed"])
def test_unsigned_and_failed_runs_fit_too(cluster: Cluster, recorded: Recorded, home: Path, status: str) -> None:
    report = audit(recorded(cluster, status=status), home)
    assert (report.exit_code, report.status, report.signature) == (4, status, "unsigned"), "fits, and is not verified"
    (home / "signers").touch()
    misfit(home / "runs/lab/one", "unsigned, where", signers=str(home / "signers"))


@settings(max_examples=40)
@given(
    name=st.sampled_from([FILE, "manifest.json", "manifest.json.sig", NOTEBOOK, "summary.json"]),
    data=st.data(),
    signed=st.booleans(),
)
def test_one_flipped_bit(run: Path, unsigned: Path, name: str, data: st.DataObject, signed: bool) -> None:
    path = (run if signed or name.endswith(".sig") else unsigned) / name
    whole = path.read_bytes()
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    try:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        report = audit(path.parent, path.parents[3])
        assert report.exit_code in (1, 2) and report.finding, report
        if signed or name != "manifest.json":  # an unsigned manifest that was changed makes a file look changed
            assert name in report.finding, report
    finally:
        path.write_bytes(whole)


@settings(max_examples=30)
@given(data=st.data())
def test_lines_removed_or_moved(run: Path, data: st.DataObject) -> None:
    path = run / FILE
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    to = data.draw(st.integers(-1, len(lines) - 1).filter(lambda n: n != at))
    line = lines.pop(at)
    if to >= 0:
        lines.insert(to, line)
    try:
        path.write_bytes(b"".join(lines))
        misfit(run, FILE, "line")
    finally:
        path.write_bytes(whole)


def test_a_ledger_written_anew(run: Path) -> None:
    events = [json.loads(line) for line in (run / FILE).read_text().splitlines()]
    (run / FILE).unlink()
    Ledger(run).extend(
        (e.pop("event"), {k: v for k, v in e.items() if k not in ("seq", "prev", "time")}) for e in events
    )
    misfit(run, FILE, "written again")


def test_an_edited_line_is_named(run: Path) -> None:
    text = (run / FILE).read_text()
    assert '"seen":"yes"' in text
    (run / FILE).write_text(text.replace('"seen":"yes"', '"seen":"no."', 1))
    number = next(i for i, line in enumerate(text.splitlines(), 1) if '"seen":"yes"' in line)
    misfit(run, f"{FILE} was changed: line {number} was changed: line {number + 1} holds another hash of it")


def test_files(run: Path) -> None:
    (run / "zz.txt").touch()
    misfit(run, "zz.txt was added")
    (run / "zz.txt").unlink()
    (run / "deep").mkdir()
    (run / "deep" / "x").touch()
    misfit(run, "deep/x was added")
    shutil.rmtree(run / "deep")
    for name in (NOTEBOOK, "summary.json", "signer.pub"):
        (run / name).rename(run.parent / "aside")
        misfit(run, f"{name} is missing")
        (run / name).symlink_to(run.parent / "aside")
        misfit(run, f"{name} was replaced")
        (run / name).unlink()
        (run.parent / "aside").rename(run / name)
    (run / NOTEBOOK).rename(run / "x")
    (run / "05_verify_swarm.ipynb").rename(run / NOTEBOOK)
    (run / "x").rename(run / "05_verify_swarm.ipynb")
    misfit(run, f"{NOTEBOOK} was changed")


def test_a_link_to_a_folder_is_something_that_was_added(run: Path) -> None:
    (run / "logs").symlink_to("/usr")
    misfit(run, "logs was added")


def test_a_manifest_of_another_run(unsigned: Path) -> None:
    sealed = json.loads((unsigned / "manifest.json").read_bytes())
    for name, value in (
        ("run", "another"),
        ("cluster", "another"),
        ("ledger", {**sealed["ledger"], "lines": 1}),
    ):
        (unsigned / "manifest.json").write_bytes(canonical({**sealed, name: value}))
        misfit(unsigned, f"manifest.json: its {name} is not that of the ledger")
    for odd in ({**sealed, "more": 1}, {**sealed, "files": [{}]}, {**sealed, "run": None}, {**sealed, "ledger": 1}):
        (unsigned / "manifest.json").write_bytes(canonical(odd))
        misfit(unsigned, "manifest.json was changed")
    (unsigned / "manifest.json").write_text(json.dumps(sealed))  # the same, in another spelling
    misfit(unsigned, "manifest.json was changed")


def _sign(run: Path, key: Path) -> None:
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", "swarmbook-run", "-f", str(key)]
    raw = (run / "manifest.json").read_bytes()
    done = subprocess.run(command, input=raw, capture_output=True, check=True)
    (run / "manifest.json.sig").write_bytes(done.stdout)


def test_anybodys_signature_on_an_unsigned_manifest(unsigned: Path, home: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "foreign")], check=True)
    _sign(unsigned, home / "foreign")
    misfit(unsigned, "a foreign signature", "where the manifest says unsigned")


def test_a_public_key_that_did_not_sign(run: Path, home: Path) -> None:
    """No one's list of signers is there, and the key beside the signature is someone else's."""
    for name in LISTS:
        (home / name).unlink()
    for name in ("foreign", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True)
    (run / "signer.pub").write_bytes((home / "other.pub").read_bytes())
    (run / "manifest.json").write_bytes(
        make(run, "lab", Signing(Cluster("lab", home), str(home / "foreign")).fingerprint())
    )
    _sign(run, home / "foreign")
    misfit(run, "signer.pub is not the key that signed")


def test_signatures(run: Path, home: Path) -> None:
    signature = (run / "manifest.json.sig").read_bytes()
    (run / "manifest.json.sig").unlink()
    misfit(run, "manifest.json.sig is missing", "SHA256:")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "foreign")], check=True)

    def sign() -> None:
        command = ["ssh-keygen", "-Y", "sign", "-q", "-n", "swarmbook-run", "-f", str(home / "foreign")]
        raw = (run / "manifest.json").read_bytes()
        (run / "manifest.json.sig").write_bytes(
            subprocess.run(command, input=raw, capture_output=True, check=True).stdout
        )

    sign()
    misfit(run, "a foreign signature", "where the manifest says SHA256:")
    manifest = json.loads((run / "manifest.json").read_bytes())
    forged = Signing(Cluster("lab", home), str(home / "foreign"))
    (run / "signer.pub").write_text(forged.public() + "\n")
    (run / "manifest.json").write_bytes(make(run, "lab", forged.fingerprint()))  # all is forged, and fits
    sign()
    misfit(run, "a foreign signature", "is not among the allowed signers of")
    for name in LISTS:
        (home / name).unlink()
    assert "not checked against any" in audit(run, home).signature
    (run / "manifest.json").write_bytes(canonical(manifest))
    (run / "manifest.json.sig").write_bytes(signature[:-40])
    misfit(run, "manifest.json.sig was changed")


def test_signers_named_by_the_environment_and_by_git(run: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = home / "clusters/lab/allowed_signers"
    line = own.rename(home / "signers").read_text()
    (home / LISTS[1]).unlink()
    (home / "gitconfig").write_text(f'[gpg "ssh"]\n allowedSignersFile = {home}/signers\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    assert f"as {home}/signers allows" in audit(run, home).signature
    (home / "other").write_text("# no one\n")
    monkeypatch.setenv("SWARMBOOK_ALLOWED_SIGNERS", str(home / "other"))
    misfit(run, f"not among the allowed signers of {home}/other")
    (home / "other").write_text(line.replace("namespaces=", 'valid-before="20200101",namespaces='))
    misfit(run, "a foreign signature")  # it was no longer allowed when the run was signed
    (home / "other").write_text(line.replace("namespaces=", 'valid-after="20200101",namespaces='))
    assert "by swarmbook@lab" in audit(run, home).signature


def test_a_stripped_signature_is_unsigned_at_best(run: Path, home: Path) -> None:
    signers = shutil.copy(home / "clusters/lab/allowed_signers", home / "signers")
    for name in ("manifest.json.sig", "signer.pub"):
        (run / name).unlink()
    (run / "manifest.json").write_bytes(make(run, "lab", None))
    misfit(run, "unsigned, where a signature")
    misfit(run, "unsigned, where a signature", signers=str(signers))
    (run / "manifest.intoto.jsonl").unlink()
    for name in LISTS:
        (home / name).unlink()
    misfit(run, "unsigned, and there is no list", code=4)
    with pytest.raises(UsageError, match="allowed_signers file is not there"):
        audit(run, home, str(home / "none"))


def test_without_ssh_keygen(run: Path, unsigned: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for name in LISTS:
        (home / name).unlink()
    assert audit(unsigned, home).exit_code == 4
    misfit(run, "all else fits", "ssh-keygen", code=3)
    (run / NOTEBOOK).write_text("{}")
    misfit(run, f"{NOTEBOOK} was changed")


def retell(folder: Path, change: Callable[[dict[str, Any]], None], name: str) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    (folder / "manifest.json").write_bytes(make(folder, "lab", None))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            NOTEBOOK,
            lambda d: d["metadata"]["papermill"].update(status="failed"),
            "02_post_provision.ipynb is failed, the ledger says completed",
        ),
        (NOTEBOOK, lambda d: d.clear(), "not what swarmbook writes"),
        ("summary.json", lambda d: d.update(exit_code=1), "summary.json: exit_code 1, the ledger says 0"),
        ("summary.json", lambda d: d["chapters"][1].update(status="failed"), "05 verify_swarm is failed"),
        ("summary.json", lambda d: d["chapters"].pop(), "05 is missing"),
    ],
)
def test_one_story(unsigned: Path, name: str, change: Callable[[dict[str, Any]], None], words: str) -> None:
    retell(unsigned, change, name)
    misfit(unsigned, words)


def test_killed(unsigned: Path) -> None:
    (unsigned / "manifest.json").unlink()
    misfit(unsigned, "manifest.json is missing, though the ledger comes to its end")
    whole = (unsigned / FILE).read_bytes()
    lines = whole.splitlines(keepends=True)
    (unsigned / FILE).write_bytes(b"".join(lines[:7]))
    misfit(unsigned, "not the one that this computer recorded")
    shutil.rmtree(unsigned.parents[2] / "clusters/.records")
    misfit(unsigned, "ended without an end: killed", "7 events fit")
    (unsigned / FILE).write_bytes(b"".join(lines[:7]) + lines[7][:30])
    assert "line 8 is torn" in misfit(unsigned, "killed", "7 events fit").notes[0]
    (unsigned / ".02_post_provision.ipynb.k3j2").write_text("{")
    notes = misfit(unsigned, "killed", "7 events fit").notes
    assert len(notes) == 2 and notes[0].startswith(
        ".02_post_provision.ipynb.k3j2: as a save leaves it that is cut short"
    )
    (unsigned / FILE).write_bytes(whole.replace(b'"sw2"', b'"sw3"'))
    misfit(unsigned, FILE, "was changed")


def test_what_is_no_run(unsigned: Path, home: Path) -> None:
    misfit(home / "runs" / "lab" / "none", "no such folder", code=2)
    (home / "runs" / "lab" / "empty").mkdir()
    misfit(home / "runs" / "lab" / "empty", "not a run folder", code=2)
    manifest, ledger = (unsigned / "manifest.json").read_bytes(), (unsigned / FILE).read_bytes()
    (unsigned / "manifest.json").write_bytes(manifest[:100])
    misfit(unsigned, "manifest.json is truncated", code=2)
    (unsigned / "manifest.json").write_bytes(manifest.replace(b'"format": 2', b'"format": 3'))
    misfit(unsigned, "newer swarmbook: format 3", code=2)
    (unsigned / "manifest.json").write_bytes(manifest)
    (unsigned / FILE).write_bytes(b'{"event":"run","format":7}\n' + ledger)
    misfit(unsigned, "newer swarmbook: format 7", code=2)
    (unsigned / FILE).write_bytes(b"")
    misfit(unsigned, "truncated", code=2)


def test_a_thousand_steps(cluster: Cluster, recorded: Recorded, home: Path) -> None:
    run = recorded(cluster, steps=500, checks=[*_many(7)], signing=Signing(cluster))
    report = audit(run, home)
    assert (report.exit_code, report.finding, report.files) == (0, "", 7) and report.events > 10_000


def _many(count: int) -> list[Any]:
    from swarmbook.model.checks import Check

    return [Check("sw1", f"check {n}", "wanted", "wanted", True) for n in range(count)]


def test_the_command(run: Path, home: Path) -> None:
    cli = CliRunner()
    done = cli.invoke(main, ["audit", str(run)])
    assert (
        done.exit_code == 0 and "unchanged since it was recorded" in done.output and "by swarmbook@lab" in done.output
    )
    said = json.loads(cli.invoke(main, ["audit", str(run), "--json"]).output)
    assert said["ok"] is True and said["events"] > 10
    (run / "zz").touch()
    done = cli.invoke(main, ["audit", str(run)])
    assert (done.exit_code, done.output) == (1, f"{run}: does not fit: zz was added: the manifest does not name it\n")
    assert json.loads(cli.invoke(main, ["audit", str(run), "--json"]).output)["finding"].startswith("zz was added")
    assert cli.invoke(main, ["audit", str(home)]).exit_code == 2
    assert cli.invoke(main, ["audit", str(run), "--allowed-signers", "none"]).exit_code == 2


def test_a_report_of_a_sealed_run_tells_its_signature(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert CliRunner().invoke(main, ["report", str(run), "--out", str(out)]).exit_code == 0
    assert "by swarmbook@lab, SHA256:" in out.read_text()
    (run / NOTEBOOK).write_text("{}")
    assert CliRunner().invoke(main, ["report", str(run), "--out", str(out)]).exit_code == 0
    assert f"does not fit: {NOTEBOOK} was changed" in out.read_text()
    assert CliRunner().invoke(main, ["report", str(run)]).exit_code == 2, "a sealed folder stays as it is"
