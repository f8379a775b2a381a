"""Manifest and signature: what is in them, which key signs, and what a run without one says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from swarmbook import __version__
from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import UsageError
from swarmbook.model.ledger import FILE, read_chain
from swarmbook.model.results import ChapterRecord
from swarmbook.record import signing as signing_module
from swarmbook.record.evidence import Evidence, circumstances
from swarmbook.record.manifest import SIGNER, files_of, hash_of, seal
from swarmbook.record.reader import read_record
from swarmbook.record.signing import BadSignature, Signing, Unsigned, fingerprint, verify

Recorded = Callable[..., Path]


def key(path: Path, passphrase: str = "") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "me", "-f", str(path)], check=True)
    return path.with_name(path.name + ".pub").read_text().strip()


def test_every_file_is_in_it(cluster: Cluster, recorded: Recorded) -> None:
    folder = recorded(cluster, signing=Signing(cluster))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [entry["path"] for entry in manifest["files"]] == [
        "02_post_provision.ipynb",
        "05_verify_swarm.ipynb",
        "ledger.jsonl",
        "sbom/python.cdx.json",
        "signer.pem",
        "signer.pub",
        "summary.json",
    ]
    for entry in manifest["files"]:
        content = (folder / entry["path"]).read_bytes()
        assert (
            entry
            == {
                "path": entry["path"],
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
            }
            and content
        )
    chain = read_chain((folder / FILE).read_bytes())
    assert manifest["ledger"] == {"head": chain.head, "lines": chain.lines}
    assert (manifest["format"], manifest["cluster"], manifest["run"]) == (2, "lab", "one")
    assert manifest["signer"] == fingerprint((folder / SIGNER).read_text())


def test_a_file_larger_than_a_block_is_hashed_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "large").write_bytes(content)
    assert hash_of(tmp_path / "large") == (hashlib.sha256(content).hexdigest(), len(content))


def test_links_are_files_and_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "deep" / "empty").mkdir(parents=True)
    (tmp_path / "deep" / "file").touch()
    (tmp_path / "folder").symlink_to("/usr")
    (tmp_path / "nothing").symlink_to("/nowhere")
    for name in ("manifest.json", "manifest.json.sig", "manifest.intoto.jsonl"):
        (tmp_path / name).touch()
    assert [name for name, _ in files_of(tmp_path)] == ["deep/file", "folder", "nothing"]


def test_the_first_event_says_who_and_what(
    cluster: Cluster, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    run = read_chain((recorded(cluster) / FILE).read_bytes()).run
    assert (run["sudo_user"], run["swarmbook"], run["git"]) == ("alice", __version__, None)
    assert run["host_keys"] == {"sw1": "ssh-ed25519 AAAA1", "sw2": "ssh-ed25519 AAAA2"}
    assert run["parameters"]["mariadb_password"] == "generate"
    assert run["packages"]["papermill"] and "pytest" not in run["packages"]
    assert all(run[name] for name in ("user", "hostname", "command", "python", "platform"))


def test_host_keys_are_told_again_when_they_are_known(home: Path, cluster: Cluster, recorded: Recorded) -> None:
    chain = read_chain((recorded(cluster) / FILE).read_bytes())
    assert all("host_keys" not in event for event in chain.events[1:])
    fresh = Cluster("fresh", home)
    folder = home / "run"
    folder.mkdir()
    evidence = Evidence(folder, fresh)
    evidence.began([], {})
    fresh.save_nodes(cluster.nodes, "lab")
    evidence.chapter_ended(ChapterRecord("01", "provision", "completed"))
    evidence.chapter_ended(ChapterRecord("02", "post_provision", "completed"))
    one, two = (event for event in read_chain((folder / FILE).read_bytes()).events if event["event"] == "chapter")
    assert "host_keys" not in two and "addresses" not in two
    record = read_record(folder)
    assert record.host_keys == one["host_keys"] == {node.name: node.host_key for node in cluster.nodes}
    assert record.addresses == one["addresses"] == {node.name: node.private_address for node in cluster.nodes}


def test_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        options = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *options, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    assert circumstances(tmp_path)["git"] is None
    git("init", "-q")
    (tmp_path / "a").touch()
    git("add", "a")
    git("commit", "-qm", "a")
    assert circumstances(tmp_path)["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "b").touch()
    assert circumstances(tmp_path)["git"]["dirty"] is True
    monkeypatch.setenv("PATH", "/nowhere")
    assert circumstances(tmp_path)["git"] is None
    assert signing_module.git_config(tmp_path, "gpg.format") == ""


# -- keys ------------------------------------------------------------------------------------------------------------


def test_the_clusters_own_key_is_made_once(cluster: Cluster, home: Path) -> None:
    assert not Signing(cluster).own_key.exists()
    first = Signing(cluster).public()
    own = Signing(cluster)
    assert own.public() == first and own.own_key.stat().st_mode & 0o077 == 0
    signature = home / "s"
    signature.write_bytes(own.sign(b"message"))
    allowed = cluster.folder / "allowed_signers"
    assert allowed.read_text() == f'swarmbook@lab namespaces="swarmbook-run" {" ".join(first.split()[:2])}\n'
    assert verify(b"message", signature, [allowed]).who == "swarmbook@lab"
    own.sign(b"again")
    assert len(allowed.read_text().splitlines()) == 1


def test_it_signs_the_run_that_takes_the_cluster_away(cluster: Cluster, home: Path) -> None:
    Signing(cluster).public()
    signing = Signing(cluster)
    cluster.remove()
    (home / "s").write_bytes(signing.sign(b"m"))
    assert verify(b"m", home / "s", []).key == signing.fingerprint()
    assert not cluster.folder.exists()


def test_a_run_that_fails_before_there_is_a_cluster_is_signed(home: Path, recorded: Recorded) -> None:
    """Otherwise it would look like one whose signature was removed, as soon as there is a list."""
    fresh = Cluster("fresh", home)
    folder = recorded(fresh, status="failed", signing=Signing(fresh))
    assert (folder / "manifest.json.sig").exists() and not fresh.folder.exists()
    first = Signing(fresh)
    assert first.fingerprint() == fingerprint((folder / SIGNER).read_text())
    assert first.own_key == home / "clusters/.records/fresh/signing_ed25519"
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in (first.own_key, first.own_key.parent, first.own_key.parents[1])
    )


def test_the_key_goes_with_its_cluster_and_the_list_stays(
    cluster: Cluster, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(cluster, "one", signing=Signing(cluster))
    key = Signing(cluster).own_key
    monkeypatch.setattr(Evidence, "chapter_ended", lambda self, record: cluster.remove())
    folder = recorded(cluster, "two", signing=Signing(cluster))
    assert (folder / "manifest.json.sig").exists()
    assert not key.exists() and not key.with_suffix(".pub").exists() and key.with_name("allowed_signers").exists()
    recorded(cluster, "three", signing=Signing(cluster))
    assert key.exists() and len(key.with_name("allowed_signers").read_text().splitlines()) == 2


def test_the_key_of_an_older_version_is_used_where_it_lies(cluster: Cluster) -> None:
    public = key(cluster.folder / "signing_ed25519")
    assert Signing(cluster).fingerprint() == fingerprint(public)


def test_a_named_key_comes_first(cluster: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = key(home / "a"), key(home / "b")
    assert Signing(cluster, str(home / "a")).fingerprint() == fingerprint(a)
    monkeypatch.setenv("SWARMBOOK_SIGNING_KEY", str(home / "b"))
    assert Signing(cluster).fingerprint() == fingerprint(b)
    (home / "b.pub").unlink()
    assert Signing(cluster).fingerprint() == fingerprint(b)  # the private half knows it
    assert Signing(cluster, str(home / "a")).fingerprint() == fingerprint(a)
    Signing(cluster, str(home / "a")).sign(b"m")
    assert " ".join(a.split()[:2]) in (cluster.folder / "allowed_signers").read_text()
    with pytest.raises(UsageError, match="the key to sign with is not there"):
        Signing(cluster, str(home / "none"))


def test_gits_key(cluster: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = key(home / "a")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    for value in (str(home / "a.pub"), public, f"key::{public}"):
        (home / "gitconfig").write_text(f"[gpg]\n format = ssh\n[user]\n signingkey = {value}\n")
        assert Signing(cluster).fingerprint() == fingerprint(public)
    (home / "gitconfig").write_text(f"[user]\n signingkey = {home}/a.pub\n")
    assert Signing(cluster).source == "the key of cluster lab"


def test_an_agents_key(cluster: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = key(home / "a", "a passphrase")
    without = Signing(cluster, str(home / "a"))
    with pytest.raises(Unsigned, match="ssh-keygen refuses"):
        without.sign(b"m")
    said = subprocess.run(
        ["ssh-agent", "-a", str(home / "agent"), "-s"], check=True, capture_output=True, text=True
    ).stdout
    pid = said.split("SSH_AGENT_PID=")[1].split(";")[0]
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        monkeypatch.setenv("SSH_AGENT_PID", pid)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "a passphrase", "-N", "", "-f", str(home / "a")],
            check=True,
            capture_output=True,
        )
        subprocess.run(["ssh-add", "-q", str(home / "a")], check=True)
        (home / "a").unlink()  # only the agent has it now
        (home / "s").write_bytes(Signing(cluster, str(home / "a.pub")).sign(b"m"))
        assert verify(b"m", home / "s", []).key == fingerprint(public)
    finally:
        subprocess.run(["ssh-agent", "-k"], check=True, capture_output=True)


def test_a_signature_for_something_else(home: Path) -> None:
    key(home / "a")
    made = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", str(home / "a")],
        input=b"m",
        capture_output=True,
        check=True,
    )
    (home / "s").write_bytes(made.stdout)
    with pytest.raises(BadSignature):
        verify(b"m", home / "s", [])


def test_a_key_counts_for_the_time_it_was_allowed(cluster: Cluster, home: Path) -> None:
    (home / "s").write_bytes(Signing(cluster).sign(b"m"))
    allowed = cluster.folder / "allowed_signers"
    allowed.write_text(allowed.read_text().replace("namespaces=", 'valid-before="20200101",namespaces='))
    assert verify(b"m", home / "s", [allowed], datetime(2019, 6, 1, tzinfo=timezone.utc)).who == "swarmbook@lab"
    assert verify(b"m", home / "s", [allowed]).who == ""


# -- unsigned --------------------------------------------------------------------------------------------------------


def test_unsigned_runs_say_so(
    cluster: Cluster, recorded: Recorded, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recorded(cluster)
    assert seal(folder, "lab", None) == "unsigned: no key to sign with"
    monkeypatch.setenv("PATH", "/nowhere")
    assert seal(folder, "lab", Signing(cluster)) == "unsigned: ssh-keygen is not there"
    monkeypatch.undo()
    (home / "bad").write_text("no key\n")
    assert seal(folder, "lab", Signing(cluster, str(home / "bad"))).startswith("unsigned: ssh-keygen refuses: ")
    assert not list(folder.glob("signer.*")) and not (folder / "manifest.json.sig").exists()
    assert json.loads((folder / "manifest.json").read_text())["signer"] is None


def test_a_ledger_that_cannot_be_written_does_not_stop_the_run(cluster: Cluster, home: Path) -> None:
    evidence = Evidence(home / "gone", cluster)
    evidence.began([], {})
    evidence.interrupted("SIGINT")
    assert evidence.trouble is not None and str(home / "gone") in str(evidence.trouble)


def test_the_runs_modules_import_quickly_in_a_kernel() -> None:
    script = "import sys, swarmbook.model.transcript; print([m for m in ('papermill', 'nbclient', 'docker') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
