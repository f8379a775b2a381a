"""HashiCorp's release is installed only where HashiCorp has signed it: real gpg, a key of the test's, a server on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from swarmbook.machines.images import releases
from swarmbook.machines.images.releases import dockerfile_of, reachable

VERSION = "1.22.5"
SUMS = f"consul_{VERSION}_SHA256SUMS"
BINARY = b"#!/bin/sh\necho Consul v1.22.5\n"
Install = Callable[..., "subprocess.CompletedProcess[str]"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Signer:
    """A key of its own, in a keyring of its own."""

    def __init__(self, home: Path, name: str) -> None:
        home.mkdir(mode=0o700)
        self.home, self.name = home, name
        self.gpg("--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.com>", "ed25519", "sign", "never")
        listed = self.gpg("--with-colons", "--list-keys")
        self.fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))

    def gpg(self, *words: str) -> str:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--pinentry-mode", "loopback", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signer, Signer]]:
    folder = tmp_path_factory.mktemp("gpg")
    both = Signer(folder / "a", "hashicorp"), Signer(folder / "b", "stranger")
    yield both
    for signer in both:
        signer.close()


@pytest.fixture
def site(tmp_path: Path, signers: tuple[Signer, Signer]) -> Path:
    """A server's files: the release, its list of hashes, the list's signature, the key."""
    folder = tmp_path / "site"
    release = folder / "consul" / VERSION
    release.mkdir(parents=True)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    archive = release / f"consul_{VERSION}_linux_{architecture}.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("consul", BINARY)
        made.writestr("LICENSE.txt", "")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (release / SUMS).write_text(f"{'0' * 64}  consul_{VERSION}_darwin_amd64.zip\n{digest}  {archive.name}\n")
    sign(signers[0], release)
    (folder / "key").write_text(signers[0].gpg("--armor", "--export"))
    return folder


def sign(signer: Signer, release: Path) -> None:
    signer.gpg("--detach-sign", "--output", str(release / f"{SUMS}.sig"), str(release / SUMS))


@pytest.fixture
def install(site: Path, root: Path, tmp_path: Path, signers: tuple[Signer, Signer]) -> Iterator[Install]:
    script = root / "swarmbook" / "machines" / "images" / "consul" / "consul-release"
    (tmp_path / "bin").mkdir()
    with served(site) as address:

        def run(version: str = VERSION) -> subprocess.CompletedProcess[str]:
            own = {"CONSUL_RELEASES": address, "CONSUL_KEY": f"{address}/key", "CONSUL_FINGERPRINT": signers[0].fingerprint}  # fmt: skip
            environment = {"PATH": os.environ["PATH"], "no_proxy": "127.0.0.1", "TMPDIR": str(tmp_path), **own}
            command = ["bash", str(script), version, str(tmp_path / "bin")]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

        yield run


def refused(done: subprocess.CompletedProcess[str], tmp_path: Path, *words: str) -> None:
    assert done.returncode == 1, done.stdout
    assert all(word in done.stderr for word in [*words, "nothing was installed"]), done.stderr
    assert not list((tmp_path / "bin").iterdir())


def test_what_is_signed_is_installed(install: Install, tmp_path: Path, signers: tuple[Signer, Signer]) -> None:
    done = install()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bin" / "consul").read_bytes() == BINARY
    assert os.access(tmp_path / "bin" / "consul", os.X_OK)
    assert signers[0].fingerprint in done.stdout


def test_another_archive_than_the_list_names(install: Install, site: Path, tmp_path: Path) -> None:
    (archive,) = (site / "consul" / VERSION).glob("*linux*.zip")
    archive.write_bytes(archive.read_bytes() + b"more")
    refused(install(), tmp_path, "is not the file that HashiCorp signed")


def test_a_list_that_was_changed_after_it_was_signed(install: Install, site: Path, tmp_path: Path) -> None:
    (archive,) = (site / "consul" / VERSION).glob("*linux*.zip")
    archive.write_bytes(b"another")
    digest = hashlib.sha256(b"another").hexdigest()
    (site / "consul" / VERSION / SUMS).write_text(f"{digest}  {archive.name}\n")
    refused(install(), tmp_path, f"{SUMS} is not signed by HashiCorp")


def test_a_strangers_signature(install: Install, site: Path, tmp_path: Path, signers: tuple[Signer, Signer]) -> None:
    sign(signers[1], site / "consul" / VERSION)
    refused(install(), tmp_path, f"{SUMS} is not signed by HashiCorp")


def test_a_strangers_key_with_the_strangers_signature(
    install: Install, site: Path, tmp_path: Path, signers: tuple[Signer, Signer]
) -> None:
    """The one who holds the server can replace both."""
    sign(signers[1], site / "consul" / VERSION)
    (site / "key").write_text(signers[1].gpg("--armor", "--export"))
    refused(install(), tmp_path, "is not HashiCorp's", signers[0].fingerprint, signers[1].fingerprint)


def test_a_strangers_key_beside_the_right_one(
    install: Install, site: Path, tmp_path: Path, signers: tuple[Signer, Signer]
) -> None:
    sign(signers[1], site / "consul" / VERSION)
    (site / "key").write_text(signers[0].gpg("--armor", "--export") + signers[1].gpg("--armor", "--export"))
    refused(install(), tmp_path, "is not HashiCorp's", signers[1].fingerprint)


def test_a_list_without_our_archive_and_a_release_that_is_not_there(
    install: Install, site: Path, tmp_path: Path, signers: tuple[Signer, Signer]
) -> None:
    release = site / "consul" / VERSION
    refused(install("9.9.9"), tmp_path, "consul_9.9.9_SHA256SUMS cannot be fetched")
    refused(install("../1.2.3"), tmp_path, "is no version")
    (release / SUMS).write_text(f"{'0' * 64}  consul_{VERSION}_darwin_amd64.zip\n")
    sign(signers[0], release)
    refused(install(), tmp_path, "does not name consul_")


def test_the_pinned_key_is_hashicorps(root: Path) -> None:
    text = (root / "swarmbook" / "machines" / "images" / "consul" / "consul-release").read_text()
    assert "C874011F0AB405110D02105534365D9472D7468F" in text


# -- where it comes from -----------------------------------------------------------------------------------------------


def test_the_source_says_which_file_it_is_built_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "reachable", lambda address: pytest.fail("a named source needs no answer"))
    assert dockerfile_of("galera", "") == "Dockerfile"
    assert dockerfile_of("consul", "hashicorp") == "Dockerfile"
    assert dockerfile_of("consul", "debian") == "Dockerfile.package"
    for there, file in ((True, "Dockerfile"), (False, "Dockerfile.package")):
        monkeypatch.setattr(releases, "reachable", lambda address, there=there: there)
        assert dockerfile_of("consul", "auto") == file


def test_releases_are_asked_for_a_few_seconds_at_most(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(site) as address:
        assert reachable(address)
        assert not reachable(f"{address}/nowhere")
    assert not reachable(address), "nothing listens there any more"
    hung = threading.Event()

    def head(*_: object, **__: object) -> None:
        hung.wait(30)
        raise releases.requests.ConnectionError

    monkeypatch.setattr(releases.requests, "head", head)
    began = time.monotonic()
    assert not reachable(address, patience_s=0.2)
    assert time.monotonic() - began < 5
    hung.set()
