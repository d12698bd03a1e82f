"""What the company's identity provider says: OpenID Connect Discovery 1.0 and Core 1.0.

Everything that it answers is checked, and every answer is awaited for a bounded time.
"""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import ssl
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote_plus

import httpx2
import jwt
from asgiref.sync import async_to_sync
from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from lepret.environment import is_https_or_this_machine

LONGEST_ANSWER_BYTES: Final = 256 * 1024
SECONDS_TO_REMEMBER: Final = 600.0
CLOCKS_DIFFER_BY_SECONDS: Final = 60.0
# Asymmetric ones only: with another, the client's secret would be a key, or there would be none.
ALGORITHMS: Final = ("RS256", "ES256", "PS256")
_NEEDED_CLAIMS: Final = ("iss", "sub", "aud", "exp", "iat", "nonce")

Endpoint = Annotated[str, AfterValidator(is_https_or_this_machine)]


class ProviderFailed(Exception):
    """The provider does not answer, or not as it should. The message is for the log."""


class Provider(BaseModel):
    """Where the provider's endpoints are: OpenID Connect Discovery 1.0, section 3."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    issuer: str
    authorization_endpoint: Endpoint
    token_endpoint: Endpoint
    jwks_uri: Endpoint
    userinfo_endpoint: Endpoint | None = None
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]


def provider(now: float | None = None) -> Provider:
    """The provider at `OIDC_ISSUER`, asked once in ten minutes; `now` is in seconds.

    Raises:
        ProviderFailed: it does not say where its endpoints are.
    """
    now = time.monotonic() if now is None else now
    return _provider(settings.OIDC_ISSUER, int(now // SECONDS_TO_REMEMBER))


@functools.lru_cache(maxsize=2)
def _provider(issuer: str, _period: int) -> Provider:
    document = _ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    try:
        found = Provider.model_validate(document)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise ProviderFailed(f"its discovery document has no valid {field}") from None
    if found.issuer != issuer:  # Discovery 1.0, section 4.3
        raise ProviderFailed("its discovery document names another issuer than OIDC_ISSUER")
    return found


class _Keys(BaseModel):
    """RFC 7517, section 5."""

    model_config = ConfigDict(hide_input_in_errors=True)

    keys: list[dict[str, Any]]


def tokens_for(payload: Mapping[str, str]) -> dict[str, Any]:
    """Exchange a code for tokens: OpenID Connect Core 1.0, section 3.1.3.

    Raises:
        ProviderFailed: the provider does not answer, or refuses.
    """
    form, found = dict(payload), provider()
    secret, authorization = form.pop("client_secret"), {}
    if secret and "client_secret_post" in found.token_endpoint_auth_methods_supported:
        form["client_secret"] = secret
    elif secret:  # RFC 6749, section 2.3.1: both are encoded first.
        name = quote_plus(form["client_id"])
        authorization = {"auth": httpx2.BasicAuth(name, quote_plus(secret))}
    return _ask("POST", found.token_endpoint, data=form, **authorization)


def claims_of(id_token: Any, *, nonce: str) -> dict[str, Any]:
    """The claims of an ID token that is meant for us, now, and for this sign-in: Core 1.0, 3.1.3.7.

    Raises:
        ProviderFailed: it is not valid, or its key cannot be read.
    """
    if not isinstance(id_token, str):
        raise ProviderFailed("it sent no ID token")
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            _key_of(id_token),
            algorithms=ALGORITHMS,
            audience=settings.OIDC_RP_CLIENT_ID,
            issuer=provider().issuer,
            leeway=CLOCKS_DIFFER_BY_SECONDS,
            options={"require": list(_NEEDED_CLAIMS)},
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ProviderFailed(f"its ID token is not valid ({type(error).__name__})") from None
    if claims.get("azp", settings.OIDC_RP_CLIENT_ID) != settings.OIDC_RP_CLIENT_ID:
        raise ProviderFailed("its ID token was issued to another client")
    if not secrets.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise ProviderFailed("its ID token is of another sign-in")
    return claims


def _key_of(id_token: str) -> jwt.PyJWK:
    header = jwt.get_unverified_header(id_token)
    if header.get("alg") not in ALGORITHMS:
        raise jwt.InvalidAlgorithmError
    keys = _Keys.model_validate(_ask("GET", provider().jwks_uri)).keys
    # A token need not name its key if the provider has only one.
    of_this_name = [key for key in keys if key.get("kid") == header.get("kid")]
    for key in of_this_name or (keys if "kid" not in header and len(keys) == 1 else []):
        if key.get("use", "sig") == "sig" and key.get("alg", header["alg"]) == header["alg"]:
            return jwt.PyJWK(key, algorithm=header["alg"])
    raise jwt.InvalidKeyError


def user_info(access_token: Any, *, subject: str) -> dict[str, Any]:
    """More claims about the owner of an access token: Core 1.0, section 5.3.

    Raises:
        ProviderFailed: the provider does not answer, or speaks of somebody else.
    """
    endpoint = provider().userinfo_endpoint
    if endpoint is None or not isinstance(access_token, str):
        return {}
    claims = _ask("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})
    if claims.get("sub") != subject:
        raise ProviderFailed("its user info is about somebody else")
    return claims


def _ask(method: str, url: str, **options: Any) -> dict[str, Any]:
    client = httpx2.AsyncClient(
        verify=_certificates(),
        # A compressed answer could be far longer than what arrives.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=settings.OIDC_TIMEOUT,
    )
    try:
        body = async_to_sync(_body_of)(client, method, url, **options)
        answer = json.loads(body)
    except TimeoutError:
        raise ProviderFailed("it does not answer in time") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ProviderFailed(f"it cannot be asked ({type(error).__name__})") from None
    except (ValueError, RecursionError):
        raise ProviderFailed("it answered with something other than JSON") from None
    if not isinstance(answer, dict):
        raise ProviderFailed("it answered with something other than a JSON object")
    return answer


@functools.cache
def _certificates() -> ssl.SSLContext:
    # To read them takes so long that it is done once, and not in the event loop.
    return httpx2.create_ssl_context()


async def _body_of(client: httpx2.AsyncClient, method: str, url: str, **options: Any) -> bytes:
    body = b""
    # The client's own limit is for each piece of an answer; this one is for all of it.
    async with (
        asyncio.timeout(settings.OIDC_TIMEOUT),
        client,
        client.stream(method, url, **options) as answer,
    ):
        if not answer.is_success:
            raise ProviderFailed(f"it answered {answer.status_code}")
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > LONGEST_ANSWER_BYTES:
                raise ProviderFailed("it answered far too much")
    return body
