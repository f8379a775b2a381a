"""The cluster's own CA and its leaf certificates (EC P-256), kept in ``clusters/NAME/pki``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from swarmbook.base.files import write_atomic, write_private

__all__ = ["Authority", "Leaf", "describe", "reason_to_renew"]

_CA_DAYS = 1825  # leaves live a year at most; a CA that dies as soon would take every one of them with it


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, PEM."""

    name: str
    certificate: bytes
    key: bytes


class Authority:
    """The CA of one cluster; made at first use.

    Args:
        folder: Where CA and leaves lie.
        common_name: Name in the CA's subject.
    """

    def __init__(self, folder: Path, common_name: str) -> None:
        self.folder = folder
        key_path = folder / "ca.key"
        if not key_path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_atomic(folder / "ca.pem", _pem(_self_signed(key, common_name)), 0o644)
            write_private(key_path, _key_pem(key))
        loaded = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        self.certificate = self.file.read_bytes()
        self._certificate = x509.load_pem_x509_certificate(self.certificate)

    @property
    def file(self) -> Path:
        """The CA's certificate."""
        return self.folder / "ca.pem"

    def leaf(self, name: str, names: list[str], *, days: int, renew_days: int) -> Leaf:
        """Return a certificate for both server and client use, taken from the folder or made.

        Args:
            name: Common name, and the file's name.
            names: Subject alternative names: host names and addresses.
            days: Life of a new certificate, days.
            renew_days: A kept one that ends sooner than this is replaced.
        """
        certificate_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if certificate_file.exists() and key_file.exists():
            kept = certificate_file.read_bytes()
            if reason_to_renew(kept, self.certificate, names, renew_days) is None:
                return Leaf(name, kept, key_file.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))  # clocks of nodes differ a little
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(n) for n in dict.fromkeys(names)]), critical=False
            )
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        leaf = Leaf(name, _pem(certificate), _key_pem(key))
        write_private(key_file, leaf.key)
        write_atomic(certificate_file, leaf.certificate)
        return leaf


def reason_to_renew(certificate: bytes, authority: bytes, names: list[str], renew_days: int) -> str | None:
    """Say why a certificate has to be replaced; None if it does not.

    Args:
        certificate: PEM, or anything that was found in its place.
        authority: PEM of the CA that should have signed it.
        names: Names and addresses it has to carry.
        renew_days: Days before its end at which it is replaced.
    """
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        parsed.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError):
        return "not a certificate of this CA"
    except InvalidSignature:
        return "signed by another CA"
    left = parsed.not_valid_after_utc - datetime.now(timezone.utc)
    if left < timedelta(days=renew_days):
        return f"ends in {max(left.days, 0)} days"
    try:
        missing = sorted(set(names) - set(describe(certificate)))
    except x509.ExtensionNotFound:  # the CA's own certificate, say
        missing = sorted(set(names))
    return f"does not name {', '.join(missing)}" if missing else None


def describe(certificate: bytes) -> list[str]:
    """List the alternative names in a PEM certificate."""
    extension = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return [str(entry.value) for entry in extension.value]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _self_signed(key: ec.EllipticCurvePrivateKey, common_name: str) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
