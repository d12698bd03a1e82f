"""Signing in by the company's identity provider (OpenID Connect), by mozilla-django-oidc.

Of the library's this changes what it leaves open: it finds the endpoints by discovery, checks all
of an ID token, knows users by what never changes, and shows a page for each failure.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import View
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from lepret.staff import identity_provider, logins, second_step
from lepret.staff.identity_provider import ProviderFailed
from lepret.staff.provider_accounts import NotLetIn, user_of

# How long somebody may take at the provider, in seconds.
_SECONDS_AT_PROVIDER = 600


def is_configured() -> bool:
    """Whether the operator has named an identity provider."""
    return bool(settings.OIDC_ISSUER)


def ways_to_log_in(request: HttpRequest) -> dict[str, Any]:
    """For templates: by which ways staff can log in."""
    return {
        "password_login": settings.PASSWORD_LOGIN,
        "provider_name": settings.OIDC_NAME if is_configured() else "",
    }


class ProviderBackend(OIDCAuthenticationBackend):  # type: ignore[misc]  # it has no types
    """Authenticates by the code that the provider has sent the browser back with."""

    def __init__(self) -> None:
        # Not the library's, which would ask the provider for its endpoints at each request.
        self.UserModel = User
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.OIDC_RP_CLIENT_SECRET

    def authenticate(self, request: HttpRequest, *, nonce: str, code_verifier: str) -> Any:
        """The user; the parameters keep password logins out, also those with `?code=`."""
        return super().authenticate(request, nonce=nonce, code_verifier=code_verifier)

    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        return identity_provider.tokens_for(payload)

    def verify_token(self, token: Any, *, nonce: str) -> dict[str, Any]:
        return identity_provider.claims_of(token, nonce=nonce)

    def get_or_create_user(self, access_token: Any, id_token: Any, payload: dict[str, Any]) -> User:
        claims = payload
        if not {settings.OIDC_GROUPS_CLAIM, settings.OIDC_USERNAME_CLAIM} <= payload.keys():
            more = identity_provider.user_info(access_token, subject=payload["sub"])
            claims = {**more, **payload}
        return user_of(payload["iss"], claims)

    def get_user(self, user_id: Any) -> Any:
        # As for passwords: the library's would let users in who are switched off.
        return ModelBackend.get_user(self, user_id)


@method_decorator(never_cache, name="dispatch")
class _ProviderView(View):
    """Answers 404 unless a provider is configured, and failures with a page."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not is_configured():
            raise Http404("No identity provider is configured.")
        try:
            return super().dispatch(request, *args, **kwargs)
        except ProviderFailed as failure:
            logins.provider_failed(request, f"the provider: {failure}")
            words = "The sign-in service does not answer as it should. Try again in a minute."
            return _refuse(request, words, HTTPStatus.BAD_GATEWAY)
        except NotLetIn as refusal:
            logins.provider_failed(request, str(refusal))
            return _refuse(request, refusal.words)
        except SuspiciousOperation:  # The library's: the session knows nothing of this sign-in.
            return _unknown(request)


def _refuse(
    request: HttpRequest, words: str, status: HTTPStatus = HTTPStatus.FORBIDDEN
) -> HttpResponse:
    return render(request, "staff/provider_refused.html", {"words": words}, status=status)


def _unknown(request: HttpRequest) -> HttpResponse:
    logins.provider_failed(request, "it was not begun in this browser, or long ago")
    words = "This sign-in was not begun in this browser, or took too long. Sign in again."
    return _refuse(request, words, HTTPStatus.BAD_REQUEST)


class ToProvider(_ProviderView, OIDCAuthenticationRequestView):  # type: ignore[misc]
    """Sends the browser to the provider."""

    def __init__(self, **kwargs: Any) -> None:
        # Not the library's, which would ask the provider where failures are not caught.
        View.__init__(self, **kwargs)
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID

    def get(self, request: HttpRequest) -> HttpResponse:
        self.OIDC_OP_AUTH_ENDPOINT = identity_provider.provider().authorization_endpoint
        if not request.user.is_authenticated:
            request.session.set_expiry(_SECONDS_AT_PROVIDER)
        response: HttpResponse = super().get(request)
        return response


class FromProvider(_ProviderView, OIDCAuthenticationCallbackView):  # type: ignore[misc]
    """Takes the browser back from the provider."""

    user: User

    def get(self, request: HttpRequest) -> HttpResponse:
        if "error" in request.GET:
            # Not the library's way, by which any page could log people out.
            return self._failed_there(request)
        response: HttpResponse = super().get(request)
        return response

    def _failed_there(self, request: HttpRequest) -> HttpResponse:
        states = request.session.get("oidc_states", {})
        if states.pop(request.GET.get("state"), None) is None:
            return _unknown(request)
        request.session.modified = True
        if request.GET["error"] == "access_denied":
            logins.provider_failed(request, "it was cancelled, or refused by the provider")
            return _refuse(request, "You were not signed in: this was cancelled or not allowed.")
        raise ProviderFailed("it sent the browser back with an error")

    def login_success(self) -> HttpResponse:
        return second_step.sign_in(self.request, self.user, self.success_url)

    def login_failure(self) -> HttpResponse:
        return _unknown(self.request)
