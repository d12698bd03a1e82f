"""Who may see how the system works inside: those who look after it.

They are known by a token (`MONITORING_TOKEN`) or by their address (`MONITORING_NETWORKS`).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from lepret.common.callers import UNKNOWN, address_of

# Proxies add these. Behind a proxy that WEB_PROXIES does not count, everyone has its address.
_MARKS_OF_PROXIES: Final = (
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
)


def is_insider(request: HttpRequest) -> bool:
    """Whether the caller has the token, or calls from one of the networks."""
    return _has_token(request) or _is_in_a_network(request)


def _has_token(request: HttpRequest) -> bool:
    token: str | None = settings.MONITORING_TOKEN
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return constant_time_compare(given.strip(), token)


def _is_in_a_network(request: HttpRequest) -> bool:
    address = address_of(request)
    if address == UNKNOWN or _comes_from_an_unknown_proxy(request):
        return False
    parsed = _without_mapping(ip_address(address))
    return any(parsed in network for network in settings.MONITORING_NETWORKS)


def _comes_from_an_unknown_proxy(request: HttpRequest) -> bool:
    if settings.WEB_PROXIES and "X-Forwarded-For" in request.headers:
        return False
    return any(name in request.headers for name in _MARKS_OF_PROXIES)


def _without_mapping(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that a socket for both kinds shows as an IPv6 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
