"""Signatures: what they were made for, whose they are, and when; and which files say so."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.record import signing
from swarmbook.record.audit import audit
from swarmbook.record.signing import BadSignature, Signing, Unsigned, allowed_signers, fingerprint, verify

KEPT = Path(__file__).with_name("kept")


@pytest.fixture
def signature(cluster: Cluster, home: Path) -> Path:
    """One by the cluster's own key, of ``m``."""
    (home / "s").write_bytes(Signing(cluster).sign(b"m"))
    return home / "s"


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_key_counts_for_what_it_was_allowed_for(cluster: Cluster, signature: Path) -> None:
    """The signature fits; the signer's list allows the key for git alone."""
    allowed = cluster.folder / "allowed_signers"
    text = allowed.read_text()
    assert 'namespaces="swarmbook-run"' in text and verify(b"m", signature, [allowed]).who == "swarmbook@lab"
    for other in ("git", "swarmbook", "file,git"):
        allowed.write_text(text.replace("swarmbook-run", other))
        assert verify(b"m", signature, [allowed]).who == "", other
    allowed.write_text(text.replace("swarmbook-run", "git,swarmbook-run"))
    assert verify(b"m", signature, [allowed]).who == "swarmbook@lab"


def test_another_list_may_know_the_key(cluster: Cluster, signature: Path, home: Path) -> None:
    other = home / "other"
    other.write_text("# no one\n")
    verdict = verify(b"m", signature, [other, cluster.folder / "allowed_signers"])
    assert (verdict.who, verdict.file) == ("swarmbook@lab", str(cluster.folder / "allowed_signers"))
    assert verdict.key == Signing(cluster).fingerprint()


def test_the_time_of_signing_counts_not_that_of_the_audit(utc: None, home: Path) -> None:
    """The kept run was signed when its key was still allowed; by now it is not."""
    line = (KEPT / "run-format-1.allowed_signers").read_text()
    signers = home / "signers"
    for valid, code in (
        ('valid-before="20261127024000"', 0),
        ('valid-before="20261127023800"', 1),
        ('valid-after="20261127023800",valid-before="20261127024000"', 0),
        ('valid-after="20261127024000"', 1),
    ):
        signers.write_text(line.replace("namespaces=", f"{valid},namespaces="))
        assert audit(KEPT / "run-format-1", home, str(signers), run="2026-11-25T09-00-00Z").exit_code == code, valid


@pytest.mark.parametrize("name", ["../../outside", "/outside", "", ".", "a/b", "-x", "lab\n"])
def test_the_cluster_of_a_doubted_run_is_no_path(home: Path, name: str) -> None:
    """It would name a list of signers anywhere, also one that came with the run."""
    for folder in (home / "outside", home / "clusters", home / "clusters" / "a" / "b", home / "clusters" / "-x"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "allowed_signers").touch()
    assert allowed_signers(home, name) == []


def test_which_lists_count(cluster: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = cluster.folder / "allowed_signers"
    assert allowed_signers(home, "lab") == []
    own.touch()
    assert allowed_signers(home, "lab") == [own]
    (home / "gits").touch()
    (home / "gitconfig").write_text(f'[gpg "ssh"]\n allowedSignersFile = {home}/gits\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "gitconfig"))
    assert allowed_signers(home, "lab") == [home / "gits", own]
    assert allowed_signers(home, "lab", str(home / "gits")) == [home / "gits"], "one that is named stands alone"
    with pytest.raises(UsageError):
        allowed_signers(home, "lab", str(home / "none"))


def _armoured(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return b"\n".join([b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""])


def test_only_one_spelling_of_a_signature_counts(cluster: Cluster, signature: Path) -> None:
    """What ssh-keygen reads in more than one way could be changed without being seen."""
    raw = signature.read_bytes()
    blob = base64.b64decode(b"".join(raw.split(b"\n")[1:-2]))
    assert _armoured(blob) == raw and blob.startswith(b"SSHSIG\0\0\0\1")
    lines = raw.split(b"\n")
    for other in (
        raw + b"\n",
        b"\n" + raw,
        raw.replace(b"\n", b"\r\n"),
        b"\n".join([lines[0], b"".join(lines[1:-2]), *lines[-2:]]),
        _armoured(blob.replace(b"\0\0\0\1", b"\0\0\0\0", 1)),
        _armoured(blob + b"\0"),
        raw[:-40],
        b"",
    ):
        signature.write_bytes(other)
        with pytest.raises(BadSignature):
            verify(b"m", signature, [cluster.folder / "allowed_signers"])
    signature.write_bytes(raw)
    with pytest.raises(BadSignature):
        verify(b"other", signature, [cluster.folder / "allowed_signers"])


def test_whose_key_it_is_stands_in_the_clusters_list(
    cluster: Cluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator's own key is noted as the operator's, the cluster's as the cluster's."""
    monkeypatch.setenv("USER", "ana")
    monkeypatch.setattr(signing.socket, "gethostname", lambda: "desk")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "mine")], check=True)
    Signing(cluster, str(home / "mine")).sign(b"m")
    Signing(cluster).sign(b"m")
    first, second = (cluster.folder / "allowed_signers").read_text().splitlines()
    mine = " ".join((home / "mine.pub").read_text().split()[:2])
    assert first == f'ana@desk namespaces="swarmbook-run" {mine}'
    assert second.startswith('swarmbook@lab namespaces="swarmbook-run" ssh-ed25519 ') and mine not in second
    assert (cluster.folder / "allowed_signers").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !!!"])
def test_what_is_no_public_key(cluster: Cluster, home: Path, text: str) -> None:
    with pytest.raises(ValueError, match="no public key"):
        fingerprint(text)
    (home / "odd.pub").write_text(text + "\n")
    with pytest.raises(Unsigned):
        Signing(cluster, str(home / "odd.pub")).public()


def test_without_ssh_keygen(cluster: Cluster, signature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WorldError, match="ssh-keygen is not there"):
        verify(b"m", signature, [])


def test_a_time_has_its_zone(cluster: Cluster, signature: Path) -> None:
    allowed = cluster.folder / "allowed_signers"
    allowed.write_text(allowed.read_text().replace("namespaces=", 'valid-after="20200601",namespaces='))
    assert verify(b"m", signature, [allowed], datetime(2020, 6, 3, tzinfo=timezone.utc)).who
    assert not verify(b"m", signature, [allowed], datetime(2020, 5, 30, tzinfo=timezone.utc)).who
