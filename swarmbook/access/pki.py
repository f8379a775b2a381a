"""The cluster's authorities, one for each purpose, and what they sign (EC P-256); kept in ``clusters/NAME/pki/PURPOSE``.

A certificate is worth something for its purpose only: no verifier trusts more than one authority. An authority is
replaced with an overlap. Its folder says how far that is::

    authority.json    {"issuing": 1, "trusted": [1]}      the state, replaced as a whole
    ca-1.pem ca-1.key                                     the generations
    ca.pem                                                all that verifiers are given: the trusted generations
    NAME.pem NAME.key                                     what was signed
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from swarmbook.base.files import write_atomic, write_private

__all__ = [
    "Authority",
    "Leaf",
    "Purpose",
    "Stage",
    "Use",
    "days_left",
    "describe",
    "end_of",
    "operator",
    "reason_to_renew",
]

_CA_DAYS = 1825  # leaves live a year at most; a CA that dies as soon would take every one of them with it
_STATE = "authority.json"
_OPERATOR = "operator"
_OPERATOR_LIFE = timedelta(hours=12)  # longer than any run, and than a working day
_EARLY = timedelta(minutes=5)  # clocks of nodes differ a little


class Purpose(str, Enum):
    """What an authority's certificates are worth something for; also the name of its folder."""

    #: The Docker Engines' API: a server certificate for each engine, a client certificate for the operator alone.
    ENGINE = "engine"
    #: Consul's RPC and HTTPS API.
    CONSUL = "consul"
    #: Replication and state transfer among Galera's members.
    REPLICATION = "replication"
    #: The database, as its clients see it.
    DATABASE = "database"


class Use(Enum):
    """As what a certificate may be shown: its extended key usage."""

    SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
    CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    #: A peer listens and dials with the same certificate: Consul's agents, Galera's members.
    PEER = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class Stage(str, Enum):
    """How far the replacement of an authority is."""

    #: One generation, which signs and is trusted.
    STEADY = "steady"
    #: The next generation is trusted besides, and signs nothing yet.
    INTRODUCED = "introduced"
    #: The next generation signs; the last one is still trusted.
    ISSUING = "issuing"


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, PEM."""

    name: str
    certificate: bytes
    key: bytes = field(repr=False)


class Authority:
    """The authority of one purpose of one cluster; made at first use.

    Args:
        folder: Where it and what it signed lie.
        common_name: Name in its subject.
        before: Folder of an authority, ``ca.pem`` and ``ca.key``, that is still trusted wherever this one is to be; if
            one lies there when this one is made, it is its first generation, and on its way out.
    """

    def __init__(self, folder: Path, common_name: str, before: Path | None = None) -> None:
        self.folder = folder
        self._common_name = common_name
        if not self._whole():
            if before is not None and (before / "ca.key").exists():
                write_private(folder / "ca-0.key", (before / "ca.key").read_bytes())
                write_atomic(folder / "ca-0.pem", (before / "ca.pem").read_bytes())
                self._make(1)
                self._set(0, [0, 1])
            else:
                self._make(1)
                self._set(1, [1])
        self._load()

    # -- its generations -------------------------------------------------------------------------------------------

    def _whole(self) -> bool:
        """Tell whether all is there that its state names: a kill may have come in between."""
        if not (self.folder / _STATE).exists():
            return False
        state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        issuing, key = self.folder / f"ca-{state['issuing']}.pem", self.folder / f"ca-{state['issuing']}.key"
        return all(
            file.exists() for file in (issuing, key, *(self.folder / f"ca-{number}.pem" for number in state["trusted"]))
        ) and _fits(issuing.read_bytes(), key.read_bytes())

    def _make(self, generation: int) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomic(self.folder / f"ca-{generation}.pem", _pem(_self_signed(key, f"{self._common_name} {generation}")))
        write_private(self.folder / f"ca-{generation}.key", _key_pem(key))

    def _set(self, issuing: int, trusted: Sequence[int]) -> None:
        write_atomic(self.folder / _STATE, json.dumps({"issuing": issuing, "trusted": list(trusted)}))

    def _load(self) -> None:
        state = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        self._issuing, self._trusted = int(state["issuing"]), [int(number) for number in state["trusted"]]
        loaded = serialization.load_pem_private_key(
            (self.folder / f"ca-{self._issuing}.key").read_bytes(), password=None
        )
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        #: PEM of the generation that signs.
        self.certificate = (self.folder / f"ca-{self._issuing}.pem").read_bytes()
        self._certificate = x509.load_pem_x509_certificate(self.certificate)
        #: PEM of all generations that verifiers trust.
        self.bundle = b"".join((self.folder / f"ca-{number}.pem").read_bytes() for number in self._trusted)
        if not self.file.exists() or self.file.read_bytes() != self.bundle:
            write_atomic(self.file, self.bundle)

    @classmethod
    def there(cls, folder: Path) -> bool:
        """Tell whether a folder holds an authority."""
        return (folder / _STATE).exists()

    @property
    def file(self) -> Path:
        """The certificates that verifiers trust."""
        return self.folder / "ca.pem"

    @property
    def generations(self) -> tuple[int, ...]:
        """The numbers of the generations that verifiers trust."""
        return tuple(self._trusted)

    @property
    def stage(self) -> Stage:
        """How far its replacement is."""
        if len(self._trusted) == 1:
            return Stage.STEADY
        return Stage.ISSUING if self._issuing == max(self._trusted) else Stage.INTRODUCED

    def replace(self, *, overlap: bool = True) -> None:
        """Begin to replace it: make the next generation. One that is being replaced goes on.

        Args:
            overlap: Trust the next generation besides, and go on by :meth:`advance`. Without, it takes the place of this one
                at once: whom it signs for has to be reached by another way.
        """
        if self.stage is not Stage.STEADY:
            return
        following = self._issuing + 1
        self._make(following)
        if overlap:
            self._set(self._issuing, [self._issuing, following])
        else:
            self._set(following, [following])
        self._load()
        self.tidy()

    def tidy(self) -> None:
        """Remove the generations that no verifier trusts any more: what they signed is worth nothing."""
        for file in self.folder.glob("ca-*.*"):
            if file.stem.removeprefix("ca-") not in {str(number) for number in self._trusted}:
                file.unlink()

    def advance(self) -> bool:
        """Go on to the next stage, once all verifiers and holders have what this one gives them.

        Returns:
            Whether there was one; then verifiers and holders have to be given what it gives.
        """
        stage, newest = self.stage, max(self._trusted)
        if stage is Stage.STEADY:
            return False
        self._set(newest, self._trusted if stage is Stage.INTRODUCED else [newest])
        self._load()
        self.tidy()
        return True

    # -- what it signs ---------------------------------------------------------------------------------------------

    def leaf(self, name: str, names: list[str], use: Use, *, life: timedelta, renew: timedelta) -> Leaf:
        """Return a certificate from the folder, or sign one; it never outlives its authority.

        Args:
            name: Common name, and the file's name.
            names: Subject alternative names: host names and addresses.
            use: As what it may be shown.
            life: Of a new certificate.
            renew: A kept one that ends sooner than this is replaced.
        """
        certificate_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if certificate_file.exists() and key_file.exists():
            kept = certificate_file.read_bytes()
            if reason_to_renew(kept, self.certificate, names, use, renew) is None:
                return Leaf(name, kept, key_file.read_bytes())
        leaf = self.sign(name, names, use, life)
        write_private(key_file, leaf.key)
        write_atomic(certificate_file, leaf.certificate)
        return leaf

    def sign(self, name: str, names: list[str], use: Use, life: timedelta) -> Leaf:
        """Sign a certificate that is kept nowhere; it never outlives its authority.

        Args:
            name: Common name.
            names: Subject alternative names: host names and addresses.
            use: As what it may be shown.
            life: How long it lives.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLY)
            .not_valid_after(min(now + life, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(use.value), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(n) for n in dict.fromkeys(names)]), critical=False
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(name, _pem(certificate), _key_pem(key))


