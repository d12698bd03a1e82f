"""What the back office looks at."""

from __future__ import annotations

from typing import Any, Final

from readmodels.models import (
    Checkpoint,
    Failure,
    LoanRequest,
    LoanStatus,
    ParkedCreditCheck,
    PendingRequest,
    Rebuild,
    SkippedEvent,
)

IN_BACK_OFFICE: Final[tuple[Any, ...]] = (
    LoanRequest,
    PendingRequest,
    LoanStatus,
    ParkedCreditCheck,
    Checkpoint,
    Failure,
    SkippedEvent,
    Rebuild,
)
