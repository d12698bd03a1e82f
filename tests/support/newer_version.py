"""A newer version of the program, whose events the one under test cannot read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from esdbclient import NewEvent, StreamState

from lepret.common.event_store_client import event_store_client
from loans.adapters import codec
from tests.support.loans import AT
from tests.support.processes import PROJECT

_COPIED: Final = ("lepret", "loans", "readmodels", "templates")
_LINKED: Final = ("manage.py", "pyproject.toml", "tests")

_AMOUNT: Final = """\
    name: str = Field(repr=False)
    national_id: str = Field(repr=False)
    amount: int
    address: str"""
_SUM: Final = """\
    SCHEMA_VERSION: ClassVar[int] = 2
    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    name: str = Field(repr=False)
    national_id: str = Field(repr=False)
    amount: int = Field(alias="sum")
    address: str"""
_UPCASTERS: Final = "UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {"
_UPCASTER: Final = f"""\
{_UPCASTERS}
    ("LoanRequested", 1): lambda data: {{**data, "sum": data["amount"]}},"""


def newer_version_in(directory: Path) -> Path:
    """Copy the program; there `LoanRequested` has schema 2, and `sum` instead of `amount`."""
    for name in _COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, directory / name, ignore=ignored)
    for name in _LINKED:
        (directory / name).symlink_to(PROJECT / name)
    _replace(directory / "loans/domain/events.py", _AMOUNT, _SUM)
    _replace(directory / "loans/adapters/codec.py", _UPCASTERS, _UPCASTER)
    return directory


def append_newer(
    event_type: str, version: int, *, loan_request_id: UUID | None = None, **fields: object
) -> int:
    """Append an event with this version of its schema to a request's stream.

    Without an id it is a new request. Returns the event's commit position.
    """
    id_ = loan_request_id or uuid4()
    data = {"id": str(id_), "occurred_at": AT.isoformat(), **fields}
    event = NewEvent(
        type=event_type,
        data=json.dumps(data).encode(),
        metadata=json.dumps({"schemaVersion": version}).encode(),
    )
    return event_store_client().append_to_stream(
        codec.stream_name(id_), current_version=StreamState.ANY, events=[event]
    )


def append_newer_request(loan_request_id: UUID | None = None) -> int:
    """Append a `LoanRequested` as the program in `newer_version_in` does."""
    return append_newer(
        "LoanRequested",
        2,
        loan_request_id=loan_request_id,
        name="Ann Example",
        national_id="123456aa",
        sum=7,
    )


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name} has changed"
    file.write_text(text.replace(old, new))