def forget_first(pki: Path) -> None:
    """Remove the authority for everything of an earlier version, with all that it signed, once each purpose has its own.

    The database's goes on trusting it until its clients have the new one (``pki/database``), and keeps it there.

    Args:
        pki: The cluster's folder of authorities.
    """
    for purpose in Purpose:
        folder = pki / purpose.value
        if not Authority.there(folder):
            return
        trusted = json.loads((folder / _STATE).read_text(encoding="utf-8"))["trusted"]
        if 0 in trusted and purpose is not Purpose.DATABASE:
            return
    for file in [*pki.glob("*.pem"), *pki.glob("*.key")]:
        file.unlink()


def operator(engines: Authority) -> Leaf:
    """Sign what opens the engines' API: for the operator alone, for hours, and kept nowhere.

    Args:
        engines: The authority for :attr:`Purpose.ENGINE`.
    """
    return engines.sign(_OPERATOR, [_OPERATOR], Use.CLIENT, _OPERATOR_LIFE)


def reason_to_renew(certificate: bytes, authority: bytes, names: list[str], use: Use, renew: timedelta) -> str | None:
    """Say why a certificate has to be replaced; None if it need not be.

    Args:
        certificate: PEM, or anything that was found in its place.
        authority: PEM of the authority that should have signed it.
        names: Names and addresses it has to carry, and no others.
        use: As what it may be shown.
        renew: Time before its end at which it is replaced.
    """
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        issuer = x509.load_pem_x509_certificate(authority)
        parsed.verify_directly_issued_by(issuer)
    except (ValueError, TypeError):
        return "not a certificate of this CA"
    except InvalidSignature:
        return "signed by another CA"
    # One that ends with its authority is not replaced for that: the next one would end as soon.
    left = parsed.not_valid_after_utc - datetime.now(timezone.utc)
    if left < renew and parsed.not_valid_after_utc < issuer.not_valid_after_utc:
        return f"ends in {max(left.days, 0)} days"
    if _uses(parsed) != set(use.value):
        return "may be shown as something else"
    found, wanted = set(describe(certificate)), set(names)
    if wanted - found:
        return f"does not name {', '.join(sorted(wanted - found))}"
    return f"names {', '.join(sorted(found - wanted))}" if found - wanted else None


def _fits(certificate: bytes, key: bytes) -> bool:
    """Tell whether a key is a certificate's: with another one, nothing that it signs is worth anything."""
    loaded = serialization.load_pem_private_key(key, password=None)
    return loaded.public_key() == x509.load_pem_x509_certificate(certificate).public_key()


def _uses(certificate: x509.Certificate) -> set[ObjectIdentifier]:
    with contextlib.suppress(x509.ExtensionNotFound):
        return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    return set()


def describe(certificate: bytes) -> list[str]:
    """List the alternative names in a PEM certificate."""
    with contextlib.suppress(x509.ExtensionNotFound):
        extension = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        return [str(entry.value) for entry in extension.value]
    return []


def days_left(certificate: bytes) -> int:
    """Count the whole days until a PEM certificate, or the first of several, ends; below 0 if it has."""
    return (end_of(certificate) - datetime.now(timezone.utc)).days


def end_of(certificate: bytes) -> datetime:
    """Return when a PEM certificate ends."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Return what a key may be used for: a CA's signs certificates, a leaf's signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _self_signed(key: ec.EllipticCurvePrivateKey, common_name: str) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
