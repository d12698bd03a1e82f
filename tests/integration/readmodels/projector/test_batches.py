"""Batches on SQLite and on PostgreSQL do what their events do one by one, in fewer statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pytest
from django.apps.registry import Apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loans.domain.events import LoanEvent, LoanRequested
from readmodels.models import Checkpoint, LoanRequest, LoanStatus, Status
from readmodels.projections import PROJECTIONS, Projection
from readmodels.projections.rows import RowExists, Rows
from readmodels.projector.batches import Applier, Changes, EventNotHandled
from readmodels.projector.received import Received
from tests.support.histories import batches, histories
from tests.support.loans import AT, recorded
from tests.support.projectors import STATUS, position_of, rows
from tests.support.read_models import ReadModelsDatabase
from tests.support.sample_events import EVENTS, REQUESTED

KEYS = [UUID(int=number) for number in (1, 2, 3)]

each_projection = pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=PROJECTIONS)
on_a_real_database = settings(
    max_examples=40,
    deadline=None,
    # The fixture's database is emptied in each example.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)

Told = dict[str, set[UUID]]


def empty() -> None:
    """Delete all rows and checkpoints."""
    for projection in PROJECTIONS.values():
        projection.model._default_manager.all().delete()
    Checkpoint.objects.all().delete()


def apply(projection: Projection, parts: Sequence[Sequence[Received]]) -> Told:
    """Apply each part as one batch; returns what is to be announced of all of them."""
    told = Changes()

    def committed(position: int, changes: Changes) -> None:
        nonlocal told
        told |= changes

    applier = Applier.live(projection, committed)
    for each in parts:
        applier.apply(each)
    return dict(told.groups)


def outcome(projection: Projection, parts: Sequence[Sequence[Received]]) -> tuple[Any, ...]:
    """The rows, the checkpoint except its `moved_at`, and what is to be announced."""
    empty()
    told = apply(projection, parts)
    checkpoint = Checkpoint.objects.values("name", "position", "recorded_at", "events").get()
    return rows(projection), checkpoint, told


@pytest.mark.usefixtures("read_models")
@on_a_real_database
@given(data=st.data())
def test_batches_of_any_size_do_what_their_events_do_one_by_one(data: st.DataObject) -> None:
    history = data.draw(histories())
    parts = data.draw(batches(history))
    for projection in PROJECTIONS.values():
        assert outcome(projection, parts) == outcome(projection, [[each] for each in history])


COLUMNS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["received", "approved", "denied"]),
        "amount": st.integers(0, 10**12),
        "reasons": st.sampled_from([[], ["other", "too_much_debt"]]),
        "decided_at": st.sampled_from([None, AT]),
    },
)
Change = tuple[str, UUID, dict[str, Any]]
CHANGES: st.SearchStrategy[list[Change]] = st.lists(
    st.tuples(
        st.sampled_from(["add", "put", "change", "remove", "get"]), st.sampled_from(KEYS), COLUMNS
    ),
    max_size=30,
)


class OneByOne:
    """Makes the same changes with the ORM, each in a statement of its own."""

    def add(self, key: UUID, **values: Any) -> None:
        LoanStatus.objects.create(id=key, **values)

    def put(self, key: UUID, **values: Any) -> None:
        self.remove(key)
        self.add(key, **values)

    def change(self, key: UUID, **values: Any) -> None:
        LoanStatus.objects.filter(id=key).update(**values)

    def remove(self, key: UUID) -> None:
        LoanStatus.objects.filter(id=key).delete()

    def get(self, key: UUID) -> LoanStatus | None:
        return LoanStatus.objects.filter(id=key).first()

    def write(self) -> None:
        pass


def all_columns(row: LoanStatus | None) -> dict[str, Any] | None:
    return None if row is None else {f.attname: getattr(row, f.attname) for f in row._meta.fields}


def make(changes: Sequence[Change], parts: Callable[[], Any], size: int) -> list[Any]:
    """Make the changes, `size` of them in each part; returns all rows that were read."""
    empty()
    there: set[UUID] = set()
    seen: list[Any] = []
    for begin in range(0, len(changes), size):
        part = parts()
        for kind, key, values in changes[begin : begin + size]:
            if kind == "get":
                seen.append(all_columns(part.get(key)))
            elif kind == "remove":
                part.remove(key)
                there.discard(key)
            elif kind == "put" or (kind == "add" and key not in there):
                whole = {"amount": 1, "received_at": AT, "status": "received", **values}
                getattr(part, kind)(key, **whole)
                there.add(key)
            elif values:
                part.change(key, **values)
        part.write()
    return [*seen, *LoanStatus.objects.order_by("id").values()]


@pytest.mark.usefixtures("read_models")
@settings(on_a_real_database, max_examples=100)
@given(changes=CHANGES, size=st.integers(1, 30))
def test_gathered_changes_make_the_same_rows_as_changes_made_one_by_one(
    changes: list[Change], size: int
) -> None:
    gathered = make(changes, lambda: Rows(LoanStatus), size)
    assert gathered == make(changes, OneByOne, 1)


@pytest.mark.usefixtures("read_models")
def test_values_come_back_as_they_were_written() -> None:
    odd = 'O\'Hara \\ "quoted" \\u0041\n\t%s %(a)s {} é 🏦 null'
    values: dict[str, Any] = {
        "status": Status.RECEIVED,
        "name": odd,
        "national_id": "",
        "amount": 2**62,
        "requested_at": AT.astimezone(timezone(timedelta(hours=-9, minutes=-30))),
        "decided_at": AT.replace(microsecond=7),
        "credit_score": None,
        "notes": [{"text": odd, "n": [1.5, None, True]}],
        "disagreement": True,
    }
    for key in KEYS[:2]:
        LoanRequest.objects.create(
            id=key, status=Status.DENIED, requested_at=AT, amount=1, disagreement=False
        )
    part = Rows(LoanRequest)
    part.put(KEYS[0], **values)
    part.change(KEYS[1], **values)
    part.add(KEYS[2], **values)
    part.write()

    assert list(LoanRequest.objects.order_by("id").values("id", *values)) == [
        {"id": key, **values} for key in KEYS
    ]


@pytest.fixture
def every_type(read_models: ReadModelsDatabase) -> type[models.Model]:
    """A read model with a column of each type that none of the project's needs, and its table."""
    columns: dict[str, Any] = {
        "day": models.DateField(primary_key=True),
        "hour": models.TimeField(null=True),
        "lasted": models.DurationField(null=True),
        "share": models.DecimalField(max_digits=15, decimal_places=10, null=True),
        "ratio": models.FloatField(null=True),
        "small": models.SmallIntegerField(null=True),
        "other": models.UUIDField(null=True),
        "at": models.DateTimeField(null=True),
        "scan": models.BinaryField(null=True),
        "address": models.GenericIPAddressField(null=True),
        "said": models.JSONField(null=True),
        "encoded": models.JSONField(null=True, encoder=DjangoJSONEncoder),
    }
    meta = type("Meta", (), {"app_label": "readmodels", "apps": Apps()})
    body = {"__module__": __name__, "Meta": meta, **columns}
    model = type("EveryType", (models.Model,), body)
    with connections[read_models.alias].schema_editor() as editor:
        editor.create_model(model)
    return model


