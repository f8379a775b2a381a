"""The manifest: every file of a run's folder with its hash, and the head of the ledger; what is signed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swarmbook.base.files import write_atomic
from swarmbook.model import ledger
from swarmbook.model.ledger import FORMAT, BrokenChain, read_chain
from swarmbook.record import envelope
from swarmbook.record.signing import Signing, Unsigned, pem

__all__ = ["FILE", "SIGNATURE", "SIGNER", "SIGNER_PEM", "canonical", "files_of", "hash_of", "make", "seal"]

FILE, SIGNATURE = "manifest.json", "manifest.json.sig"
#: The key that signed, as OpenSSH and as everybody else writes it.
SIGNER, SIGNER_PEM = "signer.pub", "signer.pem"


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """Encode a manifest in the one way in which it is written."""
    return (json.dumps(manifest, sort_keys=True, indent=1) + "\n").encode()


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield everything in a run's folder that is no folder, by name, except the manifest and its signatures."""
    found = (
        (path.relative_to(folder).as_posix(), path)
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )
    return iter(sorted((name, path) for name, path in found if name not in (FILE, SIGNATURE, envelope.FILE)))


def hash_of(path: Path) -> tuple[str, int]:
    """Return SHA-256 and size of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def make(folder: Path, cluster: str, signer: str | None) -> bytes:
    """Build the manifest of a run's folder as it is now.

    Args:
        folder: The run's folder.
        cluster: Name of the cluster.
        signer: Fingerprint of the key that will sign it.
    """
    chain = read_chain((folder / ledger.FILE).read_bytes())
    files = []
    for name, path in files_of(folder):
        if path.is_file() and not path.is_symlink():
            digest, size = hash_of(path)
            files.append({"path": name, "sha256": digest, "size": size})
    about = {"format": FORMAT, "cluster": cluster, "run": chain.run.get("run"), "signer": signer}
    return canonical({**about, "files": files, "ledger": {"head": chain.head, "lines": chain.lines}})


def seal(folder: Path, cluster: str, signing: Signing | None) -> str:
    """Write the manifest of a run that has ended, signed if it can be.

    Returns:
        One line that says so.
    """
    why = "no key to sign with"
    try:
        if signing is not None:
            try:
                public = signing.public()
                write_atomic(folder / SIGNER, public + "\n")
                if text := pem(public):
                    write_atomic(folder / SIGNER_PEM, text)
                manifest = make(folder, cluster, signing.fingerprint())
                signature = signing.sign(manifest)
                write_atomic(folder / FILE, manifest)
                write_atomic(folder / SIGNATURE, signature)
                said = f"signed by {signing.fingerprint()} ({signing.source})"
                try:
                    envelope.write(folder, manifest, signing)
                except Unsigned as reason:
                    return f"{said}; no {envelope.FILE}: {reason}"
                return said
            except Unsigned as reason:
                why = str(reason)
                for name in (SIGNER, SIGNER_PEM):
                    (folder / name).unlink(missing_ok=True)
        write_atomic(folder / FILE, make(folder, cluster, None))
    except BrokenChain as error:
        return f"no manifest: the ledger does not fit: {error}"
    return f"unsigned: {why}"
