"""Hashes that nobody can compute without the key."""

from __future__ import annotations

import hmac
import json


def keyed_hash(key: bytes, purpose: str, *parts: str) -> bytes:
    """HMAC-SHA256 (RFC 2104) of `parts`, 32 bytes; it differs for each purpose.

    A plain hash would not hide a national ID: there are so few that one can try them all.
    """
    # JSON keeps the parts apart: ("a", "bc") is not ("ab", "c").
    return hmac.digest(key, json.dumps([purpose, *parts]).encode(), "sha256")
