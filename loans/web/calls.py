"""What the operations of the API have in common that send commands: their keys and answers."""

from __future__ import annotations

import json
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone
from django.utils.http import quote_etag
from pydantic import BaseModel

from lepret.api.auth import ApiRequest
from lepret.api.openapi import InWords
from loans.application.idempotency import IdempotencyKey
from loans.application.use_cases import Answer
from loans.dependencies import idempotency_keys
from loans.web.explaining import explanation, reasons_told
from loans.web.problems import bad_key
from loans.web.schemas import LoanRequestAnswer


def key_of(request: ApiRequest, value: str | None) -> IdempotencyKey | None:
    """The key that a call was sent with.

    Raises:
        Problem: 422, for a key that others could use, too.
    """
    if value is None:
        return None
    if request.auth.user is None and not _is_uuid(value):
        raise bad_key("Without a token this must be a UUID, since others could use the same key.")
    return IdempotencyKey(request.auth.name, value)


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def use_key(
    request: ApiRequest, key: IdempotencyKey | None, body: BaseModel, *, loan_request_id: UUID
) -> None:
    """Record what the key is used for.

    Called for valid calls only: an invalid call leaves its key unused.
    """
    if key is None:
        return
    # As it was sent, without defaults: what later versions add must not make this another call.
    sent = body.model_dump(mode="json", exclude_unset=True, exclude_defaults=True)
    text = json.dumps(sent, sort_keys=True)
    call = (str(request.method), request.path, text)
    idempotency_keys().use(key, *call, loan_request_id=loan_request_id, now=timezone.now())


def answered(request: ApiRequest, response: HttpResponse, answer: Answer) -> LoanRequestAnswer:
    """The answer to a command: how the request stands now, with its revision as the `ETag`."""
    response["ETag"] = quote_etag(str(answer.revision))
    link = request.build_absolute_uri(resolve_url("readmodels:status", answer.loan_request_id))
    application = answer.state.application
    assert application is not None, "what is answered was requested"
    held = answer.state.held_at(timezone.now())
    return LoanRequestAnswer(
        id=answer.loan_request_id,
        status=answer.status,
        amount=application.amount,
        currency=settings.CURRENCY,
        link=link,
        reasons=[
            InWords(code=code, text=text)
            for code, text in reasons_told(answer.state.decision).items()
        ],
        explanation=explanation(answer.state),
        awaiting=answer.state.awaiting,
        claimed_by=held.by if held else None,
        claimed_until=held.until if held else None,
        escalated=answer.state.is_escalated,
        position=answer.position,
    )
