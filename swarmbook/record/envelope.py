"""The manifest once more, for tools that know nothing of us: an in-toto statement in a DSSE envelope.

The statement's subjects are the manifest and the files it names; its predicate is SLSA's provenance, whose resolved
dependencies are what was deployed, and what did the deploying. https://in-toto.io/Statement/v1,
https://slsa.dev/spec/v1.0/provenance, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from swarmbook.base.codes import Code
from swarmbook.base.files import write_atomic
from swarmbook.model import ledger
from swarmbook.model.ledger import Chain, read_chain
from swarmbook.model.material import Material
from swarmbook.record.misfit import Misfit
from swarmbook.record.reader import from_chain
from swarmbook.record.signing import Signing, fingerprint

__all__ = ["FILE", "PAYLOAD_TYPE", "fits", "pae", "statement", "write"]

#: One envelope on one line, as in-toto's bundles are.
FILE = "manifest.intoto.jsonl"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
#: Names what a run's parameters and dependencies mean; docs/records.md describes it.
_BUILD = "urn:swarmbook:run:v1"
_BUILDER = "urn:swarmbook"
_MANIFEST, _SIGNER = "manifest.json", "signer.pub"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def statement(raw: bytes, chain: Chain, materials: Iterable[Material]) -> dict[str, Any]:
    """Build the statement of a sealed run.

    Args:
        raw: The manifest, as it lies in the folder.
        chain: The run's ledger.
        materials: What was found deployed.
    """
    manifest, run, end = json.loads(raw), chain.run, chain.end or {}
    files = [(entry["path"], entry["sha256"]) for entry in manifest["files"]]
    subjects = [(_MANIFEST, hashlib.sha256(raw).hexdigest()), *files]
    return {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": {
                    "cluster": manifest["cluster"],
                    "command": run.get("command"),
                    "parameters": run.get("parameters") or {},
                },
                "internalParameters": {
                    "before": run.get("before"),
                    "head": chain.head,
                    "status": end.get("status"),
                    "exit_code": end.get("exit_code"),
                },
                "resolvedDependencies": [*_notebooks(run), *_python(run), *_deployed(materials)],
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"swarmbook": str(run.get("swarmbook"))}},
                "metadata": {
                    "invocationId": manifest["run"],
                    "startedOn": run.get("time"),
                    "finishedOn": end.get("time"),
                },
            },
        },
    }


def _notebooks(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": str(chapter["notebook"]), "digest": {"sha256": chapter["sha256"]}}
        for chapter in run.get("chapters") or ()
        if chapter.get("sha256")
    ]


def _python(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    packages = {"swarmbook": run.get("swarmbook"), **(run.get("packages") or {})}
    return [{"name": name, "uri": f"pkg:pypi/{name.lower()}@{version}"} for name, version in packages.items()]


def _deployed(materials: Iterable[Material]) -> list[dict[str, Any]]:
    """List what was deployed, once for all hosts that have the same."""
    hosts: dict[tuple[str, str, str], set[str]] = {}
    for found in materials:
        hosts.setdefault((found.uri, found.name, found.digest), set()).add(found.host)
    return [
        {
            "name": name,
            "uri": uri,
            **({"digest": {"sha256": digest}} if digest else {}),
            "annotations": {"hosts": sorted(on)},
        }
        for (uri, name, digest), on in sorted(hosts.items())
    ]


def write(folder: Path, raw: bytes, signing: Signing) -> None:
    """Write the envelope beside the manifest.

    Args:
        folder: The run's folder.
        raw: The manifest.
        signing: The key that signed the manifest.

    Raises:
        Unsigned: The key cannot sign an envelope; there is none then.
    """
    chain = read_chain((folder / ledger.FILE).read_bytes())
    made = statement(raw, chain, from_chain(folder, chain).materials)
    payload = json.dumps(made, sort_keys=True, separators=(",", ":")).encode()
    signature = signing.sign_ed25519(pae(PAYLOAD_TYPE, payload))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": signing.fingerprint(), "sig": base64.b64encode(signature).decode()}],
    }
    write_atomic(folder / FILE, json.dumps(envelope) + "\n")


def fits(folder: Path, raw: bytes, manifest: Mapping[str, Any], key: str) -> str:
    """Hold the envelope, if there is one, against the manifest.

    Args:
        folder: The run's folder.
        raw: The manifest, which fits the folder.
        manifest: The same, read.
        key: Fingerprint of the key that signed it; empty if none did.

    Returns:
        What was found, for people; empty where there is no envelope.

    Raises:
        Misfit: It is damaged, signed by another key, or says something else than the manifest.
    """
    if not (folder / FILE).is_file():
        return ""
    if not key:
        raise _wrong("it is signed, and the manifest is not")
    try:
        envelope = json.loads((folder / FILE).read_bytes())
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        public = (folder / _SIGNER).read_text("utf-8")
        signer = load_ssh_public_key(public.strip().encode())
        if kind != PAYLOAD_TYPE or not isinstance(signer, Ed25519PublicKey):
            raise ValueError("no in-toto statement under an ed25519 key")
        if fingerprint(public) != key or signature["keyid"] != key:
            raise _wrong(f"it is signed by another key than the manifest: {signature['keyid']}, {key or 'unsigned'}")
        signer.verify(base64.b64decode(signature["sig"], validate=True), pae(kind, payload))
        said = json.loads(payload)
        subjects = {entry["name"]: entry["digest"]["sha256"] for entry in said["subject"]}
        about = said["predicate"]["runDetails"]["metadata"]["invocationId"]
    except InvalidSignature:
        raise _wrong("its signature does not fit its payload") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _wrong("it is not as swarmbook writes it") from None
    if about != manifest["run"]:
        raise _wrong(f"it is that of another run: {about}")
    wanted = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    if subjects != {_MANIFEST: hashlib.sha256(raw).hexdigest(), **wanted}:
        raise _wrong("it names other files than the manifest")
    return f"{FILE} says the same, signed by the same key"


def _wrong(why: str) -> Misfit:
    return Misfit(f"{FILE} does not fit: {why}", code=Code.ENVELOPE_WRONG)
