"""Certificates for TLS between the services, by a certificate authority of their own."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The authority is trusted by these services alone, and its key is kept where none of them can read
# it. To replace it, all of them must be stopped, so it lasts.
_AUTHORITY_LASTS: Final = timedelta(days=20 * 365)
_CERTIFICATE_LASTS: Final = timedelta(days=825)
# Each start renews what is older than half of its life, so that a system that is upgraded once a
# year never meets the end of a certificate.
_RENEWED_BEFORE_END: Final = _CERTIFICATE_LASTS / 2
# Clocks may differ a little.
_VALID_SINCE: Final = timedelta(hours=1)
# KurrentDB reads RSA keys only.
_KEY_BITS: Final = 3072


class Certified(NamedTuple):
    """A private key and its certificate, both in PEM."""

    key: str
    certificate: str

    @classmethod
    def of(cls, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> Self:
        return cls(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
        )

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.encode())


def new_authority(now: datetime) -> Certified:
    """A certificate authority that signs for servers, not for further authorities."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=_KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lepret authority")])
    certificate = (
        _certificate(name, name, key.public_key(), now, _AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Certified.of(key, certificate)


def certificate_for(host: str, authority: Certified, now: datetime) -> Certified:
    """A certificate for the server that others know as `host`, and itself as localhost."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=_KEY_BITS)
    issuer = authority.parsed
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), password=None)
    assert isinstance(issuer_key, rsa.RSAPrivateKey), "the authority's key is made here"
    names = [
        x509.DNSName(host),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        _certificate(subject, issuer.subject, key.public_key(), now, _CERTIFICATE_LASTS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        # A node of KurrentDB is a client of the other nodes, too.
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return Certified.of(key, certificate)


def is_to_be_renewed(certified: Certified, authority: Certified, now: datetime) -> bool:
    """Whether a certificate is past half of its life, or another authority's."""
    certificate = certified.parsed
    try:
        certificate.verify_directly_issued_by(authority.parsed)
    except (ValueError, TypeError, InvalidSignature):
        return True
    return certificate.not_valid_after_utc - now < _RENEWED_BEFORE_END


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPublicKey,
    now: datetime,
    lasts: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID_SINCE)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
