"""Which requests are calls of the API: their refusals are for programs, not for people."""

from __future__ import annotations


def is_call(path: str) -> bool:
    """Whether a path is under `/api/`, also if it is misspelt there, as `//api/` or `/API/`."""
    return f"{path.lstrip('/').lower()}/".startswith("api/")
