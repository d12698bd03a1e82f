"""What is said of an address never has a part of a password in it."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepret.doctor.places import Place, place_in
from lepret.doctor.report import Trouble

# With everything that means something in URLs. No word that is said has such letters in it.
passwords = st.text("\u00e9\u017c\u03c9\u05d0XQZ:/?#[]@!$&'()*+,;=% ", min_size=3)


def said_of(url: str) -> str:
    """All that can be said of a place."""
    try:
        place = place_in(url, "Valkey", "REDIS_URL", port=6379)
    except Trouble as trouble:
        return str(trouble)
    troubles = (
        *(place.refused(), place.unknown(), place.silent(), place.ends_connections()),
        *(place.is_without_tls(), place.has_another_certificate()),
    )
    return "\n".join([str(place), *map(str, troubles)])


@given(passwords)
def test_an_encoded_password_is_not_said(password: str) -> None:
    encoded = quote(password, safe="")
    said = said_of(f"redis://user:{encoded}@host:1234/0")
    assert "host:1234" in said
    assert password not in said
    assert encoded not in said


@given(passwords)
def test_neither_is_any_part_of_one_that_is_not_encoded(password: str) -> None:
    said = said_of(f"redis://user:{password}@host:1234/0")
    assert not set(said) & set("\u00e9\u017c\u03c9\u05d0XQZ")


@pytest.mark.parametrize("url", ["redis://user:a/b@host:1/0", "redis://user:a#b@host:1/0"])
def test_a_password_that_ends_elsewhere_is_named_as_the_mistake(url: str) -> None:
    assert said_of(url).startswith("REDIS_URL cannot be read: percent-encode")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "host:6379"),
        ("redis://:secret@[::1]:5/0", "[::1]:5"),
        ("unix:///run/valkey.sock?db=1", "/run/valkey.sock"),
    ],
)
def test_a_place_is_shown_as_host_and_port(url: str, shown: str) -> None:
    assert str(place_in(url, "Valkey", "REDIS_URL", port=6379)) == shown


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "there is no host"),
        (ConnectionRefusedError(), "nothing listens"),
        (TimeoutError(), "does not answer in"),
        (ConnectionResetError(), "ends the connection"),
        (ssl.SSLCertVerificationError(), "the certificate of"),
        (ssl.SSLError(), "speaks no TLS"),
        (OSError(113, "No route to host"), "cannot be reached (No route to host)"),
    ],
)
def test_what_the_operating_system_says_is_put_into_words(error: OSError, words: str) -> None:
    library = Exception("of a library")
    library.__cause__ = error
    found = Place("Valkey", "REDIS_URL", "host", 1).trouble_of(library)
    assert words in str(found)
    assert "REDIS_URL" in str(found)
