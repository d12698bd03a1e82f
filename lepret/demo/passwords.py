"""The passwords of a demo's accounts. A server that is no demo does not know how to check them.

So whoever uses a demo's database in earnest lets nobody in whose password everyone knows.
"""

from __future__ import annotations

from typing import Final

from django.contrib.auth.hashers import PBKDF2PasswordHasher, is_password_usable

_ALGORITHM: Final = "demo_pbkdf2_sha256"


class DemoPasswordHasher(PBKDF2PasswordHasher):
    """Hashes all passwords that are set while a demo runs. `LEPRET_DEMO` puts it into use."""

    algorithm = _ALGORITHM
    # Few, so that a demo starts soon.
    iterations = 100_000


def is_a_demos(encoded: str) -> bool:
    """Whether no server but a demo lets somebody in with this stored password."""
    return encoded.startswith(f"{_ALGORITHM}$") or not is_password_usable(encoded)
