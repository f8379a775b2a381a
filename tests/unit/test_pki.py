"""The cluster's authorities: what each signs is worth something for its purpose only; names, ages, and how one is replaced."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, ServerVerifier, Store, VerificationError

from swarmbook.access.pki import (
    Authority,
    Leaf,
    Purpose,
    Stage,
    Use,
    days_left,
    describe,
    forget_first,
    operator,
    reason_to_renew,
)

NAMES = ["sw1", "10.9.0.1", "192.0.2.1", "127.0.0.1"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki", "swarmbook lab CA")


def leaf_of(
    authority: Authority, name: str, names: list[str], *, days: int, renew_days: int, use: Use = Use.PEER
) -> Leaf:
    return authority.leaf(name, names, use, life=timedelta(days=days), renew=timedelta(days=renew_days))


def reason(certificate: bytes, authority: bytes, names: list[str], renew_days: int, use: Use = Use.PEER) -> str | None:
    return reason_to_renew(certificate, authority, names, use, timedelta(days=renew_days))


def parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_the_ca_is_made_once(authority: Authority) -> None:
    again = Authority(authority.folder, "another name")
    assert again.certificate == authority.certificate
    assert (authority.folder / "ca-1.key").stat().st_mode & 0o777 == 0o600
    assert authority.file.stat().st_mode & 0o777 == 0o644
    basic = parsed(authority.certificate).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)


def test_a_ca_whose_key_was_never_written_is_made_anew(authority: Authority) -> None:
    (authority.folder / "ca-1.key").unlink()
    again = Authority(authority.folder, "swarmbook lab CA")
    assert again.certificate != authority.certificate
    parsed(leaf_of(again, "x", ["x"], days=1, renew_days=0).certificate).verify_directly_issued_by(
        parsed(again.certificate)
    )


def test_a_leaf(authority: Authority) -> None:
    leaf = leaf_of(authority, "engine-sw1", [*NAMES, "sw1"], days=365, renew_days=30)
    certificate = parsed(leaf.certificate)
    certificate.verify_directly_issued_by(parsed(authority.certificate))
    assert sorted(describe(leaf.certificate)) == sorted(NAMES)
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(alternative.get_values_for_type(x509.IPAddress)) == 3
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    life = certificate.not_valid_after_utc - datetime.now(timezone.utc)
    assert timedelta(days=364) < life <= timedelta(days=365)
    assert (authority.folder / "engine-sw1.key").stat().st_mode & 0o777 == 0o600
    assert serialization.load_pem_private_key(leaf.key, None).public_key() == certificate.public_key()


#: All that a key may be used for; the last two hang on key agreement, which none has.
USES = ("digital_signature", "key_cert_sign", "crl_sign", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")  # fmt: skip


def test_a_key_may_be_used_for_its_purpose_and_nothing_else(authority: Authority) -> None:
    for pem, wanted in (
        (authority.certificate, {"key_cert_sign", "crl_sign"}),
        (leaf_of(authority, "sw1", ["sw1"], days=9, renew_days=0).certificate, {"digital_signature"}),
    ):
        usage = parsed(pem).extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical and {use for use in USES if getattr(usage.value, use)} == wanted
        assert parsed(pem).extensions.get_extension_for_class(x509.BasicConstraints).critical


def test_a_leaf_does_not_show_its_key(authority: Authority) -> None:
    assert "PRIVATE KEY" not in repr(leaf_of(authority, "sw1", ["sw1"], days=9, renew_days=0))


def test_a_leaf_is_kept_until_there_is_a_reason(authority: Authority) -> None:
    first = leaf_of(authority, "a", NAMES, days=365, renew_days=30)
    assert leaf_of(authority, "a", NAMES[::-1], days=90, renew_days=30) == first
    assert leaf_of(authority, "a", NAMES, days=365, renew_days=364) == first
    renewed = leaf_of(authority, "a", NAMES, days=365, renew_days=366)
    assert renewed != first
    named = leaf_of(authority, "a", [*NAMES, "new"], days=365, renew_days=30)
    assert "new" in describe(named.certificate)
    for half in ("a.key", "a.pem"):
        (authority.folder / half).unlink()
        again = leaf_of(authority, "a", NAMES, days=365, renew_days=30)
        assert again != named
        assert (
            serialization.load_pem_private_key(again.key, None).public_key() == parsed(again.certificate).public_key()
        )


def test_reasons(authority: Authority, tmp_path: Path) -> None:
    leaf = leaf_of(authority, "a", NAMES, days=10, renew_days=0).certificate
    other = Authority(tmp_path / "other", "swarmbook lab CA")
    assert reason(leaf, authority.certificate, NAMES, 5) is None
    assert reason(leaf, authority.certificate, NAMES, 30) == "ends in 9 days"
    assert reason(leaf, authority.certificate, [*NAMES, "z", "b"], 5) == "does not name b, z"
    assert reason(leaf, authority.certificate, NAMES[1:], 5) == "names sw1", "so that it passes for what it is no more"
    assert reason(leaf, authority.certificate, NAMES, 5, Use.SERVER) == "may be shown as something else"
    assert reason(leaf, other.certificate, NAMES, 5) == "signed by another CA"
    for garbage in (
        b"",
        b"nonsense",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        leaf_of(authority, "k", ["k"], days=1, renew_days=0).key,
    ):
        assert reason(garbage, authority.certificate, NAMES, 5) == "not a certificate of this CA"


def test_an_ended_certificate_has_no_negative_days(authority: Authority) -> None:
    leaf = leaf_of(authority, "a", NAMES, days=0, renew_days=0).certificate
    assert reason(leaf, authority.certificate, NAMES, 0) == "ends in 0 days"


def test_a_certificate_without_names(authority: Authority) -> None:
    """The CA's own certificate in place of a leaf, say."""
    assert reason(authority.certificate, authority.certificate, NAMES, 5)


