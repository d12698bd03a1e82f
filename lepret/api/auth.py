"""Who calls the API: the user whose token was sent, or somebody unknown (RFC 6750)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.security import HttpBearer

from lepret.api import tokens
from lepret.api.problems import Problem
from lepret.models import ApiToken, Scope
from lepret.staff.roles import is_underwriter

# What only underwriters may do on the pages, only their tokens may do here.
UNDERWRITERS_SCOPES: Final = frozenset({Scope.READ_QUEUE, Scope.DECIDE})


@dataclass(frozen=True)
class Caller:
    """Who calls; `user` is `None` where no token was sent."""

    user: User | None = None

    @property
    def name(self) -> str:
        """Another one for each who can be told apart, and the same for all who cannot."""
        return "anonymous" if self.user is None else f"user {self.user.pk}"


class ApiRequest(HttpRequest):
    """A request whose caller is known."""

    auth: Caller


class Bearer(HttpBearer):
    """`Authorization: Bearer lepret_…`, with a token that has the scope, if one is asked for.

    Where no token is `needed`, callers without one are let in as well; a token that is sent must be
    good all the same, or whoever sent it would think that it was.
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
        """Who calls.

        Raises:
            Problem: 401 or 403, with what RFC 6750 wants said in `WWW-Authenticate`.
        """
        caller: Caller | None = super().__call__(request)
        if caller is not None:
            return caller
        if self.is_needed:
            raise _unauthorized("Send a token, as `Authorization: Bearer lepret_…`.")
        return Caller()

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        known = tokens.find(token)
        if known is None:
            detail = "The token is not known, or was revoked, or has expired."
            raise _unauthorized(detail, 'error="invalid_token"')
        if self.scope is not None:
            _check_allows(known, self.scope)
        return Caller(known.user)


def _check_allows(token: ApiToken, scope: Scope) -> None:
    if scope not in token.scopes:
        challenge = _challenge('error="insufficient_scope"', f'scope="{scope.value}"')
        detail = f"The token has not the scope {scope.value}."
        raise Problem(HTTPStatus.FORBIDDEN, detail, headers=challenge)
    if scope in UNDERWRITERS_SCOPES and not is_underwriter(token.user):
        raise Problem(HTTPStatus.FORBIDDEN, "The token's user is not an underwriter.")


def _unauthorized(detail: str, *attributes: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers=_challenge(*attributes))


def _challenge(*attributes: str) -> dict[str, str]:
    return {"WWW-Authenticate": ", ".join(('Bearer realm="lepret"', *attributes))}
