"""Requests that no correct Python client sends, and answers that it does not show."""

from __future__ import annotations

import socket
from uuid import UUID

import grpc
import pytest
from esdbclient.protos.Grpc import (
    shared_pb2,
    streams_pb2,
    streams_pb2_grpc,
)
from google.protobuf import duration_pb2

from tests.integration.lepret.eventstore.batches import Batch, new_batch, new_proposals
from tests.integration.lepret.eventstore.events import new_stream
from tests.integration.lepret.eventstore.refused import refused
from tests.support.event_store import EmbeddedEventStore
from tests.support.processes import PATIENCE

READ = "/event_store.client.streams.Streams/Read"

Options = streams_pb2.ReadReq.Options

_S = shared_pb2.StreamIdentifier(stream_name=b"s")


@pytest.fixture
def streams(channel: grpc.Channel) -> streams_pb2_grpc.StreamsStub:
    return streams_pb2_grpc.StreamsStub(channel)  # type: ignore[no-untyped-call]


class TestBatchAppend:
    def test_answers_each_batch_of_a_call_by_its_correlation_id(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        stream = new_stream()
        batches = [new_batch(stream, 1) for _ in range(300)]
        answers = list(streams.BatchAppend(iter(batches), timeout=PATIENCE))
        assert {a.correlation_id.string for a in answers} == {
            batch.correlation_id.string for batch in batches
        }
        assert {a.stream_identifier.stream_name for a in answers} == {stream.encode()}
        assert sorted(a.success.current_revision for a in answers) == list(range(300))

    def test_decides_batches_in_the_order_in_which_they_came(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        for _ in range(20):
            batches = [new_batch(stream := new_stream(), 1)]
            batches[0].options.no_stream.SetInParent()
            for revision in range(7):
                batches.append(new_batch(stream, 1))
                batches[-1].options.stream_position = revision
            answers = list(streams.BatchAppend(iter(batches), timeout=PATIENCE))
            assert [answer.WhichOneof("result") for answer in answers] == ["success"] * 8

    def test_puts_chunks_together(self, streams: streams_pb2_grpc.StreamsStub) -> None:
        first = new_batch(new_stream(), 2, final=False)
        other = new_batch(new_stream(), 1)
        more = Batch(correlation_id=first.correlation_id, proposed_messages=new_proposals(3))
        last = Batch(correlation_id=first.correlation_id, is_final=True)
        answers = {
            answer.correlation_id.string: answer.success.current_revision
            for answer in streams.BatchAppend(iter([first, other, more, last]), timeout=PATIENCE)
        }
        assert answers == {first.correlation_id.string: 4, other.correlation_id.string: 0}

    def test_writes_nothing_of_an_unfinished_batch(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        stream = new_stream()
        assert not list(streams.BatchAppend(iter([new_batch(stream, 2, final=False)])))
        assert _content(streams, stream) == ["stream_not_found"]

    def test_chunks_together_may_be_too_large(self, streams: streams_pb2_grpc.StreamsStub) -> None:
        stream = new_stream()
        first = new_batch(stream, 1, final=False)
        big = Batch(
            correlation_id=first.correlation_id, proposed_messages=new_proposals(1, 600_000)
        )
        last = Batch(correlation_id=first.correlation_id, is_final=True)
        (answer,) = streams.BatchAppend(iter([first, big, big, last]), timeout=PATIENCE)
        assert answer.error.details.Is(shared_pb2.MaximumAppendSizeExceeded.DESCRIPTOR)
        assert _content(streams, stream) == ["stream_not_found"]

    def test_a_deadline_that_has_passed_writes_nothing(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        batch = new_batch(new_stream(), 1)
        batch.options.deadline.CopyFrom(duration_pb2.Duration(seconds=0))
        (answer,) = streams.BatchAppend(iter([batch]), timeout=PATIENCE)
        assert answer.error.details.Is(shared_pb2.Timeout.DESCRIPTOR)
        batch.proposed_messages.extend(new_proposals(2, 600_000))
        (answer,) = streams.BatchAppend(iter([batch]), timeout=PATIENCE)
        assert answer.error.details.Is(shared_pb2.Timeout.DESCRIPTOR)
        stream = batch.options.stream_identifier.stream_name.decode()
        assert _content(streams, stream) == ["stream_not_found"]

    def test_malformed_batches_leave_the_others_alone(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        nameless, undecided, untyped, unnamed = (new_batch(new_stream(), 1) for _ in range(4))
        nameless.options.stream_identifier.stream_name = b"\xff"
        undecided.options.ClearField("any")
        del untyped.proposed_messages[0].metadata["type"]
        unnamed.proposed_messages[0].id.string = "no uuid"
        good = [new_batch(new_stream(), 1) for _ in range(4)]
        bad = [nameless, undecided, untyped, unnamed]
        mixed = [batch for pair in zip(good, bad, strict=True) for batch in pair]
        answers = {
            answer.correlation_id.string: answer
            for answer in streams.BatchAppend(iter(mixed), timeout=PATIENCE)
        }
        for batch in good:
            assert answers[batch.correlation_id.string].WhichOneof("result") == "success"
        for batch in bad:
            error = answers[batch.correlation_id.string].error
            assert error.details.Is(shared_pb2.BadRequest.DESCRIPTOR)

    def test_names_the_expected_and_current_revisions(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        stream = new_stream()
        batch = new_batch(stream, 1)
        batch.options.stream_position = 7
        (answer,) = streams.BatchAppend(iter([batch]), timeout=PATIENCE)
        assert answer.stream_position == 7
        details = shared_pb2.WrongExpectedVersion()
        assert answer.error.details.Unpack(details)
        assert details.WhichOneof("current_stream_revision_option") == "current_no_stream"
        assert details.expected_stream_position == 7


class TestAppend:
    @pytest.mark.parametrize("requests", [[], ["event"], ["options", "options"]])
    def test_refuses_messages_out_of_order(
        self, streams: streams_pb2_grpc.StreamsStub, requests: list[str]
    ) -> None:
        kinds = {
            "event": streams_pb2.AppendReq(
                proposed_message=streams_pb2.AppendReq.ProposedMessage(data=b"{}")
            ),
            "options": streams_pb2.AppendReq(
                options=streams_pb2.AppendReq.Options(
                    stream_identifier=shared_pb2.StreamIdentifier(stream_name=b"s"),
                    any=shared_pb2.Empty(),
                )
            ),
        }
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            streams.Append(iter([kinds[kind] for kind in requests]), timeout=PATIENCE)


class TestRead:
    @pytest.mark.parametrize(
        "options",
        [
            Options(),
            Options(count=1),
            Options(count=1, all=Options.AllOptions()),
            Options(all=Options.AllOptions(start=shared_pb2.Empty())),
            Options(
                all=Options.AllOptions(start=shared_pb2.Empty()),
                subscription=Options.SubscriptionOptions(),
                read_direction=Options.Backwards,
            ),
            Options(
                all=Options.AllOptions(start=shared_pb2.Empty()),
                subscription=Options.SubscriptionOptions(),
                filter=Options.FilterOptions(
                    event_type=Options.FilterOptions.Expression(regex="a"), max=0
                ),
            ),
            Options(
                all=Options.AllOptions(start=shared_pb2.Empty()),
                count=1,
                filter=Options.FilterOptions(
                    event_type=Options.FilterOptions.Expression(regex=r"\bnot translated")
                ),
            ),
        ],
    )
    def test_bad_requests_are_refused(
        self, streams: streams_pb2_grpc.StreamsStub, options: Options
    ) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            list(streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE))

    @pytest.mark.parametrize(
        "options",
        [
            Options(count=1, stream=Options.StreamOptions(start=shared_pb2.Empty())),
            Options(count=1, stream=Options.StreamOptions(stream_identifier=_S, revision=2**63)),
            Options(
                count=1,
                all=Options.AllOptions(
                    position=Options.Position(commit_position=2**63, prepare_position=2**63)
                ),
            ),
            Options(
                subscription=Options.SubscriptionOptions(),
                stream=Options.StreamOptions(stream_identifier=_S, revision=2**63),
            ),
            Options(
                all=Options.AllOptions(start=shared_pb2.Empty()),
                count=1,
                filter=Options.FilterOptions(
                    event_type=Options.FilterOptions.Expression(regex="(")
                ),
            ),
        ],
    )
    def test_what_makes_the_real_one_throw_is_refused_as_it_does(
        self, streams: streams_pb2_grpc.StreamsStub, options: Options
    ) -> None:
        with refused(grpc.StatusCode.UNKNOWN) as error:
            list(streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE))
        assert "Exception was thrown by handler." in str(error.value.details())

    def test_the_largest_revision_means_the_end(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        batch = new_batch(new_stream(), 2)
        list(streams.BatchAppend(iter([batch]), timeout=PATIENCE))
        options = Options(
            count=1,
            stream=Options.StreamOptions(
                stream_identifier=batch.options.stream_identifier, revision=2**64 - 1
            ),
            read_direction=Options.Backwards,
        )
        (response,) = streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE)
        assert response.event.event.stream_revision == 1

    def test_a_filter_with_both_goes_by_the_regular_expression(
        self, streams: streams_pb2_grpc.StreamsStub
    ) -> None:
        batch = new_batch(name := new_stream(), 1)
        list(streams.BatchAppend(iter([batch]), timeout=PATIENCE))
        both = Options.FilterOptions.Expression(regex=f"^{name}$", prefix=["Never"])
        options = Options(
            all=Options.AllOptions(start=shared_pb2.Empty()),
            count=100,
            filter=Options.FilterOptions(stream_identifier=both),
        )
        (response,) = streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE)
        assert response.event.event.stream_identifier.stream_name == name.encode()

    def test_malformed_messages_are_refused(self, channel: grpc.Channel) -> None:
        read = channel.unary_stream(READ, None, None)
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            list(read(b"\xff\xff\xff", timeout=PATIENCE))

    def test_ids_as_two_integers(self, streams: streams_pb2_grpc.StreamsStub) -> None:
        batch = new_batch(new_stream(), 1)
        list(streams.BatchAppend(iter([batch]), timeout=PATIENCE))
        options = Options(
            stream=Options.StreamOptions(
                stream_identifier=batch.options.stream_identifier, start=shared_pb2.Empty()
            ),
            count=1,
            uuid_option=Options.UUIDOption(structured=shared_pb2.Empty()),
        )
        (response,) = streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE)
        structured = response.event.event.id.structured
        mask = 2**64 - 1
        high, low = structured.most_significant_bits, structured.least_significant_bits
        assert UUID(int=(high & mask) << 64 | low & mask) == UUID(
            batch.proposed_messages[0].id.string
        )

    def test_a_filter_by_prefixes(self, streams: streams_pb2_grpc.StreamsStub) -> None:
        names = ["a:1", "b:1", "a:2", "c:1", "ba:1"]
        batches = [new_batch(name, 1) for name in names]
        list(streams.BatchAppend(iter(batches), timeout=PATIENCE))
        options = Options(
            all=Options.AllOptions(start=shared_pb2.Empty()),
            count=100,
            filter=Options.FilterOptions(
                stream_identifier=Options.FilterOptions.Expression(prefix=["a:", "c"])
            ),
        )
        found = streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE)
        assert sorted(r.event.event.stream_identifier.stream_name for r in found) == [
            b"a:1", b"a:2", b"c:1",
        ]  # fmt: skip


class TestConnections:
    def test_unknown_methods(self, channel: grpc.Channel) -> None:
        truncate = channel.unary_unary("/event_store.client.streams.Streams/Truncate", None, None)
        with refused(grpc.StatusCode.UNIMPLEMENTED):
            truncate(b"", timeout=PATIENCE)

    def test_messages_larger_than_any_append(self, channel: grpc.Channel) -> None:
        read = channel.unary_stream(READ, None, None)
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
            list(read(b"\0" * (18 * 1024 * 1024), timeout=PATIENCE))

    @pytest.mark.parametrize(
        "noise",
        [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x02\x01\x05\x00\x00\x00\x01\xff\xff",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x01\x00\x00\x00\x00\x00\x05x",
        ],
    )
    def test_noise_ends_only_its_own_connection(
        self,
        streams: streams_pb2_grpc.StreamsStub,
        embedded_event_store: EmbeddedEventStore,
        noise: bytes,
    ) -> None:
        with socket.create_connection(
            ("127.0.0.1", embedded_event_store.port), PATIENCE
        ) as connection:
            connection.sendall(noise)
            while connection.recv(4096):
                pass
        (answer,) = streams.BatchAppend(iter([new_batch(new_stream(), 1)]), timeout=PATIENCE)
        assert answer.WhichOneof("result") == "success"


def _content(streams: streams_pb2_grpc.StreamsStub, stream: str) -> list[str | None]:
    """The kinds of messages in the answer to a read of the stream."""
    options = Options(
        stream=Options.StreamOptions(
            stream_identifier=shared_pb2.StreamIdentifier(stream_name=stream.encode()),
            start=shared_pb2.Empty(),
        ),
        count=10,
    )
    responses = streams.Read(streams_pb2.ReadReq(options=options), timeout=PATIENCE)
    return [response.WhichOneof("content") for response in responses]
