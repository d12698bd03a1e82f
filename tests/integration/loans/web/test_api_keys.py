"""`Idempotency-Key`: a call sent again is carried out once, and another call is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from lepret.common.event_store_client import close_event_store_client, event_store_client
from loans.adapters.codec import stream_name
from loans.application.idempotency import IdempotencyKey
from loans.dependencies import idempotency_keys
from tests.support.api import Caller, caller_for, somebody, underwriters_tool
from tests.support.event_store import RunningEventStore
from tests.support.loans import ZOE, append_approval, append_requested_loan
from tests.support.staff import make_underwriter

pytestmark = [pytest.mark.usefixtures("streams"), pytest.mark.django_db]

Apply = Callable[[dict[str, Any], str], Any]


def application() -> dict[str, Any]:
    """A new applicant's application, without an id."""
    return {"name": "Ann Example", "national_id": somebody(), "amount": 5000}


@pytest.fixture
def tool() -> Caller:
    return underwriters_tool()


@pytest.fixture
def apply(tool: Caller) -> Apply:
    return lambda body, key: tool.apply(body, **{"Idempotency-Key": key})


class TestSentAgain:
    def test_the_same_call_is_carried_out_once_and_answered_as_the_first_time(
        self, apply: Apply
    ) -> None:
        body, key = application(), str(uuid4())
        first, again = apply(body, key), apply(body, key)
        assert (first.status_code, again.status_code) == (201, 201)
        assert (again.json(), again["ETag"]) == (first.json(), first["ETag"])
        events = event_store_client().get_stream(stream_name(UUID(first.json()["id"])))
        assert [each.type for each in events].count("LoanRequested") == 1

    def test_the_body_may_be_formatted_differently(self, apply: Apply) -> None:
        body, key = application(), str(uuid4())
        first = apply(body, key)
        reordered = {name: body[name] for name in reversed(body)}
        for same in (reordered, {**body, "address": ""}, {**body, "name": " Ann Example "}):
            assert apply(same, f'"{key}"').json() == first.json()

    def test_another_body_is_refused_and_changes_nothing(self, apply: Apply) -> None:
        body, key = application(), str(uuid4())
        first = apply(body, key)
        for other in ({**body, "amount": 1}, {**body, "id": str(uuid4())}, application()):
            response = apply(other, key)
            assert response.status_code == 422
            assert [each["field"] for each in response.json()["errors"]] == ["Idempotency-Key"]
        assert apply(body, key).json() == first.json()

    def test_another_path_is_another_call(self, tool: Caller) -> None:
        loans = [append_requested_loan(score=5).loan_request_id for _ in range(2)]
        key = {"Idempotency-Key": str(uuid4())}
        assert tool.approve(loans[0], note="good", **key).status_code == 200
        assert tool.approve(loans[1], note="good", **key).status_code == 422
        assert tool.deny(loans[0], **key).status_code == 422
        assert tool.approve(loans[0], note="good", **key).status_code == 200

    def test_a_decision_gets_the_same_answer(self, tool: Caller) -> None:
        loan = append_requested_loan(score=5).loan_request_id
        key = {"Idempotency-Key": str(uuid4())}
        first, again = (tool.deny(loan, '"2"', **key) for _ in range(2))
        assert (first.status_code, first.json()) == (again.status_code, again.json())

    def test_a_denial_with_one_reason_is_the_same_call_as_before_there_were_several(
        self, tool: Caller
    ) -> None:
        loan, value = append_requested_loan(score=5).loan_request_id, str(uuid4())
        path = f"/api/loan-requests/{loan}/deny"
        key = IdempotencyKey(f"user {User.objects.get(username='uma').pk}", value)
        # What an older version, which is being replaced, has recorded of the call.
        call = ("POST", path, '{"note": "Called.", "reason": "too_much_debt"}')
        idempotency_keys().use(key, *call, loan_request_id=loan, now=timezone.now())
        headers = {"Idempotency-Key": value, "If-Match": '"2"'}
        body = {"reason": "too_much_debt", "note": "Called."}
        assert tool.post(path.removeprefix("/api"), body, **headers).status_code == 200
        body["reason"] = "income_too_low"
        assert tool.post(path.removeprefix("/api"), body, **headers).status_code == 422

    def test_a_refused_decision_can_be_sent_again_with_the_current_tag(self, tool: Caller) -> None:
        loan = append_requested_loan(score=5).loan_request_id
        key = {"Idempotency-Key": str(uuid4())}
        refused = tool.approve(loan, '"1"', **key)
        assert refused.status_code == 412
        assert tool.approve(loan, refused["ETag"], **key).status_code == 200

    def test_a_call_that_was_not_valid_leaves_the_key_unused(self, apply: Apply) -> None:
        key = str(uuid4())
        assert apply({**application(), "amount": 0}, key).status_code == 422
        assert apply(application(), key).status_code == 201

    def test_keys_are_still_known_after_the_store_was_killed(
        self, event_store: RunningEventStore, tool: Caller
    ) -> None:
        body, key = application(), {"Idempotency-Key": str(uuid4())}
        first = tool.apply(body, **key)
        event_store.kill()
        event_store.restart()
        close_event_store_client()
        assert tool.apply(body, **key).json() == first.json()
        assert tool.apply({**body, "amount": 1}, **key).status_code == 422