def test_a_stranger_of_the_same_subject_is_another_ca(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    fake = (
        x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")]))
        .issuer_name(parsed(authority.certificate).subject).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=99))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sw1")]), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    assert (
        reason(fake.public_bytes(serialization.Encoding.PEM), authority.certificate, ["sw1"], 5)
        == "signed by another CA"
    )


def test_a_leaf_is_valid_as_servers_and_clients_see_it(authority: Authority) -> None:
    """By the rules of X.509: dates, key usage, names, and who may sign whom."""
    leaf = parsed(leaf_of(authority, "sw1", ["sw1", "10.9.0.1"], days=365, renew_days=30).certificate)
    for subject in (x509.DNSName("sw1"), x509.IPAddress(ipaddress.ip_address("10.9.0.1"))):
        chain = verifier(authority, subject).verify(leaf, [])
        assert chain == [leaf, parsed(authority.certificate)]
    with pytest.raises(VerificationError):
        verifier(authority, x509.DNSName("sw2")).verify(leaf, [])
    now = datetime.now(timezone.utc)
    for moment, holds in (
        (now - timedelta(minutes=4), True),
        (now + timedelta(days=364), True),
        (now + timedelta(days=366), False),
    ):
        at = verifier(authority, x509.DNSName("sw1"), moment)
        if holds:
            at.verify(leaf, [])
        else:
            with pytest.raises(VerificationError):
                at.verify(leaf, [])


def test_the_ca_outlives_its_leaves_and_signs_nothing_else(authority: Authority, tmp_path: Path) -> None:
    late = parsed(leaf_of(authority, "late", ["sw1"], days=4 * 365, renew_days=0).certificate)
    now = datetime.now(timezone.utc)
    verifier(authority, x509.DNSName("sw1"), now + timedelta(days=4 * 365 - 1)).verify(late, [])
    usage = parsed(authority.certificate).extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.key_cert_sign and not usage.value.key_encipherment
    # A CA below it, rightly signed: its leaves count for nothing. So anyone who has a leaf's key can make no others.
    key = ec.generate_private_key(ec.SECP256R1())
    below = signed(authority, "below", key, x509.BasicConstraints(ca=True, path_length=None))
    other = Authority(tmp_path / "other", "below")
    other._key, other._certificate = key, below
    grandchild = parsed(leaf_of(other, "sw1", ["sw1"], days=9, renew_days=0).certificate)
    grandchild.verify_directly_issued_by(below)
    with pytest.raises(VerificationError):
        verifier(authority, x509.DNSName("sw1")).verify(grandchild, [below])


