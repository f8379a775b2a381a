"""Signatures with SSH keys, by ``ssh-keygen -Y``: the operator's own key, or the cluster's."""

from __future__ import annotations

import base64
import binascii
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

from swarmbook.access.cluster import Cluster
from swarmbook.base.errors import UsageError, WorldError
from swarmbook.base.files import write_atomic, write_private

__all__ = [
    "NAMESPACE",
    "BadSignature",
    "Signing",
    "Unsigned",
    "Verdict",
    "allowed_signers",
    "fingerprint",
    "git_config",
    "verify",
]

#: What an SSH signature says it is for; one made for anything else is refused.
NAMESPACE = "swarmbook-run"
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


class Signing:
    """The key that signs a cluster's runs.

    In this order: the one that is named, git's ``user.signingkey`` where ``gpg.format`` is ``ssh``, the cluster's own,
    which is made when a run of an existing cluster ends for the first time. A public key means: the agent has the other half.

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
            self._own()

    @property
    def own_key(self) -> Path:
        """Where the cluster's own key lies."""
        return self.cluster.folder / "signing_ed25519"

    def _own(self) -> bool:
        """Read the cluster's own key, while it is there: a run that takes the cluster away is signed too."""
        try:
            public = self.own_key.with_suffix(".pub").read_text("utf-8").strip()
            self._private, self._public = self.own_key.read_bytes(), public
        except OSError:
            return False
        return True

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
            elif not self.cluster.exists():
                raise Unsigned(f"there is no cluster {self.cluster.name} whose key could sign")
            else:
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

    def _remember(self) -> None:
        file = self.cluster.folder / "allowed_signers"
        key = " ".join(self._public.split()[:2])
        if self.cluster.exists():
            known = file.read_text("utf-8") if file.exists() else ""
            if key not in known:
                who = (
                    f"swarmbook@{self.cluster.name}"
                    if self._private
                    else f"{os.environ.get('USER') or os.getuid()}@{socket.gethostname()}"
                )
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
    """

    key: str
    who: str = ""
    file: str = ""


def allowed_signers(root: Path, cluster: str, named: str | None = None) -> list[Path]:
    """List the files that say whose signature counts: the named one, else git's and the cluster's, where they exist.

    Raises:
        UsageError: The named one is not there.
    """
    if named:
        if not Path(named).expanduser().is_file():
            raise UsageError("the allowed_signers file is not there", where=named)
        return [Path(named).expanduser()]
    found = [Path(text).expanduser() for text in [git_config(root, "gpg.ssh.allowedSignersFile")] if text]
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", cluster):  # it comes from the run that is being doubted
        found.append(root / "clusters" / cluster / "allowed_signers")
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


def verify(message: bytes, signature: Path, signers: Sequence[Path], when: datetime | None = None) -> Verdict:
    """Hold a signature against its message, then its key against those that are allowed.

    Args:
        message: What was signed.
        signature: The signature's file.
        signers: Files of allowed signers.
        when: When it was signed, for keys that are allowed for a time; now, if not given.

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
    for file in signers:
        try:
            names = (
                _ssh_keygen("-Y", "find-principals", *at, "-s", str(signature), "-f", str(file))
                .decode("utf-8", "replace")
                .split("\n")
            )
            _ssh_keygen("-Y", "verify", *at, *sign, "-f", str(file), "-I", names[0].strip(), stdin=message)
        except WorldError:
            continue
        return Verdict(key, names[0].strip(), str(file))
    return Verdict(key)
