"""What the phone of a member of staff does: codes from the secret that the page shows."""

from __future__ import annotations

import re
import time
from base64 import b32decode
from typing import Final

from django_otp.oath import totp

_STEP_SECONDS: Final = 30


class Phone:
    """An app on a phone, with a secret."""

    def __init__(self, secret: str) -> None:
        self._key = b32decode(secret.replace(" ", ""))

    @classmethod
    def that_scans(cls, page: str) -> Phone:
        """One that has got its secret from the page on which a second factor is set up."""
        secret = re.search(r'<code id="secret">([A-Z2-7 ]+)</code>', page)
        assert secret is not None, page
        return cls(secret[1])

    def code(self, steps: int = 0, *, t0: int = 0) -> str:
        """The code of this half minute, or of one that is so many steps away."""
        return f"{totp(self._key, _STEP_SECONDS, t0, 6, steps):06d}"

    def wrong_code(self) -> str:
        """Six digits that are no code around now."""
        near = {self.code(steps) for steps in range(-3, 4)}
        return next(code for code in (f"{n:06d}" for n in range(10)) if code not in near)


def middle_of_a_step() -> int:
    """A `t0` with which the present is the middle of a half minute, 1,000 of them later."""
    return int(time.time()) - 1000 * _STEP_SECONDS - _STEP_SECONDS // 2