class TestAtTheSameMoment:
    """Callers have no tokens, so that the threads need no database."""

    def send(self, bodies: list[dict[str, Any]], key: str) -> list[Any]:
        with ThreadPoolExecutor(len(bodies)) as threads:
            return list(
                threads.map(lambda body: Caller().apply(body, **{"Idempotency-Key": key}), bodies)
            )

    def test_the_same_call_is_carried_out_once(self) -> None:
        answers = self.send([application()] * 8, str(uuid4()))
        assert {each.status_code for each in answers} == {201}
        assert len({each.content for each in answers}) == 1

    def test_only_one_of_different_calls_is_accepted(self) -> None:
        answers = self.send([application() for _ in range(8)], str(uuid4()))
        assert sorted(each.status_code for each in answers) == [201] + [422] * 7


class TestTheOwnersOfKeys:
    def test_users_have_keys_of_their_own(self, tool: Caller) -> None:
        other, key = underwriters_tool("ulla"), {"Idempotency-Key": uuid4().hex[:8]}
        mine, others = tool.apply(application(), **key), other.apply(application(), **key)
        assert (mine.status_code, others.status_code) == (201, 201)
        assert mine.json()["id"] != others.json()["id"]

    def test_a_users_tokens_share_keys(self) -> None:
        user = make_underwriter("ursa")
        body, key = application(), {"Idempotency-Key": uuid4().hex[:8]}
        first, again = (caller_for(user).apply(body, **key) for _ in range(2))
        assert first.status_code == 201
        assert again.json() == first.json()

    def test_without_a_token_a_key_must_be_a_uuid(self) -> None:
        body, key = application(), str(uuid4())
        first = Caller().apply(body, **{"Idempotency-Key": key})
        assert first.status_code == 201
        assert first.json()["id"] != key
        assert Caller().apply(body, **{"Idempotency-Key": f'"{key}"'}).json() == first.json()
        response = Caller().apply(application(), **{"Idempotency-Key": "1"})
        assert response.status_code == 422
        assert "Without a token" in response.json()["errors"][0]["message"]

    def test_anonymous_callers_and_users_do_not_share_keys(self, tool: Caller) -> None:
        key = {"Idempotency-Key": str(uuid4())}
        assert Caller().apply(application(), **key).status_code == 201
        assert tool.apply(application(), **key).status_code == 201


class TestTheFormatOfKeys:
    @pytest.mark.parametrize(
        "pattern", ["{}", "a b {}", "{:x<255}", '"{:x<255}"', r'"a\"b\\c{}"', "k;v={}"]
    )
    def test_these_are_accepted(self, apply: Apply, pattern: str) -> None:
        assert apply(application(), pattern.format(uuid4().hex)).status_code == 201

    @pytest.mark.parametrize(
        "key", ["", '""', "x" * 256, '"unfinished', '"a"b"', r'"a\b"', '"a";v=1', "é", "tab\there"]
    )
    def test_these_are_refused(self, apply: Apply, key: str) -> None:
        response = apply(application(), key)
        assert response.status_code == 422
        assert [each["field"] for each in response.json()["errors"]] == ["Idempotency-Key"]

    def test_a_key_is_the_same_with_and_without_quotes(self, apply: Apply) -> None:
        body = application()
        key = f'say "{uuid4()}"'
        bare, quoted = apply(body, key), apply(body, '"' + key.replace('"', '\\"') + '"')
        assert bare.json() == quoted.json()


@pytest.mark.usefixtures("no_event_store")
def test_without_the_event_store_it_says_when_to_try_again(apply: Apply) -> None:
    response = apply(application(), str(uuid4()))
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0


def test_nothing_of_a_call_is_readable_in_the_store(
    event_store: RunningEventStore, tool: Caller
) -> None:
    body = {"name": ZOE.name, "national_id": ZOE.national_id, "amount": 1, "address": ZOE.address}
    tool.apply(body, **{"Idempotency-Key": ZOE.name})
    stored = [
        f"{each.stream_name} {each.data.decode()} {each.metadata.decode()}"
        for each in event_store_client().read_all()
        if each.type == "IdempotencyKeyUsed"
    ]
    assert len(stored) == 1
    assert not ZOE.is_told_by(stored[0])


def test_an_approval_by_someone_else_is_not_hidden_by_a_key(tool: Caller) -> None:
    loan = append_requested_loan(score=5).loan_request_id
    append_approval(loan)
    response = tool.deny(loan, '"2"', **{"Idempotency-Key": str(uuid4())})
    assert response.status_code == 409
