"""Callers of the JSON API, with and without tokens."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.test import Client

from lepret.api import tokens
from lepret.models import Scope
from loans.adapters.credit_bureau import simulated_score
from tests.support.staff import make_underwriter

EVERYTHING: Final = tuple(Scope)


class Caller:
    """A client of the API, which sends a token if it has one."""

    def __init__(self, token: str | None = None) -> None:
        self._client = Client()
        self._authorization = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str, query: Mapping[str, Any] | None = None, /, **headers: str) -> Any:
        return self._client.get(f"/api{path}", query, headers=self._all(headers))

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self._client.post(
            f"/api{path}",
            json.dumps(body),
            content_type="application/json",
            headers=self._all(headers),
        )

    def apply(self, body: Mapping[str, Any], **headers: str) -> Any:
        return self.post("/loan-requests", body, **headers)

    def approve(self, loan: object, etag: str = "*", note: str = "", **headers: str) -> Any:
        path = f"/loan-requests/{loan}/approve"
        return self.post(path, {"note": note}, **{"If-Match": etag}, **headers)

    def deny(
        self,
        loan: object,
        etag: str = "*",
        reasons: Sequence[str] = ("too_much_debt",),
        note: str = "",
        **headers: str,
    ) -> Any:
        path = f"/loan-requests/{loan}/deny"
        body = {"reasons": list(reasons), "note": note}
        return self.post(path, body, **{"If-Match": etag}, **headers)

    def note(self, loan: object, text: str = "Called.", **headers: str) -> Any:
        return self.post(f"/loan-requests/{loan}/notes", {"text": text}, **headers)

    def claim(self, loan: object) -> Any:
        return self._post_nothing(f"/loan-requests/{loan}/claim")

    def release(self, loan: object) -> Any:
        return self._post_nothing(f"/loan-requests/{loan}/release")

    def hand_over(self, loan: object, to: object, why: object = "") -> Any:
        return self.post(f"/loan-requests/{loan}/hand-over", {"to": to, "why": why})

    def escalate(self, loan: object, why: object = "The papers look odd.") -> Any:
        return self.post(f"/loan-requests/{loan}/escalate", {"why": why})

    def claim_next(self) -> Any:
        return self._post_nothing("/queue/next")

    def _post_nothing(self, path: str) -> Any:
        return self._client.generic("POST", f"/api{path}", headers=self._all({}))

    def _all(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**self._authorization, **headers}


def caller_for(user: User, *scopes: Scope) -> Caller:
    """A caller with a token of this user, which has all scopes if none are given."""
    token, _ = tokens.issue(user, name="a tool", scopes=scopes or EVERYTHING)
    return Caller(token)


def underwriters_tool(username: str = "uma") -> Caller:
    """A caller with an underwriter's token that has all scopes."""
    return caller_for(make_underwriter(username))


def somebody() -> str:
    """The national ID of a new applicant."""
    letters = "".join(random.choices(string.ascii_lowercase, k=2))
    return f"{random.randrange(1_000_000):06}{letters}"


def application(score: int = 5, **changes: Any) -> dict[str, Any]:
    """A new applicant's application, to which the simulated credit bureau gives this score."""
    national_id = somebody()
    loan_request_id = _id_that_scores(national_id, score)
    body = {"name": "Ann Example", "national_id": national_id, "amount": 5000}
    return {**body, "id": str(loan_request_id), **changes}


def _id_that_scores(national_id: str, score: int) -> UUID:
    ids = (uuid4() for _ in count())
    return next(each for each in ids if simulated_score(national_id, each) == score)
