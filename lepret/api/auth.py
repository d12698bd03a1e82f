"""Authentication of the API's callers, by bearer tokens (RFC 6750)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.security import HttpBearer

from lepret.api import tokens
from lepret.api.problems import Problem
from lepret.common.callers import address_of
from lepret.models import ApiToken, Scope
from lepret.staff.roles import is_underwriter

logger = logging.getLogger(__name__)

# These scopes are valid only while the token's user is an underwriter.
UNDERWRITERS_SCOPES: Final = frozenset({Scope.READ_QUEUE, Scope.DECIDE})


@dataclass(frozen=True)
class Caller:
    """Who calls; `user` is `None` if no token was sent."""

    user: User | None = None

    @property
    def name(self) -> str:
        """A name for each user, and one for all callers without a token."""
        return "anonymous" if self.user is None else f"user {self.user.pk}"


class ApiRequest(HttpRequest):
    """A request to the API, with its caller."""

    auth: Caller


class Bearer(HttpBearer):
    """Requires `Authorization: Bearer lepret_…`, with a token that has the `scope`, if given.

    If no token is needed, callers without one are accepted too. A bad token is refused even then:
    otherwise its sender would take it for a good one.
    """

    openapi_bearerFormat = "lepret_…"  # noqa: N815 (OpenAPI's name)
    openapi_description = "A token from `manage.py api_token create`, with scopes:\n" + "".join(
        f"\n- `{scope.value}`: {scope.label}" for scope in Scope
    )

    def __init__(self, scope: Scope | None = None, *, is_needed: bool = True) -> None:
        super().__init__()
        self.scope = scope
        self.is_needed = is_needed

    def __call__(self, request: HttpRequest) -> Caller:
        """Authenticate the caller. Refusals are logged.

        Raises:
            Problem: 401 or 403, with `WWW-Authenticate` as in RFC 6750.
        """
        caller: Caller | None = super().__call__(request)
        if caller is not None:
            return caller
        if self.is_needed:
            refusal = _unauthorized("Send a token, as `Authorization: Bearer lepret_…`.")
            raise _logged(refusal, request, "nobody")
        return Caller()

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        known = tokens.find(token)
        if known is None:
            detail = "The token is not known, or was revoked, or has expired."
            refusal = _unauthorized(detail, 'error="invalid_token"')
            raise _logged(refusal, request, "a bad token")
        if self.scope is not None and (problem := _problem_with(known, self.scope)):
            raise _logged(problem, request, f"the token {known}")
        return Caller(known.user)


def _problem_with(token: ApiToken, scope: Scope) -> Problem | None:
    if scope not in token.scopes:
        challenge = _challenge('error="insufficient_scope"', f'scope="{scope.value}"')
        detail = f"The token has not the scope {scope.value}."
        return Problem(HTTPStatus.FORBIDDEN, detail, headers=challenge)
    if scope in UNDERWRITERS_SCOPES and not is_underwriter(token.user):
        return Problem(HTTPStatus.FORBIDDEN, "The token's user is not an underwriter.")
    return None


def _logged(refusal: Problem, request: HttpRequest, caller: str) -> Problem:
    logger.warning("Refused a call by %s from %s: %s", caller, address_of(request), refusal)
    return refusal


def _unauthorized(detail: str, *attributes: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers=_challenge(*attributes))


def _challenge(*attributes: str) -> dict[str, str]:
    return {"WWW-Authenticate": ", ".join(('Bearer realm="lepret"', *attributes))}
