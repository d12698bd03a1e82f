"""What a request asks for, as it stands in its first line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from lepret.common.api_calls import is_call

_SCHEMES: Final = (b"http", b"https")


@dataclass(frozen=True)
class Target:
    """The target of a request: a path with its query, and the host if it was an absolute URL."""

    uri: bytes
    host: bytes | None = None

    @classmethod
    def of(cls, target: bytes) -> Target:
        """From a path, or an absolute URL (RFC 9112, section 3.2.2)."""
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in _SCHEMES:
            return cls(target)
        host, slash, path = rest.partition(b"/")
        return cls(slash + path or b"/", host)

    @property
    def path(self) -> bytes:
        """The path, as it was sent."""
        return self.uri.partition(b"?")[0]

    @property
    def is_call(self) -> bool:
        """Whether it is of the API."""
        return is_call(unquote_to_bytes(self.path).decode("latin-1"))


@dataclass(frozen=True)
class Asked:
    """A request's first line, as far as it came in; it may be anything."""

    method: bytes = b""
    target: Target = Target(b"")

    @classmethod
    def in_line(cls, line: bytes) -> Asked:
        """From the line, which may have no end."""
        method, _, rest = line.partition(b" ")
        return cls(method, Target.of(rest.partition(b" ")[0]))
