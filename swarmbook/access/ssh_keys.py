"""SSH keys: one that is generated, or taken from a file, its fingerprint, and the host key that a machine shows at first contact."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import re
import socket
from pathlib import Path
from typing import Any

from swarmbook.access.node import Endpoint
from swarmbook.access.turned_away import forwarding_refused, unanswered
from swarmbook.base.border import foreign
from swarmbook.base.codes import Code
from swarmbook.base.errors import HostUnreachable, UsageError
from swarmbook.base.files import write_atomic, write_private
from swarmbook.base.words import typed

__all__ = [
    "fingerprint",
    "generate_key",
    "prohibited",
    "public_beside",
    "public_part",
    "read_private",
    "same_key",
    "scan_host_key",
    "take_key",
    "usable",
]


#: What OpenSSH's server says, where it has the time for it, to whom it takes no connection of for a while (``sshd.c``).
_FOR_NOW = (b"Not allowed at this time", b"Exceeded MaxStartups")
_PUBLIC = re.compile(rb"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+=*")
_OPENSSH = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END")
_MAGIC = b"openssh-key-v1\0"
_PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254


def read_private(path: Path) -> Any:
    """Read a private key from its file.

    Args:
        path: In OpenSSH's or in PEM's form, without a passphrase.

    Raises:
        UsageError: It is not there, is no private key, or wants a passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(
            "the SSH key cannot be read",
            where=str(path),
            seen=error.strerror,
            next="correct ssh_key_file in the parameters",
            code=Code.SSH_KEY_NOT_READ,
        ) from None
    load = serialization.load_ssh_private_key if b"BEGIN OPENSSH" in data else serialization.load_pem_private_key
    try:
        return load(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # its words may quote the file
        raise UsageError(
            "this is no private SSH key that can be used without a passphrase",
            where=str(path),
            wanted="a private key without a passphrase: runs log in by themselves",
            next=f"for your own hosts, let an agent hold it: ssh-add {typed(path)}, and ssh_agent: SSH_AUTH_SOCK in the parameters; "
            "else leave ssh_key_file empty: swarmbook then creates a key for the cluster",
            code=Code.SSH_KEY_UNUSABLE,
        ) from None


def usable(path: Path) -> bool:
    """Tell whether a file is a private key that needs no passphrase."""
    try:
        read_private(path)
    except UsageError:
        return False
    return True


def public_beside(path: Path) -> str:
    """Return the public key of a file that is one, or of a private key that wants a passphrase; empty where nothing says it.

    OpenSSH's form has it in the clear (PROTOCOL.key), other forms in a file of the same name with ``.pub``.
    """
    for file in (path, path.with_name(path.name + ".pub")):
        with contextlib.suppress(OSError, ValueError):
            data = file.read_bytes()
            if match := _PUBLIC.match(data):
                return match[0].decode()
            block = _OPENSSH.search(data)
            inner = base64.b64decode(b"".join(block[1].split())) if block else b""
            if inner.startswith(_MAGIC):
                at = len(_MAGIC)
                for _ in range(3):  # cipher, kdf and its options
                    at += 4 + int.from_bytes(inner[at : at + 4], "big")
                at += 4  # how many keys
                blob = inner[at + 4 : at + 4 + int.from_bytes(inner[at : at + 4], "big")]
                kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii")
                return f"{kind} {base64.b64encode(blob).decode()}" if kind else ""
    return ""


def public_part(path: Path) -> str:
    """Return the public key of a private one, as ``authorized_keys`` has it, without a comment.

    Raises:
        UsageError: See :func:`read_private`.
    """
    from cryptography.hazmat.primitives import serialization

    public = read_private(path).public_key()
    return bytes(public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)).decode()


def take_key(source: Path, target: Path, comment: str) -> None:
    """Take a key into the cluster's folder, with its public part beside it.

    Raises:
        UsageError: See :func:`read_private`.
    """
    from cryptography.hazmat.primitives import serialization

    private = read_private(source).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    write_atomic(target.with_suffix(".pub"), f"{public_part(source)} {comment}\n")
    write_private(target, private)