def verifier(
    authority: Authority, subject: x509.DNSName | x509.IPAddress, moment: datetime | None = None
) -> ServerVerifier:
    """Who trusts this CA alone, and wants to reach that name."""
    store = Store([parsed(authority.certificate)])
    return PolicyBuilder().store(store).time(moment or datetime.now(timezone.utc)).build_server_verifier(subject)


def signed(
    authority: Authority, name: str, key: ec.EllipticCurvePrivateKey, basic: x509.BasicConstraints
) -> x509.Certificate:
    """A certificate by the CA's own key, of any kind."""
    now = datetime.now(timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(parsed(authority.certificate).subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=99))
        .add_extension(basic, critical=True).add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority._key.public_key()), critical=False)
        .sign(authority._key, hashes.SHA256())
    )  # fmt: skip


def test_openssl_takes_the_chain_both_ways(authority: Authority) -> None:
    leaf_of(authority, "server", ["localhost", "127.0.0.1"], days=1, renew_days=0)
    leaf_of(authority, "client", ["swarmbook"], days=1, renew_days=0)
    contexts = {}
    for name, purpose in (("server", ssl.Purpose.CLIENT_AUTH), ("client", ssl.Purpose.SERVER_AUTH)):
        contexts[name] = ssl.create_default_context(purpose, cafile=str(authority.file))
        contexts[name].load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    contexts["server"].verify_mode = ssl.CERT_REQUIRED
    if hasattr(ssl, "VERIFY_X509_STRICT"):
        contexts["client"].verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    import socket

    one, other = socket.socketpair()
    with one, other:
        served: list[object] = []

        def serve() -> None:
            with contexts["server"].wrap_socket(one, server_side=True) as stream:
                served.append(stream.getpeercert())
                stream.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        with contexts["client"].wrap_socket(other, server_hostname="127.0.0.1") as stream:
            assert stream.recv(5) == b"hello"
        thread.join(120)
    assert served[0]


@pytest.mark.parametrize("use", list(Use))
def test_what_a_leaf_may_be_shown_as(authority: Authority, use: Use) -> None:
    certificate = parsed(leaf_of(authority, "a", ["a"], days=1, renew_days=0, use=use).certificate)
    found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert tuple(found.value) == use.value
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    assert use.value == {Use.SERVER: (server,), Use.CLIENT: (client,), Use.PEER: (server, client)}[use]


