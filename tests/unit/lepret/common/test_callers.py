from __future__ import annotations

import pytest

from lepret.common.callers import UNKNOWN, client_address, network_of


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proxies", "address"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", 0, "192.0.2.1"),  # without a proxy the header is forged
        ("192.0.2.1", "198.51.100.7", 1, "198.51.100.7"),
        ("192.0.2.1", "203.0.113.9, 198.51.100.7", 1, "198.51.100.7"),
        ("192.0.2.1", "203.0.113.9, 198.51.100.7", 2, "203.0.113.9"),
        ("192.0.2.1", "198.51.100.7", 2, "198.51.100.7"),
        ("192.0.2.1", "", 1, "192.0.2.1"),
        ("192.0.2.1", "not an address", 1, UNKNOWN),
        ("2001:DB8::1", "", 0, "2001:db8::1"),
        ("", "", 0, UNKNOWN),
        (None, "", 0, UNKNOWN),
    ],
)
def test_only_the_entries_of_our_own_proxies_count(
    peer: str | None, forwarded_for: str, proxies: int, address: str
) -> None:
    assert client_address(peer, forwarded_for, proxies) == address


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (UNKNOWN, UNKNOWN),
    ],
)
def test_an_ipv6_network_counts_as_one_caller(address: str, network: str) -> None:
    assert network_of(address) == network
