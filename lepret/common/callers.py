"""Who calls: the address from which a request or a websocket comes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest

UNKNOWN: Final = "unknown"
_KEPT: Final = 256


def address_of(request: HttpRequest) -> str:
    """The address that a request comes from; `unknown` if the server does not know it."""
    forwarded_for = request.headers.get("X-Forwarded-For", "")
    return client_address(request.META.get("REMOTE_ADDR"), forwarded_for, settings.WEB_PROXIES)


def address_of_scope(scope: Mapping[str, Any]) -> str:
    """The address that an ASGI scope, such as a websocket's, comes from."""
    client = scope.get("client")
    forwarded_for = b",".join(
        value for name, value in scope["headers"] if name == b"x-forwarded-for"
    ).decode("latin-1")
    return client_address(client[0] if client else None, forwarded_for, settings.WEB_PROXIES)


def client_address(peer: str | None, forwarded_for: str, proxies: int) -> str:
    """The client's address, from the peer's and from the header `X-Forwarded-For`.

    Each proxy adds an entry at the right. The entry of the first of our own proxies counts: a
    client can forge those to the left of it. What is not an address is `unknown`.
    """
    entries = [entry.strip() for entry in forwarded_for.split(",")] if forwarded_for else []
    address = entries[-min(proxies, len(entries))] if proxies and entries else peer
    return _spelled(address or "")


# Whoever calls usually calls again.
@lru_cache(maxsize=_KEPT)
def _spelled(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return UNKNOWN


@lru_cache(maxsize=_KEPT)
def network_of(address: str) -> str:
    """What limits count as one caller: an IPv4 address, or the network (/64) of an IPv6 address.

    Whoever has one IPv6 address usually has its whole network (RFC 6177, RFC 7421).
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
