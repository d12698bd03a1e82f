"""What is recorded of an `Idempotency-Key`, and what is refused."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from loans.adapters import codec
from loans.application.idempotency import (
    IdempotencyKey,
    IdempotencyKeys,
    IdempotencyKeyUsed,
    KeyUsedOtherwise,
)
from tests.support.fakes import FakeEventStore
from tests.support.loans import AT

LOAN = UUID("11111111-1111-4111-8111-111111111111")
KEY = IdempotencyKey("user 1", "a key")


@pytest.fixture
def store() -> FakeEventStore:
    return FakeEventStore()


@pytest.fixture
def keys(store: FakeEventStore) -> IdempotencyKeys:
    return IdempotencyKeys(store, secret=b"a secret")


def use(keys: IdempotencyKeys, *call: str, key: IdempotencyKey = KEY) -> None:
    keys.use(key, *call, loan_request_id=LOAN, now=AT)


def test_a_call_with_a_key_is_recorded_once_however_often_it_is_sent(
    keys: IdempotencyKeys, store: FakeEventStore
) -> None:
    for _ in range(3):
        use(keys, "POST", "/path", "body")
    stream = store.load(keys.stream_of(KEY))
    assert [type(event) for event in stream.events] == [IdempotencyKeyUsed]


@pytest.mark.parametrize(
    "call", [("POST", "/path", "another body"), ("POST", "/other", "body"), ("POST", "/pathbody")]
)
def test_another_call_is_refused(keys: IdempotencyKeys, call: tuple[str, ...]) -> None:
    use(keys, "POST", "/path", "body")
    with pytest.raises(KeyUsedOtherwise):
        use(keys, *call)


def test_the_same_value_of_another_caller_is_another_key(keys: IdempotencyKeys) -> None:
    other = IdempotencyKey("user 2", KEY.value)
    use(keys, "POST", "/path", "body")
    use(keys, "POST", "/path", "another body", key=other)
    assert keys.loan_request_id(other) != keys.loan_request_id(KEY)
    assert IdempotencyKey("user 1a", "key") != IdempotencyKey("user 1", "akey")
    assert keys.stream_of(IdempotencyKey("a", "bc")) != keys.stream_of(IdempotencyKey("ab", "c"))


def test_ids_follow_from_the_key_and_the_secret(store: FakeEventStore) -> None:
    one, again, other = (
        IdempotencyKeys(store, secret=secret).loan_request_id(KEY)
        for secret in (b"a secret", b"a secret", b"another")
    )
    assert one == again
    assert one != other
    assert one.version == 4


def test_the_stored_event_is_pinned() -> None:
    event = IdempotencyKeyUsed(id=LOAN, occurred_at=AT, fingerprint="ab12")
    encoded = codec.encode(event, command_id=uuid4(), user="idempotency")
    assert encoded.type == "IdempotencyKeyUsed"
    assert json.loads(encoded.data) == {
        "id": "11111111-1111-4111-8111-111111111111",
        "occurred_at": "2026-11-23T09:30:00Z",
        "fingerprint": "ab12",
    }
    assert codec.decode(encoded.type, encoded.data) is None, "the read side ignores it"


def test_a_key_is_not_shown() -> None:
    assert "a key" not in repr(KEY)