def test_the_operators_certificate_is_short_lived_and_kept_nowhere(authority: Authority) -> None:
    before = sorted(authority.folder.iterdir())
    ours = parsed(operator(authority).certificate)
    assert tuple(ours.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == Use.CLIENT.value
    assert ours.not_valid_after_utc - datetime.now(timezone.utc) <= timedelta(hours=12)
    assert sorted(authority.folder.iterdir()) == before


def test_a_leaf_does_not_outlive_its_authority(authority: Authority) -> None:
    """And one that ends with it is not replaced at every run: the next would end as soon."""
    leaf = leaf_of(authority, "a", ["a"], days=9999, renew_days=0)
    assert parsed(leaf.certificate).not_valid_after_utc == parsed(authority.certificate).not_valid_after_utc
    assert leaf_of(authority, "a", ["a"], days=9999, renew_days=9998) == leaf
    assert days_left(authority.certificate) == 1824


def test_an_authority_is_replaced_by_stages(authority: Authority) -> None:
    first = authority.certificate
    leaf = leaf_of(authority, "a", ["a"], days=9, renew_days=0)
    assert (authority.stage, authority.bundle, authority.advance()) == (Stage.STEADY, first, False)

    authority.replace()
    authority.replace()  # one that is being replaced goes on
    introduced = Authority(authority.folder, "x")
    assert introduced.stage is Stage.INTRODUCED and introduced.certificate == first
    assert introduced.bundle.startswith(first) and introduced.bundle.count(b"BEGIN CERT") == 2
    assert introduced.file.read_bytes() == introduced.bundle
    assert leaf_of(introduced, "a", ["a"], days=9, renew_days=0) == leaf, "it signs nothing yet"

    assert introduced.advance()
    issuing = Authority(authority.folder, "x")
    second = issuing.certificate
    assert issuing.stage is Stage.ISSUING and second != first and issuing.bundle == introduced.bundle
    renewed = leaf_of(issuing, "a", ["a"], days=9, renew_days=0)
    parsed(renewed.certificate).verify_directly_issued_by(parsed(second))

    assert issuing.advance()
    steady = Authority(authority.folder, "x")
    assert (steady.stage, steady.certificate, steady.bundle) == (Stage.STEADY, second, second)
    assert {file.name for file in authority.folder.glob("ca*")} == {"ca.pem", "ca-2.pem", "ca-2.key"}
    assert leaf_of(steady, "a", ["a"], days=9, renew_days=0) == renewed
    assert not steady.advance()


def test_an_authority_whose_verifiers_are_reached_otherwise_is_replaced_at_once(authority: Authority) -> None:
    first = authority.certificate
    authority.replace(overlap=False)
    again = Authority(authority.folder, "x")
    assert again.stage is Stage.STEADY and again.certificate != first and again.bundle == again.certificate
    assert {file.name for file in authority.folder.glob("ca*")} == {"ca.pem", "ca-2.pem", "ca-2.key"}


def test_a_cluster_with_one_authority_for_everything_is_taken_over(tmp_path: Path) -> None:
    """Its authority is trusted until all have the new one."""
    old = Authority(tmp_path / "old", "swarmbook lab CA")
    (tmp_path / "ca.pem").write_bytes(old.certificate)
    (tmp_path / "ca.key").write_bytes((old.folder / "ca-1.key").read_bytes())
    ours = Authority(tmp_path / "consul", "swarmbook lab consul CA", tmp_path)
    assert ours.stage is Stage.INTRODUCED and ours.certificate == old.certificate
    assert ours.advance() and ours.advance() and ours.bundle != old.certificate
    assert Authority(tmp_path / "consul", "", tmp_path).stage is Stage.STEADY, "and not once more"


def test_the_first_authority_goes_when_each_purpose_has_its_own(tmp_path: Path) -> None:
    old = Authority(tmp_path / "old", "swarmbook lab CA")
    for name, content in (
        ("ca.pem", old.certificate),
        ("ca.key", (old.folder / "ca-1.key").read_bytes()),
        ("client.pem", b"-"),
    ):
        (tmp_path / name).write_bytes(content)
    made = {p: Authority(tmp_path / p.value, p.value, None if p is Purpose.ENGINE else tmp_path) for p in Purpose}
    for purpose in (Purpose.CONSUL, Purpose.REPLICATION):
        forget_first(tmp_path)
        assert (tmp_path / "ca.key").exists(), "it still signs for one"
        while made[purpose].advance():
            pass
    forget_first(tmp_path)
    assert not [file for file in tmp_path.iterdir() if file.is_file()]
    assert Authority(tmp_path / "database", "").bundle.startswith(old.certificate), "its clients know no other yet"


@pytest.mark.parametrize("lost", ["ca-1.key", "ca-1.pem", "authority.json"])
def test_a_kill_while_an_authority_is_made_leaves_none_half_made(authority: Authority, lost: str) -> None:
    (authority.folder / lost).unlink()
    again = Authority(authority.folder, "x")
    parsed(leaf_of(again, "a", ["a"], days=1, renew_days=0).certificate).verify_directly_issued_by(
        parsed(again.certificate)
    )


def test_a_key_that_is_not_its_certificates_signs_nothing(authority: Authority, tmp_path: Path) -> None:
    """As two that made it at once would leave it."""
    other = Authority(tmp_path / "other", "swarmbook lab CA")
    (authority.folder / "ca-1.key").write_bytes((other.folder / "ca-1.key").read_bytes())
    again = Authority(authority.folder, "x")
    parsed(leaf_of(again, "a", ["a"], days=1, renew_days=0).certificate).verify_directly_issued_by(
        parsed(again.certificate)
    )


def test_nothing_of_one_purpose_is_worth_anything_for_another(tmp_path: Path) -> None:
    authorities = {purpose: Authority(tmp_path / purpose.value, purpose.value) for purpose in Purpose}
    for mine, authority in authorities.items():
        leaf = parsed(leaf_of(authority, "sw1", ["sw1"], days=1, renew_days=0).certificate)
        for other, stranger in authorities.items():
            if mine is other:
                verifier(stranger, x509.DNSName("sw1")).verify(leaf, [])
            else:
                with pytest.raises(VerificationError):
                    verifier(stranger, x509.DNSName("sw1")).verify(leaf, [])
