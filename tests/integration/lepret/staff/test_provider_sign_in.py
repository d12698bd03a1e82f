"""Signing in by the company's identity provider."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from lepret.models import ProviderAccount
from lepret.staff import identity_provider
from lepret.staff.roles import BACK_OFFICE, POLICY_MAKERS, UNDERWRITERS, is_lead
from tests.support.identity_providers import (
    CLIENT,
    Answer,
    RealProvider,
    ScriptedProvider,
    running_real_provider,
    running_scripted_provider,
)

pytestmark = pytest.mark.django_db

TO_PROVIDER = "/accounts/provider/"
CALLBACK = "/accounts/provider/callback/"
DISCOVERY = "/.well-known/openid-configuration"
TIMEOUT = 0.5


def configure(settings: Settings, issuer: str, client_id: str, secret: str) -> None:
    settings.OIDC_ISSUER, settings.OIDC_RP_CLIENT_ID = issuer, client_id
    settings.OIDC_RP_CLIENT_SECRET = secret
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, settings.OIDC_BACKEND]
    settings.OIDC_UNDERWRITERS_GROUP = "credit-underwriting"
    settings.OIDC_LEADS_GROUP = "credit-leads"
    settings.OIDC_BACK_OFFICE_GROUP = "credit-back-office"
    settings.OIDC_POLICY_GROUP = "credit-policy"


@pytest.fixture(scope="module")
def running_provider() -> Iterator[RealProvider]:
    with running_real_provider(f"http://testserver{CALLBACK}") as provider:
        yield provider


@pytest.fixture
def provider(running_provider: RealProvider, settings: Settings) -> RealProvider:
    """The real provider, which our settings name."""
    known = running_provider
    configure(settings, known.issuer, known.client_id, known.client_secret)
    known.set_user("4711", preferred_username="uma", groups=["credit-underwriting", "all"])
    return known


@pytest.fixture
def scripted(settings: Settings) -> Iterator[ScriptedProvider]:
    """A provider that answers as the test says, and that our settings name."""
    with running_scripted_provider() as provider:
        configure(settings, provider.issuer, CLIENT, "a secret with %&+ in it")
        settings.OIDC_TIMEOUT = TIMEOUT
        yield provider


def begin(client: Client, next_url: str = "") -> str:
    """Click the button of the login page; returns where it leads."""
    response = client.get(TO_PROVIDER, {"next": next_url})
    assert response.status_code == 302, response.content
    return str(response["Location"])


def sign_in(
    client: Client, provider: RealProvider, subject: str = "4711", next_url: str = ""
) -> HttpResponse:
    answer = provider.sign_in(begin(client, next_url), subject)
    return cast(HttpResponse, client.get(answer))


def come_back(client: Client, url: str, **changes: str) -> HttpResponse:
    """Come back from a scripted provider, with a code."""
    state = parse_qs(urlsplit(url).query)["state"][0]
    return cast(HttpResponse, client.get(CALLBACK, {"code": "c", "state": state, **changes}))


def who_is_in(client: Client) -> str | None:
    """The user who is logged in."""
    is_in = client.get("/accounts/second-factor/").status_code == 200
    return User.objects.get(pk=client.session["_auth_user_id"]).username if is_in else None


class TestByARealProvider:
    def test_the_first_sign_in_makes_a_user_with_the_groups_of_the_claim(
        self, client: Client, provider: RealProvider
    ) -> None:
        response = sign_in(client, provider)
        assert response["Location"] == "/accounts/home/"
        user = User.objects.get(username="uma")
        assert [group.name for group in user.groups.all()] == [UNDERWRITERS]
        assert not any((user.is_staff, user.is_superuser, user.has_usable_password()))
        assert client.get("/underwriting/").status_code == 200

    def test_groups_follow_the_claim_at_each_sign_in(
        self, client: Client, provider: RealProvider
    ) -> None:
        sign_in(client, provider)
        provider.set_user("4711", preferred_username="uma", groups=["credit-back-office"])
        sign_in(Client(), provider)
        user = User.objects.get(username="uma")
        assert [group.name for group in user.groups.all()] == [BACK_OFFICE]
        assert user.is_staff
        assert client.get("/underwriting/").status_code == 403

    def test_policy_makers_come_to_the_admin_and_decide_on_no_requests(
        self, client: Client, provider: RealProvider
    ) -> None:
        provider.set_user("4711", preferred_username="pat", groups=["credit-policy"])
        sign_in(client, provider)
        user = User.objects.get(username="pat")
        assert [group.name for group in user.groups.all()] == [POLICY_MAKERS]
        assert client.get("/accounts/home/")["Location"] == "/admin/policy/"
        assert client.get("/underwriting/").status_code == 403

    def test_leads_are_so_as_long_as_the_provider_says_so(
        self, client: Client, provider: RealProvider
    ) -> None:
        for groups, is_a_lead in (
            (["credit-underwriting", "credit-leads"], True),
            (["credit-underwriting"], False),
        ):
            provider.set_user("4711", preferred_username="lena", groups=groups)
            sign_in(client, provider)
            assert is_lead(User.objects.get(username="lena")) == is_a_lead

    def test_somebody_without_groups_is_told_so_and_loses_those_from_before(
        self, client: Client, provider: RealProvider
    ) -> None:
        sign_in(client, provider)
        provider.set_user("4711", preferred_username="uma", groups=["all"])
        response = sign_in(Client(), provider)
        assert (response.status_code, "none of the groups" in response.content.decode()) == (
            403,
            True,
        )
        assert not User.objects.get(username="uma").groups.exists()
        provider.set_user("4712", preferred_username="stranger", groups="all")
        assert sign_in(Client(), provider, "4712").status_code == 403
        assert not User.objects.filter(username="stranger").exists()

    def test_another_name_at_the_provider_is_the_same_user(
        self, client: Client, provider: RealProvider
    ) -> None:
        sign_in(client, provider)
        provider.set_user("4711", preferred_username="admin", groups=["credit-underwriting"])
        sign_in(Client(), provider)
        assert User.objects.get().username == "uma"

    @pytest.mark.parametrize("name", ["uma", "UMA"])
    def test_a_user_who_exists_is_not_taken_over_but_can_be_linked(
        self,
        client: Client,
        provider: RealProvider,
        name: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        User.objects.create_user(name, password="a password")
        response = sign_in(client, provider)
        assert response.status_code == 403
        assert "administrator can link" in response.content.decode()
        assert "4711" in caplog.text
        assert who_is_in(client) is None
        call_command("provider_account", "link", name, "4711")
        sign_in(client, provider)
        assert who_is_in(client) == name

    def test_a_claim_makes_nobody_a_superuser(self, client: Client, provider: RealProvider) -> None:
        claims = {"is_superuser": True, "groups": ["credit-back-office", "superusers"]}
        provider.set_user("4711", preferred_username="uma", is_staff=True, **claims)
        sign_in(client, provider)
        assert not User.objects.get().is_superuser

    def test_a_user_who_is_switched_off_stays_out(
        self, client: Client, provider: RealProvider
    ) -> None:
        sign_in(client, provider)
        User.objects.update(is_active=False)
        assert sign_in(Client(), provider).status_code == 403
        assert who_is_in(client) is None

    @pytest.mark.parametrize(
        ("asked_for", "led_to"),
        [
            ("/accounts/second-factor/", "/accounts/second-factor/"),
            ("https://evil.example/", "/accounts/home/"),
            ("//evil.example/", "/accounts/home/"),
            ("javascript:alert(1)", "/accounts/home/"),
        ],
    )
    def test_it_leads_on_only_to_pages_of_ours(
        self, client: Client, provider: RealProvider, asked_for: str, led_to: str
    ) -> None:
        assert sign_in(client, provider, next_url=asked_for)["Location"] == led_to

    def test_who_cancels_is_told_so(self, client: Client, provider: RealProvider) -> None:
        response = client.get(provider.cancel(begin(client)))
        # Not all providers give the state back, which RFC 6749, section 4.1.2.1, demands.
        assert response.status_code in (400, 403)
        assert "Not signed in" in response.content.decode()

    def test_an_answer_works_once_and_only_in_its_own_browser(
        self, client: Client, provider: RealProvider
    ) -> None:
        answer = provider.sign_in(begin(client), "4711")
        assert Client().get(answer).status_code == 400
        assert client.get(answer).status_code == 302
        assert client.get(answer).status_code == 400

    def test_what_the_session_held_before_is_gone(
        self, client: Client, provider: RealProvider
    ) -> None:
        answer = provider.sign_in(begin(client), "4711")
        before = client.cookies["sessionid"].value
        client.get(answer)
        assert client.cookies["sessionid"].value != before

    def test_our_second_factor_is_asked_for_only_if_the_setting_says_so(
        self, client: Client, provider: RealProvider, settings: Settings
    ) -> None:
        settings.STAFF_SECOND_FACTOR = "required"
        assert sign_in(client, provider)["Location"] == "/accounts/home/"
        assert client.get("/underwriting/").status_code == 200
        settings.OIDC_SECOND_FACTOR = True
        assert client.get("/underwriting/").status_code == 302
        other = Client()
        assert sign_in(other, provider)["Location"] == "/accounts/second-factor/"
        assert other.get("/underwriting/").status_code == 302

    def test_sign_ins_and_failures_are_logged(
        self, client: Client, provider: RealProvider, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "lepret.staff.logins")
        provider.set_user("4711", preferred_username="uma", groups=[])
        answer = provider.sign_in(begin(client), "4711")
        client.get(answer)
        code = parse_qs(urlsplit(answer).query)["code"][0]
        assert "uma is in none of the groups, from 127.0.0.1" in caplog.text
        assert code not in caplog.text


class TestAnswersThatAreChecked:
    def test_a_proper_answer_signs_in(self, client: Client, scripted: ScriptedProvider) -> None:
        url = begin(client)
        scripted.id_token = scripted.sign(scripted.claims(url))
        assert come_back(client, url).status_code == 302
        assert who_is_in(client) == "uma"

    def test_another_algorithm_with_its_own_key(
        self, client: Client, scripted: ScriptedProvider
    ) -> None:
        url = begin(client)
        scripted.id_token = scripted.sign(scripted.claims(url), algorithm="ES256")
        come_back(client, url)
        assert who_is_in(client) == "uma"

    def test_the_code_is_exchanged_with_pkce(
        self, client: Client, scripted: ScriptedProvider
    ) -> None:
        url = begin(client)
        scripted.id_token = scripted.sign(scripted.claims(url))
        come_back(client, url)
        query = parse_qs(urlsplit(url).query)
        [form] = scripted.forms_sent_to("/token")
        hashed = sha256(form["code_verifier"][0].encode()).digest()
        assert query["code_challenge"] == [urlsafe_b64encode(hashed).rstrip(b"=").decode()]
        assert query["code_challenge_method"] == ["S256"]
        assert form["client_secret"] == ["a secret with %&+ in it"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"nonce": "another"},
            {"nonce": None},
            {"iss": "https://evil.example"},
            {"aud": "another client"},
            {"aud": [CLIENT, "another client"], "azp": "another client"},
            {"exp": 1_000_000_000},
            {"iat": 9_000_000_000},
            {"sub": ""},
            {"sub": 4711},
            {"sub": "x" * 256},
            {"sub": "a\x00b"},
            {"preferred_username": "two words"},
            {"preferred_username": ["uma"]},
            {"preferred_username": "x" * 151},
            {"preferred_username": "a\x00b"},
            {"groups": {"credit-underwriting": True}},
            {"groups": [["credit-underwriting"], 1, None]},
            {"groups": [""]},
        ],
    )
    def test_wrong_claims_are_refused(
        self, client: Client, scripted: ScriptedProvider, wrong: dict[str, Any]
    ) -> None:
        url = begin(client)
        claims = {k: v for k, v in scripted.claims(url, **wrong).items() if v is not None}
        scripted.id_token = _signed_by_hand(scripted, claims)
        response = come_back(client, url)
        assert response.status_code in (403, 502)
        assert "Not signed in" in response.content.decode()
        assert not User.objects.exists()

    @pytest.mark.parametrize("kind", ["none", "HS256", "another key", "no key id", "not a token"])
    def test_wrong_signatures_are_refused(
        self, client: Client, scripted: ScriptedProvider, kind: str
    ) -> None:
        url = begin(client)
        claims = scripted.claims(url)
        header = {"kid": "RS256"}
        match kind:
            case "none":
                scripted.id_token = jwt.encode(claims, "", algorithm="none", headers=header)
            case "HS256":
                secret = "a secret with %&+ in it"
                scripted.id_token = jwt.encode(claims, secret, algorithm="HS256", headers=header)
            case "another key":
                other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
                scripted.id_token = jwt.encode(claims, other, algorithm="RS256", headers=header)
            case "no key id":
                scripted.id_token = scripted.sign(claims, kid="unknown")
            case _:
                scripted.id_token = "a.b.c"
        assert come_back(client, url).status_code == 502
        assert not User.objects.exists()

    @pytest.mark.parametrize("path", [DISCOVERY, "/token", "/keys"])
    @pytest.mark.parametrize(
        "answer",
        [
            Answer(b"<html>"),
            Answer(b"[]"),
            Answer(b"null"),
            Answer(b"{}"),
            Answer(b'{"keys": 5, "issuer": 5, "id_token": 5}'),
            Answer(b'{"keys": [5]}'),
            Answer(b'{"keys": [{"kid": "RS256", "kty": "RSA"}]}'),
            Answer(b"[" * 100_000),
            Answer(b'"\xff'),
            Answer(b" " * 300_000),
            Answer(b"{}", status=500),
            Answer(b"{}", status=302),
            Answer(b"{}", delay=60),
        ],
    )
    def test_whatever_the_provider_answers_there_is_a_page_soon(
        self, client: Client, scripted: ScriptedProvider, path: str, answer: Answer
    ) -> None:
        if path == DISCOVERY:
            scripted.answers[path] = answer
            response = cast(HttpResponse, client.get(TO_PROVIDER))
        else:
            url = begin(client)
            scripted.id_token = scripted.sign(scripted.claims(url))
            scripted.answers[path] = answer
            response = come_back(client, url)
        assert response.status_code == 502
        assert "does not answer as it should" in response.content.decode()

    def test_a_provider_that_is_down_is_no_error_of_ours(
        self, client: Client, settings: Settings
    ) -> None:
        configure(settings, "http://127.0.0.1:1", CLIENT, "")
        assert client.get(TO_PROVIDER).status_code == 502
        assert client.get("/accounts/login/").status_code == 200

    def test_endpoints_where_others_could_listen_are_refused(
        self, client: Client, scripted: ScriptedProvider
    ) -> None:
        document = {**scripted.discovery, "token_endpoint": "http://sso.example/token"}
        scripted.answers[DISCOVERY] = Answer(json.dumps(document).encode())
        assert client.get(TO_PROVIDER).status_code == 502

    def test_another_issuer_in_the_discovery_document_is_refused(
        self, client: Client, scripted: ScriptedProvider
    ) -> None:
        document = {**scripted.discovery, "issuer": "https://evil.example"}
        scripted.answers[DISCOVERY] = Answer(json.dumps(document).encode())
        assert client.get(TO_PROVIDER).status_code == 502

    def test_user_info_about_somebody_else_is_refused(
        self, client: Client, scripted: ScriptedProvider
    ) -> None:
        document = {**scripted.discovery, "userinfo_endpoint": f"{scripted.issuer}/me"}
        scripted.answers[DISCOVERY] = Answer(json.dumps(document).encode())
        url = begin(client)
        claims = scripted.claims(url)
        del claims["groups"]
        scripted.id_token = scripted.sign(claims)
        scripted.answers["/me"] = Answer(b'{"sub": "1", "groups": ["credit-underwriting"]}')
        assert come_back(client, url).status_code == 502


class TestStrangers:
    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"code": "x"},
            {"state": "x"},
            {"code": "x", "state": "x"},
            {"error": "access_denied"},
            {"error": "server_error", "state": "x"},
            {"code": "\x00", "state": "\x00"},
        ],
    )
    def test_made_up_answers_are_refused_and_ask_the_provider_nothing(
        self, client: Client, scripted: ScriptedProvider, query: dict[str, str]
    ) -> None:
        for other in (client, Client()):
            response = other.get(CALLBACK, query)
            assert response.status_code == 400
            assert "Not signed in" in response.content.decode()
        begin(client)
        assert client.get(CALLBACK, query).status_code == 400
        assert {path for path, _ in scripted.asked} <= {DISCOVERY}

    def test_an_error_from_another_site_logs_nobody_out(
        self, client: Client, provider: RealProvider
    ) -> None:
        sign_in(client, provider)
        client.get(CALLBACK, {"error": "access_denied", "state": "x"})
        assert who_is_in(client) == "uma"

    def test_a_login_with_somebody_elses_code_is_no_login(
        self, client: Client, scripted: ScriptedProvider
    ) -> None:
        login = {"username": "uma", "password": "x"}
        client.post("/accounts/login/?code=c&state=s", login)
        assert who_is_in(client) is None
        assert not scripted.asked

    def test_without_a_provider_there_are_no_such_pages(self, client: Client) -> None:
        assert client.get(TO_PROVIDER).status_code == 404
        assert client.get(CALLBACK).status_code == 404
        assert b"Sign in with" not in client.get("/accounts/login/").content


def test_passwords_can_be_switched_off(
    client: Client, provider: RealProvider, settings: Settings
) -> None:
    User.objects.create_user("pat", password="a password")
    client.login(username="pat", password="a password")
    settings.PASSWORD_LOGIN = False
    settings.AUTHENTICATION_BACKENDS = [settings.OIDC_BACKEND]
    assert who_is_in(client) is None
    page = client.get("/accounts/login/?next=/underwriting/").content.decode()
    assert '<input type="password"' not in page
    assert f'href="{TO_PROVIDER}?next=/underwriting/"' in page
    client.post("/accounts/login/", {"username": "pat", "password": "a password"})
    assert who_is_in(client) is None


def test_the_provider_is_asked_for_its_endpoints_once_in_a_while(
    scripted: ScriptedProvider,
) -> None:
    for now, asked in ((0, 1), (599, 1), (601, 2)):
        identity_provider.provider(now)
        assert len(scripted.asked) == asked


def test_linking_refuses_what_is_linked_already(provider: RealProvider) -> None:
    User.objects.create_user("uma")
    User.objects.create_user("una")
    call_command("provider_account", "link", "uma", "4711")
    for name, subject in (("una", "4711"), ("uma", "4712")):
        with pytest.raises(Exception, match="linked already"):
            call_command("provider_account", "link", name, subject)
    call_command("provider_account", "unlink", "uma")
    assert not ProviderAccount.objects.exists()
    assert Group.objects.count() == 4


def _signed_by_hand(provider: ScriptedProvider, claims: dict[str, Any]) -> str:
    # PyJWT refuses to encode some claims that it must refuse to decode.
    signer = jwt.api_jws.PyJWS()
    headers = {"kid": "RS256"}
    return signer.encode(json.dumps(claims).encode(), provider.rsa_key, "RS256", headers)
