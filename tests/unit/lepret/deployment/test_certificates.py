"""The certificates with which the services know each other."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from lepret.deployment.certificates import (
    Certified,
    certificate_for,
    is_to_be_renewed,
    new_authority,
)
from tests.support.processes import PATIENCE

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Certified:
    return new_authority(NOW)


@pytest.fixture(scope="module")
def other_authority() -> Certified:
    return new_authority(NOW)


@pytest.fixture(scope="module")
def postgres(authority: Certified) -> Certified:
    return certificate_for("postgres", authority, NOW)


def shake_hands(server: Certified, name: str, authority: Certified, directory: Path) -> None:
    """Connect to a server with this certificate under this name. Raises SSLError if refused."""
    file = directory / "server.pem"
    file.write_text(server.key + server.certificate)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    calling = ssl.create_default_context(cadata=authority.certificate)
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(PATIENCE)
        there.settimeout(PATIENCE)

        def serve() -> None:
            with contextlib.suppress(OSError):  # The other side may refuse.
                serving.wrap_socket(there, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            calling.wrap_socket(here, server_hostname=name).close()
        finally:
            here.close()
            thread.join(PATIENCE)


@pytest.mark.parametrize("name", ["postgres", "localhost", "127.0.0.1"])
def test_a_server_is_trusted_under_its_own_names(
    authority: Certified, postgres: Certified, tmp_path: Path, name: str
) -> None:
    shake_hands(postgres, name, authority, tmp_path)


def test_a_server_is_not_trusted_under_another_name(
    authority: Certified, postgres: Certified, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        shake_hands(postgres, "valkey", authority, tmp_path)


def test_a_server_of_another_authority_is_not_trusted(
    postgres: Certified, other_authority: Certified, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(postgres, "postgres", other_authority, tmp_path)


def test_a_server_cannot_sign_for_others(
    authority: Certified, postgres: Certified, tmp_path: Path
) -> None:
    forged = certificate_for("valkey", postgres, NOW)
    chain = Certified(forged.key, forged.certificate + postgres.certificate)
    with pytest.raises(ssl.SSLCertVerificationError, match="invalid CA certificate"):
        shake_hands(chain, "valkey", authority, tmp_path)


@pytest.mark.parametrize(
    ("days", "is_due"), [(0, False), (400, False), (420, True), (825, True), (10_000, True)]
)
def test_a_certificate_is_renewed_after_half_of_its_life(
    authority: Certified, postgres: Certified, days: int, is_due: bool
) -> None:
    assert is_to_be_renewed(postgres, authority, NOW + timedelta(days=days)) == is_due


def test_a_certificate_of_an_earlier_authority_is_renewed(
    postgres: Certified, other_authority: Certified
) -> None:
    assert is_to_be_renewed(postgres, other_authority, NOW)


def test_kurrentdb_finds_what_it_asks_for(postgres: Certified, authority: Certified) -> None:
    # An RSA key in PKCS #8; use as a server and as a client; a root that signs itself.
    assert postgres.key.startswith("-----BEGIN PRIVATE KEY-----\n")
    usage = postgres.parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {each._name for each in usage} == {"serverAuth", "clientAuth"}  # noqa: SLF001
    assert authority.parsed.subject == authority.parsed.issuer