def test_values_of_every_type_come_back_as_they_were_written(
    every_type: type[models.Model],
) -> None:
    values: dict[str, Any] = {
        "hour": time(23, 59, 59, 7),
        "lasted": timedelta(days=-3, seconds=5, microseconds=1),
        "share": Decimal("-12345.0123456789"),
        "ratio": 0.1,
        "small": -5,
        "other": UUID(int=7),
        "at": AT.replace(microsecond=7),
        "scan": b"\x00\\x27'\xff",
        "address": "2001:db8::1",
        "said": {"a": [1.5, None, "b"]},
        "encoded": ["2026-01-02", "1.50"],
    }
    given = {**values, "encoded": [date(2026, 1, 2), Decimal("1.50")]}
    days = [date(2026, 2, number) for number in (1, 2, 3, 4, 5)]
    every_type._default_manager.create(day=days[0])
    every_type._default_manager.create(day=days[1])
    every_type._default_manager.create(day=days[3])
    part = Rows(every_type)
    part.put(days[0], **given)
    part.change(days[1], **given)
    part.add(days[2], **given)
    part.remove(days[3])
    part.add(days[4], **dict.fromkeys(given))
    part.write()

    found = list(every_type._default_manager.order_by("day").values())
    for each in found:
        each["scan"] = each["scan"] and bytes(each["scan"])
    assert found == [
        *({"day": each, **values} for each in days[:3]),
        {"day": days[4], **dict.fromkeys(values)},
    ]


@pytest.mark.parametrize("value", [UUID(int=1), AT, Decimal(1), b"1"], ids=repr)
def test_json_without_an_encoder_takes_no_other_types(
    every_type: type[models.Model], value: object
) -> None:
    part = Rows(every_type)
    part.add(date(2026, 2, 1), said=[value])
    with pytest.raises(TypeError, match="not JSON serializable"):
        part.write()