def generate_key(path: Path, comment: str) -> bool:
    """Make an ed25519 key for the operator if there is none.

    Returns:
        Whether one was made.
    """
    if path.exists():
        return False
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    write_atomic(path.with_suffix(".pub"), f"{public} {comment}\n")
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ),
    )
    return True


def same_key(one: str, other: str) -> bool:
    """Tell whether two public keys are the same, whatever comment they carry."""
    return one.split()[:2] == other.split()[:2]


def fingerprint(public: str) -> str:
    """Return a key's MD5 in pairs, as SoftLayer (and ``ssh-keygen -E md5``) writes it.

    It identifies a key, and protects nothing.

    Args:
        public: A line of ``authorized_keys``.
    """
    digest = hashlib.md5(base64.b64decode(public.split()[1]), usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def scan_host_key(end: Endpoint, timeout_s: float = 10, *, by: Any = None) -> str:
    """Return the host key that an SSH server shows, without logging in.

    This is trust on first use: the machine that answers at that address is trusted, once. What a rented machine has for a host key
    cannot be asked of any other.

    Args:
        end: Where it listens.
        timeout_s: Seconds to wait for it.
        by: An open transport of the jump host from which it is asked.

    Returns:
        Type and key, as ``known_hosts`` has them.

    Raises:
        HostUnreachable: Nothing answers, or what answers does not speak SSH.
        LoginRefused: The jump host forwards no connections.
    """
    import paramiko

    logging.getLogger("paramiko.transport").setLevel(logging.CRITICAL)  # it logs tracebacks of refused handshakes
    try:
        if by is None:
            connection: Any = socket.create_connection((end.host, end.port), timeout_s)
        else:
            connection = by.open_channel("direct-tcpip", (end.host, end.port), ("127.0.0.1", 0), timeout=timeout_s)
    except Exception as error:
        if not foreign(error):
            raise
        if by is not None and prohibited(error):
            raise forwarding_refused(
                "the jump host", by.get_username(), Endpoint(*by.getpeername()[:2]), str(error)
            ) from None
        raise _unreachable(end, timeout_s, error) from None
    transport, silent = None, False
    try:
        silent = by is None and _closes_at_once(connection, timeout_s)
        transport = paramiko.Transport(connection)
        transport.banner_timeout = timeout_s
        transport.start_client(timeout=timeout_s)
        key = transport.get_remote_server_key()
    except Exception as error:
        if not foreign(error):
            raise
        raise _unreachable(end, timeout_s, error, silent=silent) from None
    finally:
        if transport is not None:
            transport.close()
        connection.close()
    return f"{key.get_name()} {key.get_base64()}"


def prohibited(error: Exception) -> bool:
    """Tell whether a server forwards nothing, or not there, from a connection that found no one at its other end."""
    import paramiko

    return isinstance(error, paramiko.ChannelException) and error.code == _PROHIBITED


def _closes_at_once(connection: socket.socket, timeout_s: float) -> bool:
    """Tell whether a server closes a connection before it has said anything but that it does so for now."""
    connection.settimeout(timeout_s)
    try:
        said = connection.recv(64, socket.MSG_PEEK)
        return not said or said.startswith(_FOR_NOW)
    except ConnectionResetError:
        return True


def _unreachable(end: Endpoint, timeout_s: float, error: Exception, *, silent: bool = False) -> HostUnreachable:
    """Return the error of a server that showed no host key.

    Args:
        end: Where.
        timeout_s: Seconds that it had.
        error: What came of it.
        silent: Whether it took the connection and closed it before it said anything; another kind of server says something.
    """
    seen = unanswered(error)
    return HostUnreachable(
        "no SSH server shows a host key",
        where=str(end),
        wanted=f"one within {timeout_s:g} s",
        seen=seen,
        next="run it again",
        code=Code.LOGIN_NOT_YET if silent else None,
    )
