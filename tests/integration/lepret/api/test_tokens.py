"""Which tokens are accepted, for what, and how they are made and revoked."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from lepret.api import tokens
from lepret.models import ApiToken, Scope
from tests.support.api import EVERYTHING, Caller, application, caller_for, underwriters_tool
from tests.support.staff import make_clerk, make_underwriter

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

QUEUE = "/underwriting/queue"


@pytest.fixture
def uma() -> User:
    return make_underwriter()


@pytest.fixture
def issued(uma: User) -> tuple[str, ApiToken]:
    return tokens.issue(uma, name="a tool", scopes=EVERYTHING)


def assert_is_challenged(response: Any, *parts: str) -> None:
    assert response["Content-Type"] == "application/problem+json"
    challenge = response["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert [part for part in parts if part not in challenge] == []


class TestAuthentication:
    def test_a_valid_token_is_accepted(self, issued: tuple[str, ApiToken]) -> None:
        assert Caller(issued[0]).get(QUEUE).status_code == 200

    def test_the_scheme_may_be_written_in_lower_case(self, issued: tuple[str, ApiToken]) -> None:
        response = Caller().get(QUEUE, Authorization=f"bearer {issued[0]}")
        assert response.status_code == 200

    @pytest.mark.parametrize("authorization", [{}, {"Authorization": "Basic dW1hOnNlY3JldA=="}])
    def test_without_a_token_the_challenge_names_no_error(
        self, authorization: dict[str, str]
    ) -> None:
        response = Caller().get(QUEUE, **authorization)
        assert response.status_code == 401
        assert_is_challenged(response)
        assert "error" not in response["WWW-Authenticate"]

    @pytest.mark.parametrize("token", ["", "lepret_", "lepret_" + "x" * 43, "é", "a b"])
    def test_an_unknown_token_is_refused(self, token: str) -> None:
        response = Caller(token).get(QUEUE)
        assert response.status_code == 401
        assert_is_challenged(response, 'error="invalid_token"')

    def test_the_stored_digest_is_no_token(self, issued: tuple[str, ApiToken]) -> None:
        token, kept = issued
        assert token not in str(ApiToken.objects.values().get())
        assert Caller(kept.digest).get(QUEUE).status_code == 401

    @pytest.mark.parametrize(
        "changes",
        [{"expires_at": timezone.now() - timedelta(seconds=1)}, {"revoked_at": timezone.now()}],
    )
    def test_an_expired_or_revoked_token_is_refused(
        self, issued: tuple[str, ApiToken], changes: dict[str, Any]
    ) -> None:
        ApiToken.objects.update(**changes)
        response = Caller(issued[0]).get(QUEUE)
        assert response.status_code == 401
        assert_is_challenged(response, 'error="invalid_token"')

    def test_the_token_of_an_inactive_user_is_refused(self, issued: tuple[str, ApiToken]) -> None:
        User.objects.update(is_active=False)
        assert Caller(issued[0]).get(QUEUE).status_code == 401

    def test_a_bad_token_is_refused_even_where_none_is_needed(self) -> None:
        body = application()
        assert Caller("lepret_x").apply(body).status_code == 401
        assert Caller("lepret_x").get(f"/loan-requests/{body['id']}").status_code == 401
        assert Caller().apply(body).status_code == 201


class TestLog:
    def test_refusals_name_address_and_token_but_do_not_quote_it(
        self, issued: tuple[str, ApiToken], caplog: pytest.LogCaptureFixture
    ) -> None:
        token, stored = issued
        ApiToken.objects.filter(pk=stored.pk).update(scopes=[])
        for each in (token, token + "x"):
            Caller(each).get(QUEUE)
        Caller().get(QUEUE)
        logged = [each.getMessage() for each in caplog.records if each.name == "lepret.api.auth"]
        assert [each.split(": ")[0] for each in logged] == [
            "Refused a call by the token a tool of uma from 127.0.0.1",
            "Refused a call by a bad token from 127.0.0.1",
            "Refused a call by nobody from 127.0.0.1",
        ]
        assert token not in caplog.text


class TestScopes:
    @pytest.mark.parametrize("scope", Scope)
    def test_a_token_allows_only_its_scopes(self, uma: User, scope: Scope) -> None:
        caller = caller_for(uma, scope)
        responses = {
            Scope.CREATE: caller.apply(application(score=9)),
            Scope.READ_QUEUE: caller.get(QUEUE),
            Scope.DECIDE: caller.approve(application()["id"]),
            Scope.READ_POLICY: caller.get("/policy"),
        }
        for needed, response in responses.items():
            if needed is scope:
                assert response.status_code in (200, 201, 404)
            else:
                assert response.status_code == 403
                assert_is_challenged(
                    response, 'error="insufficient_scope"', f'scope="{needed.value}"'
                )

    @pytest.mark.parametrize("user", ["clerk", "nobody"])
    def test_underwriters_scopes_work_only_for_underwriters(
        self, user: str, django_user_model: type[User]
    ) -> None:
        owner = make_clerk() if user == "clerk" else django_user_model.objects.create_user("ned")
        caller = caller_for(owner)
        assert caller.get(QUEUE).status_code == 403
        assert caller.approve(application()["id"]).status_code == 403
        assert caller.apply(application(score=9)).status_code == 201

    def test_a_former_underwriter_is_refused_at_once(self, uma: User) -> None:
        caller = caller_for(uma)
        assert caller.get(QUEUE).status_code == 200
        uma.groups.clear()
        assert caller.get(QUEUE).status_code == 403


def test_a_call_makes_few_queries_and_does_not_always_record_the_tokens_use(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    caller = underwriters_tool()
    with django_assert_num_queries(5):  # the token, its use, the groups, the queue, the policy
        caller.get(QUEUE)
    noted = ApiToken.objects.get().last_used_at
    assert noted is not None
    with django_assert_num_queries(4):
        caller.get(QUEUE)
    ApiToken.objects.update(last_used_at=noted - timedelta(hours=1))
    caller.get(QUEUE)
    noted_again = ApiToken.objects.get().last_used_at
    assert noted_again is not None
    assert noted_again > noted


class TestCommand:
    def create(self, *arguments: str) -> str:
        out = StringIO()
        call_command("api_token", "create", *arguments, stdout=out, stderr=StringIO())
        return out.getvalue()

    def test_it_prints_a_token_that_works_and_nothing_else(self, uma: User) -> None:
        token = self.create("uma", "--scope", "queue:read", "--name", "desk").removesuffix("\n")
        assert token.startswith("lepret_")
        assert token.split() == [token]
        assert Caller(token).get(QUEUE).status_code == 200

    def test_it_stores_the_scopes_and_the_expiry(self, uma: User) -> None:
        scopes = ["--scope", "queue:read", "--scope", "requests:decide"]
        self.create("uma", *scopes, "--name", "desk", "--days", "30")
        kept = ApiToken.objects.get()
        assert kept.scopes == ["queue:read", "requests:decide"]
        assert kept.expires_at is not None
        assert timedelta(days=29) < kept.expires_at - timezone.now() < timedelta(days=31)

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            ("nobody --scope queue:read --name desk", "There is no user 'nobody'"),
            ("uma --scope all --name desk", "invalid choice: 'all'"),
            ("uma --name desk", "--scope"),
            ("uma --scope queue:read", "--name"),
            ("uma --scope queue:read --name desk --days 0", "'0' is not a number of days"),
            ("uma --scope queue:read --name desk --days -1", "'-1' is not a number of days"),
        ],
    )
    def test_it_explains_bad_arguments(self, uma: User, arguments: str, complaint: str) -> None:
        with pytest.raises(CommandError, match=complaint):
            self.create(*arguments.split())
        assert not ApiToken.objects.exists()

    def test_it_lists_and_revokes(self, issued: tuple[str, ApiToken]) -> None:
        token, kept = issued
        listed = StringIO()
        call_command("api_token", "list", stdout=listed)
        assert "a tool" in " ".join(listed.getvalue().split())
        assert token not in listed.getvalue()

        call_command("api_token", "revoke", str(kept.pk), stdout=StringIO())
        assert Caller(token).get(QUEUE).status_code == 401
        with pytest.raises(CommandError, match="There is no token 99999"):
            call_command("api_token", "revoke", "99999")


class TestAdmin:
    URL = "/admin/lepret/apitoken/"

    def test_a_superuser_sees_tokens_and_revokes_them(
        self, client: Client, issued: tuple[str, ApiToken]
    ) -> None:
        token, kept = issued
        client.force_login(User.objects.create_superuser("root"))
        for page in (self.URL, f"{self.URL}{kept.pk}/change/"):
            response = client.get(page)
            assert response.status_code == 200
            assert "a tool" in response.content.decode()
            assert kept.digest not in response.content.decode()

        client.post(self.URL, {"action": "revoke", "_selected_action": [kept.pk]})

        assert Caller(token).get(QUEUE).status_code == 401
        assert "revoked" in client.get(self.URL).content.decode()

    def test_nobody_can_add_change_or_delete_tokens_there(
        self, client: Client, issued: tuple[str, ApiToken]
    ) -> None:
        client.force_login(User.objects.create_superuser("root"))
        page = f"{self.URL}{issued[1].pk}/"
        assert client.get(f"{self.URL}add/").status_code == 403
        assert client.post(f"{page}change/", {"name": "mine"}).status_code == 403
        assert client.post(f"{page}delete/", {"post": "yes"}).status_code == 403

    def test_the_back_office_does_not_see_tokens(
        self, client: Client, issued: tuple[str, ApiToken]
    ) -> None:
        client.force_login(make_clerk())
        assert client.get(self.URL).status_code == 403
        assert "API token" not in client.get("/admin/").content.decode()
