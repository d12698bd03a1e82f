"""Where services are, and what to say if they cannot be reached there."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from lepret.doctor.report import SECONDS_FOR_AN_ANSWER, Trouble, causes


@dataclass(frozen=True)
class Place:
    """The address of a service, `what`, by the variable that names it. It is safe to show."""

    what: str
    variable: str
    host: str
    port: int | str = ""

    def __post_init__(self) -> None:
        # A password with unencoded characters ends in the wrong part of its URL. (PostgreSQL takes
        # several hosts, with several ports.)
        if "@" in self.host or not re.fullmatch("[0-9,]*", str(self.port)):
            raise unreadable(self.variable)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    def refused(self) -> Trouble:
        """Nothing listens there."""
        return Trouble(f"nothing listens at {self}: start {self.what}, or correct {self.variable}")

    def unknown(self) -> Trouble:
        """The host has no address."""
        return Trouble(f"there is no host {self.host}: correct {self.variable}, or the name server")

    def silent(self) -> Trouble:
        """It accepts connections at best."""
        return Trouble(
            f"{self} does not answer in {SECONDS_FOR_AN_ANSWER:g} s: see whether {self.what} "
            f"hangs, a firewall is between, or only one side uses TLS ({self.variable})"
        )

    def ends_connections(self) -> Trouble:
        """It closes them without a word."""
        return Trouble(
            f"{self} ends the connection: it wants TLS where {self.variable} has none, or has no "
            f"connection left, or stops; see the log of {self.what}"
        )

    def is_without_tls(self) -> Trouble:
        """It does not take part in TLS."""
        return Trouble(f"{self} speaks no TLS, and {self.variable} wants it: make them agree")

    def has_another_certificate(self) -> Trouble:
        """Its certificate is not trusted."""
        return Trouble(
            f"the certificate of {self} is for another host, has expired, or is signed by none "
            f"that is trusted here: correct the host or the authority's file in {self.variable}"
        )

    def trouble_of(self, error: BaseException) -> Trouble | None:
        """What the operating system, or TLS, says of an attempt to reach it; `None`: nothing."""
        found = [each for each in causes(error) if isinstance(each, OSError)]
        if not found:
            return None
        for kind, trouble in _BY_TYPE:
            if isinstance(found[-1], kind):
                return trouble(self)
        reason = found[-1].strerror or type(found[-1]).__qualname__
        return Trouble(
            f"{self} cannot be reached ({reason}): correct {self.variable}, or the files that it "
            "names"
        )

    def trouble_in(self, words: str) -> Trouble | None:
        """The same, of libraries in C, which have only words for it."""
        for pattern, trouble in _BY_WORDS:
            if re.search(pattern, words):
                return trouble(self)
        return None


# The first that fits.
_BY_TYPE: Final[tuple[tuple[type[OSError], Callable[[Place], Trouble]], ...]] = (
    (socket.gaierror, Place.unknown),
    (ssl.SSLCertVerificationError, Place.has_another_certificate),
    (ssl.SSLError, Place.is_without_tls),
    (TimeoutError, Place.silent),
    (ConnectionRefusedError, Place.refused),
    (ConnectionError, Place.ends_connections),
)
_BY_WORDS: Final[tuple[tuple[str, Callable[[Place], Trouble]], ...]] = (
    ("DNS resolution failed|resolve host|translate host name", Place.unknown),
    ("Connection refused|No such file or directory", Place.refused),
    ("timeout expired|timed out", Place.silent),
    ("does not support SSL|WRONG_VERSION_NUMBER", Place.is_without_tls),
    ("certificate|CERTIFICATE", Place.has_another_certificate),
    ("closed the connection|reset by peer|Socket closed|SSL", Place.ends_connections),
)


def place_in(url: str, what: str, variable: str, *, port: int) -> Place:
    """The place that a URL names; `port` is that of URLs without one.

    Raises:
        Trouble: it names none, or it is not certain what in it is a password.
    """
    try:
        parts = urlsplit(url)
        own_port = parts.port
    except ValueError:
        raise unreadable(variable) from None
    if "@" in parts.path + parts.query + parts.fragment:
        raise unreadable(variable)
    if parts.scheme == "unix":
        return Place(what, variable, unquote(parts.path))
    return Place(what, variable, parts.hostname or "localhost", own_port or port)


def unreadable(variable: str) -> Trouble:
    """A variable is no address."""
    return Trouble(
        f"{variable} cannot be read: percent-encode special characters in user and password, and "
        "see docs/operations.md for its form"
    )
