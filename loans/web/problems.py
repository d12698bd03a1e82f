"""How the JSON API answers a command that is refused, or that cannot be recorded."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Final

from django.utils.http import quote_etag

from lepret.api.problems import FieldError, Problem, ProblemMakers, unavailable
from loans.adapters.event_store import EventStoreUnavailable, NewerVersionNeeded, StaleRevision
from loans.application.idempotency import KeyGone, KeyUsedOtherwise
from loans.domain.loan_request import (
    IdAlreadyUsed,
    LoanRequestIsGone,
    OutOfDate,
    ReasonNotExplained,
    ReasonNotInPolicy,
    Rejection,
    UnknownLoanRequest,
    WhyNeeded,
)
from loans.web.applying import TooManyApplications
from loans.web.headers import IDEMPOTENCY_KEY


def bad_key(message: str) -> Problem:
    """422 for an `Idempotency-Key` that cannot be used."""
    return bad_value(IDEMPOTENCY_KEY, message)


def bad_value(field: str, message: str) -> Problem:
    """422 for the value of a field."""
    errors = [FieldError(field=field, message=message)]
    detail = "Some values cannot be used."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


def _id_already_used(rejection: IdAlreadyUsed) -> Problem:
    errors = [FieldError(field="id", message=str(rejection))]
    return Problem(HTTPStatus.CONFLICT, str(rejection), errors=errors)


def _out_of_date(rejection: OutOfDate) -> Problem:
    headers = {"ETag": quote_etag(str(rejection.revision))}
    return Problem(HTTPStatus.PRECONDITION_FAILED, str(rejection), headers=headers)


def _not_recorded(_: Exception) -> Problem:
    return unavailable(
        "It could not be recorded. Please send it again, with the same id or Idempotency-Key."
    )


def _newer_version_needed(_: NewerVersionNeeded) -> Problem:
    return unavailable(
        "This service is being updated. Nothing was recorded: please send it again in a few "
        "minutes, with the same id or Idempotency-Key."
    )


def _too_many(refusal: TooManyApplications) -> Problem:
    headers = {"Retry-After": str(math.ceil(refusal.retry_after))}
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, str(refusal), headers=headers)


PROBLEMS: Final[ProblemMakers] = {
    KeyUsedOtherwise: lambda _: bad_key("This key was used for another call."),
    KeyGone: lambda _: bad_key("The record of this key was deleted. Send the call with another."),
    IdAlreadyUsed: _id_already_used,
    UnknownLoanRequest: lambda rejection: Problem(HTTPStatus.NOT_FOUND, str(rejection)),
    LoanRequestIsGone: lambda rejection: Problem(HTTPStatus.GONE, str(rejection)),
    OutOfDate: _out_of_date,
    ReasonNotInPolicy: lambda rejection: bad_value("reasons", str(rejection)),
    ReasonNotExplained: lambda rejection: bad_value("reason_text", str(rejection)),
    WhyNeeded: lambda rejection: bad_value("why", str(rejection)),
    Rejection: lambda rejection: Problem(HTTPStatus.CONFLICT, str(rejection)),
    TooManyApplications: _too_many,
    EventStoreUnavailable: _not_recorded,
    NewerVersionNeeded: _newer_version_needed,
    StaleRevision: _not_recorded,
}
