"""Signatures with SSH keys, by ``ssh-keygen -Y``: the operator's own key, or the cluster's."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.files import write_atomic, write_private
from swarmbook.base.secrets import watch
from swarmbook.record.journal import Journal

__all__ = [
    "CLUSTER_KEY",
    "NAMESPACE",
    "BadSignature",
    "Signing",
    "Unsigned",
    "Verdict",
    "allowed_signers",
    "fingerprint",
    "git_config",
    "pem",
    "remember",
    "verify",
]

#: What an SSH signature says it is for; one made for anything else is refused.
NAMESPACE = "swarmbook-run"
#: How a list calls the own key of a cluster, whose name follows: it counts for runs of that cluster alone.
CLUSTER_KEY = "swarmbook@"
_KEY = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+")


class Unsigned(Exception):
    """Why there is no signature, in a few words."""


class BadSignature(Exception):
    """Why a signature does not fit, in a few words."""


def _ssh_keygen(*words: str, stdin: bytes = b"") -> bytes:
    """Run ssh-keygen away from the terminal: nothing is asked, and Ctrl-C does not reach it.

    Raises:
        WorldError: It is not there, does not end, or says no; ``seen`` is what it said.
    """
    try:
        done = subprocess.run(
            ["ssh-keygen", *words], input=stdin, capture_output=True, timeout=60, start_new_session=True
        )
    except FileNotFoundError:
        raise WorldError("ssh-keygen is not there", next="install OpenSSH's client") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise WorldError("ssh-keygen does not run", seen=type(error).__name__) from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise WorldError("ssh-keygen refuses", seen=said[-1].rstrip() if said else f"exit code {done.returncode}")
    return done.stdout


def git_config(root: Path, name: str) -> str:
    """Read a setting of git, seen from the book's folder; empty if there is none, or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "config", "--get", name], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def fingerprint(public: str) -> str:
    """Return a public key's fingerprint, as ssh-keygen writes it."""
    try:
        blob = base64.b64decode(public.split()[1], validate=True)
    except (IndexError, binascii.Error):
        raise ValueError("no public key") from None
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def pem(public: str) -> bytes:
    """Return an OpenSSH public key as PEM, for tools that know no OpenSSH; empty for a type that has none."""
    try:
        key = load_ssh_public_key(public.encode())
    except (ValueError, UnsupportedAlgorithm):  # one that lives in a token
        return b""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Signing:
    """The key that signs a cluster's runs.

    In this order: the one that is named, git's ``user.signingkey`` where ``gpg.format`` is ``ssh``, the cluster's own,
    which is made when a run ends for the first time. A public key means: the agent has the other half.

    Args:
        cluster: Whose runs are signed.
        key: Path of a key, from the command line or SWARMBOOK_SIGNING_KEY.

    Raises:
        UsageError: The key that is named is not there.
    """

    def __init__(self, cluster: Cluster, key: str | None = None) -> None:
        self.cluster = cluster
        self._public = ""
        self._path: Path | None = None
        self._private = b""
        named = key or os.environ.get("SWARMBOOK_SIGNING_KEY", "")
        from_git = (
            ""
            if named or git_config(cluster.root, "gpg.format") != "ssh"
            else git_config(cluster.root, "user.signingkey")
        )
        if named:
            self._path, self.source = Path(named).expanduser().absolute(), named
            if not self._path.is_file():
                raise UsageError(
                    "the key to sign with is not there",
                    where=named,
                    next="ssh-keygen -t ed25519 -f KEY, or name another: --signing-key KEY",
                )
        elif literal := _KEY.match(from_git.removeprefix("key::")):
            self._public, self.source = literal[0], "git's user.signingkey, by the agent"
        elif from_git:
            self._path, self.source = Path(from_git).expanduser().absolute(), f"git's user.signingkey {from_git}"
        else:
            self.source = f"the key of cluster {cluster.name}"
            watch(self.own_key.parent)
            self._own()

    @property
    def own_key(self) -> Path:
        """Where the cluster's own key lies: beside the journal, since runs are signed before there is a cluster, too."""
        earlier = self.cluster.folder / "signing_ed25519"  # where older versions have put it
        return earlier if earlier.exists() else Journal(self.cluster.root, self.cluster.name).folder / earlier.name

    def _own(self) -> bool:
        """Read the cluster's own key, while it is there: a run that takes the cluster away is signed too."""
        try:
            public = self.own_key.with_suffix(".pub").read_text("utf-8").strip()
            self._private, self._public = self.own_key.read_bytes(), public
        except OSError:
            return False
        return True

    def retire(self) -> None:
        """Remove the cluster's own key, whose cluster is gone: what it has signed can no longer be signed again."""
        own = self.own_key
        for file in (own, own.with_suffix(".pub")):
            file.unlink(missing_ok=True)

    def at_hand(self) -> bool:
        """Tell whether there is a key already; the cluster's own one may still have to be made."""
        return bool(self._public or self._path)

    def public(self) -> str:
        """Return the public key; make the cluster's own one if it is to be used and not there.

        Raises:
            Unsigned: There is none.
        """
        if self._public:
            return self._public
        try:
            if self._path is not None:
                beside = self._path if self._path.suffix == ".pub" else self._path.with_name(self._path.name + ".pub")
                text = (
                    beside.read_text("utf-8")
                    if beside.is_file()
                    else _ssh_keygen("-y", "-P", "", "-f", str(self._path)).decode()
                )
                found = _KEY.match(text.strip())
                if found is None:
                    raise Unsigned(f"{beside} is no public SSH key")
                self._public = found[0]
            else:
                self.own_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.own_key.unlink(missing_ok=True)
                _ssh_keygen(
                    "-q", "-t", "ed25519", "-N", "", "-C", f"swarmbook {self.cluster.name}", "-f", str(self.own_key)
                )
                self._own()
        except (WorldError, OSError, UnicodeDecodeError) as error:
            raise Unsigned(_short(error)) from None
        return self._public

    def fingerprint(self) -> str:
        """Return the fingerprint of :meth:`public`."""
        return fingerprint(self.public())

    def sign(self, message: bytes) -> bytes:
        """Sign a message; the cluster's folder remembers the key as one of its signers.

        Raises:
            Unsigned: The key, or the agent, does not sign.
        """
        self.public()
        with tempfile.TemporaryDirectory(prefix="swarmbook-") as aside:
            key = self._path
            if key is None:
                key = Path(aside) / ("key" if self._private else "key.pub")
                write_private(key, self._private or self._public + "\n")
            try:
                signature = _ssh_keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), stdin=message)
            except WorldError as error:
                raise Unsigned(f"{self.source}: {_short(error)}") from None
        self._remember()
        return signature

    def sign_ed25519(self, message: bytes) -> bytes:
        """Sign bytes as they are, in no SSH envelope: what a DSSE envelope needs.

        Raises:
            Unsigned: The key is of another type, is locked, or only an agent has it.
        """
        try:
            secret = self._private or (self._path.read_bytes() if self._path is not None else b"")
            key = load_ssh_private_key(secret, None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
            raise Unsigned(f"{self.source} is not at hand as a key file without a passphrase") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Unsigned(f"{self.source} is no ed25519 key")
        return key.sign(message)

    def _remember(self) -> None:
        """Note the key in the cluster's list, and in the one that outlives the cluster."""
        who = (
            f"{CLUSTER_KEY}{self.cluster.name}"
            if self._private
            else f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()}"
        )
        if self.cluster.exists():
            remember(self.cluster.folder / "allowed_signers", who, self._public)
        remember(Journal(self.cluster.root, self.cluster.name).signers, who, self._public)