@pytest.mark.usefixtures("read_models")
def test_adding_a_row_that_is_there_fails_though_the_batch_removes_it_again() -> None:
    key = KEYS[0]
    LoanStatus.objects.create(id=key, amount=1, received_at=AT, status="received")
    part = Rows(LoanStatus)
    part.add(key, amount=2, received_at=AT, status="received")
    part.remove(key)

    with pytest.raises(RowExists):
        part.write()

    assert LoanStatus.objects.get().amount == 1


@pytest.fixture
def connection(read_models: ReadModelsDatabase) -> BaseDatabaseWrapper:
    return connections[read_models.alias]


def mixed_events(count: int) -> list[Received]:
    """Events of all types, of many loans."""
    return [
        Received(
            recorded(
                EVENTS[number % len(EVENTS)].model_copy(
                    update={"id": UUID(int=number // len(EVENTS) + 1)}
                ),
                at=number + 1,
                revision=number % len(EVENTS),
            )
        )
        for number in range(count)
    ]


@each_projection
def test_a_batch_takes_few_statements_however_many_events_it_has(
    projection: Projection, connection: BaseDatabaseWrapper
) -> None:
    events = mixed_events(800)
    applier = Applier.live(projection)
    applier.apply(events[:500])

    with CaptureQueriesContext(connection) as captured:
        applier.apply(events[500:])

    # The transaction's two, the checkpoint, then what was added (SQLite takes no more than 999
    # values at a time), changed (once for each set of columns) and removed.
    assert len(captured) <= 3 + 1 + 5 + 1, [each["sql"][:80] for each in captured]


def test_no_transaction_is_under_way_while_events_are_handled(
    connection: BaseDatabaseWrapper,
) -> None:
    were_in_one: list[bool] = []

    def handle(event: LoanRequested, rows: Rows[LoanStatus]) -> None:
        were_in_one.append(connection.in_atomic_block)
        add(event, rows)

    apply(replace(STATUS, handle=handle), [new_requests(10)])

    assert were_in_one == [False] * 10


@pytest.mark.usefixtures("read_models")
def test_the_event_that_fails_is_found_in_few_transactions() -> None:
    events = new_requests(1000)
    bad = events[700]
    positions: list[int] = []

    def handle(event: LoanRequested, rows: Rows[LoanStatus]) -> None:
        if event == bad.event:
            raise ValueError
        add(event, rows)

    applier = Applier.live(
        replace(STATUS, handle=handle), lambda position, changes: positions.append(position)
    )
    with pytest.raises(EventNotHandled) as failure:
        applier.apply(events)

    assert failure.value.received is bad
    assert position_of(STATUS) == len(rows(STATUS)) == events[699].position
    assert len(positions) <= len(events).bit_length()


def new_requests(count: int) -> list[Received]:
    return [Received(recorded(requested(UUID(int=at)), at=at)) for at in range(1, count + 1)]


def requested(id_: UUID) -> LoanEvent:
    return REQUESTED.model_copy(update={"id": id_})


def add(event: LoanRequested, rows: Rows[LoanStatus]) -> None:
    """Handle events with rows that must be new."""
    rows.add(event.id, amount=event.amount, received_at=event.occurred_at, status="received")


@pytest.mark.usefixtures("read_models")
@each_projection
def test_two_that_apply_in_turn_count_each_event_once(projection: Projection) -> None:
    events = mixed_events(30)
    one, other = Applier.live(projection), Applier.live(projection)
    one.apply(events[:10])
    other.apply(events[:20])
    one.apply(events)
    checkpoint = Checkpoint.objects.get(name=projection.name)
    assert (checkpoint.position, checkpoint.events) == (events[-1].position, len(events))


@pytest.mark.usefixtures("read_models")
class TestARowThatIsThereAlready:
    """An event that adds it again is not ignored, whatever else is in its batch."""

    ADDING: ClassVar = replace(STATUS, handle=add)

    TWICE: ClassVar = [
        Received(recorded(requested(KEYS[0]), at=1)),
        Received(recorded(requested(KEYS[1]), at=2)),
        Received(recorded(requested(KEYS[0]), at=3)),
    ]

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_cannot_be_added_again(self, size: int) -> None:
        with pytest.raises(EventNotHandled) as failure:
            apply(self.ADDING, [self.TWICE[:size], self.TWICE[size:]] if size < 3 else [self.TWICE])
        assert failure.value.received.position == 3
        assert position_of(STATUS) == 2
        assert len(rows(STATUS)) == 2