def remember(file: Path, who: str, public: str) -> None:
    """Add a public key to a list of signers, for runs alone, if it is not in there.

    Args:
        file: The list; made if it is missing.
        who: Whose key it is.
        public: The key.
    """
    key = " ".join(public.split()[:2])
    known = file.read_text("utf-8") if file.exists() else ""
    if key not in known:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(file, f'{known}{who} namespaces="{NAMESPACE}" {key}\n', 0o600)


def _short(error: Exception) -> str:
    if isinstance(error, WorldError):
        return f"{error.what}: {error.seen}" if error.seen else error.what
    return str(error)


# -- checking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A signature that fits its message.

    Args:
        key: The signing key's fingerprint.
        who: By which name an allowed_signers file knows the key; empty if none does.
        file: Which file that is.
        elsewhere: By which name a list knows it as the key of another cluster.
    """

    key: str
    who: str = ""
    file: str = ""
    elsewhere: str = ""


def allowed_signers(root: Path, cluster: str, named: str | None = None) -> list[Path]:
    """List the files that say whose signature counts, where they exist.

    Args:
        root: The book's folder.
        cluster: The cluster whose list counts; empty for none.
        named: The only one that counts; else git's, the cluster's, and the one that outlives the cluster do.

    Raises:
        UsageError: The named one is not there.
    """
    if named:
        if not Path(named).expanduser().is_file():
            raise UsageError("the allowed_signers file is not there", where=named)
        return [Path(named).expanduser()]
    found = [Path(text).expanduser() for text in [git_config(root, "gpg.ssh.allowedSignersFile")] if text]
    with contextlib.suppress(ValueError):  # no name of a cluster
        found += [root / "clusters" / cluster / "allowed_signers", Journal(root, cluster).signers]
    return [file for file in found if file.is_file()]


def _armoured(signature: bytes) -> bytes:
    """Return a signature as ssh-keygen writes it: base64 that was changed may still mean the same."""
    try:
        blob = base64.b64decode(b"".join(signature.split(b"\n")[1:-2]))
    except binascii.Error:
        return b""
    if not blob.startswith(b"SSHSIG\0\0\0\1"):  # ssh-keygen takes version 0 for 1
        return b""
    text = base64.b64encode(blob)
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return b"\n".join([b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""])


def verify(
    message: bytes, signature: Path, signers: Sequence[Path], when: datetime | None = None, cluster: str = ""
) -> Verdict:
    """Hold a signature against its message, then its key against those that are allowed.

    Args:
        message: What was signed.
        signature: The signature's file.
        signers: Files of allowed signers.
        when: When it was signed, for keys that are allowed for a time; now, if not given.
        cluster: Whose run it is: another cluster's own key does not count. Empty for any.

    Raises:
        BadSignature: It does not fit the message, or was made for something else.
        WorldError: There is no ssh-keygen.
    """
    if shutil.which("ssh-keygen") is None:
        raise WorldError("the signature cannot be checked: ssh-keygen is not there", next="install OpenSSH's client")
    sign = ("-n", NAMESPACE, "-s", str(signature))
    try:
        said = _ssh_keygen("-Y", "check-novalidate", *sign, stdin=message).decode("utf-8", "replace")
    except WorldError as error:
        raise BadSignature(error.seen or error.what) from None
    if _armoured(raw := signature.read_bytes()) != raw:
        raise BadSignature("it is not as ssh-keygen writes it")
    at = [f"-Overify-time={when.astimezone():%Y%m%d%H%M%S}"] if when else []  # local time, as git has it
    key = next(iter(re.findall(r"SHA256:[A-Za-z0-9+/]+", said)), "")
    elsewhere = ""
    for file in signers:
        found = b""
        with contextlib.suppress(WorldError):  # it knows no such key
            found = _ssh_keygen("-Y", "find-principals", *at, "-s", str(signature), "-f", str(file))
        for who in filter(None, (line.strip() for line in found.decode("utf-8", "replace").split("\n"))):
            if cluster and who.startswith(CLUSTER_KEY) and who != CLUSTER_KEY + cluster:
                elsewhere = who
                continue
            with contextlib.suppress(WorldError):  # it knows the key for something else
                _ssh_keygen("-Y", "verify", *at, *sign, "-f", str(file), "-I", who, stdin=message)
                return Verdict(key, who, str(file))
    return Verdict(key, elsewhere=elsewhere)
