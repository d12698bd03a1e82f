"""The answers to appends and deletes, with errors in the form that clients expect."""

from esdbclient.protos.Grpc import code_pb2, shared_pb2, status_pb2, streams_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from lepret.eventstore.rpc import Refusal, StatusCode
from lepret.eventstore.writes import (
    MAX_APPEND_SIZE,
    Append,
    Appended,
    DeadlinePassed,
    Delete,
    Expectation,
    Expected,
    Outcome,
    StreamDeleted,
    Tombstone,
    WrongExpectedVersion,
)

_TOO_LARGE = f"Maximum Append Size of {MAX_APPEND_SIZE} Exceeded."
_EXPECTED_NUMBERS: dict[Expected, int] = {
    Expectation.NO_STREAM: -1,
    Expectation.ANY: -2,
    Expectation.STREAM_EXISTS: -4,
}
"""The numbers for these expectations in error texts."""


# Append ---------------------------------------------------------------------------------


def to_append(outcome: Outcome, append: Append) -> bytes:
    """The answer to Append. Raises Refusal (DEADLINE_EXCEEDED, FAILED_PRECONDITION)."""
    match outcome:
        case Appended():
            response = streams_pb2.AppendResp()
            _fill(response.success, outcome)
        case WrongExpectedVersion():
            response = streams_pb2.AppendResp(
                wrong_expected_version=_wrong_append(outcome, append.expected)
            )
        case StreamDeleted():
            raise stream_deleted_refusal(append.stream)
        case DeadlinePassed():
            raise Refusal(StatusCode.DEADLINE_EXCEEDED, "The append's deadline has passed.")
    return response.SerializeToString()


def missing_property_refusal(name: str) -> Refusal:
    """The refusal of an Append in which an event lacks a property."""
    return Refusal(
        StatusCode.INVALID_ARGUMENT,
        f"Required Metadata Property '{name}' is missing",
        (
            ("exception", "missing-required-metadata-property"),
            ("required-metadata-properties", "type,content-type"),
        ),
    )


def too_large_refusal() -> Refusal:
    """The refusal of an Append whose events together are too large."""
    return Refusal(
        StatusCode.INVALID_ARGUMENT,
        _TOO_LARGE,
        (
            ("exception", "maximum-append-size-exceeded"),
            ("maximum-append-size", str(MAX_APPEND_SIZE)),
        ),
    )


def _wrong_append(
    outcome: WrongExpectedVersion, expected: Expected
) -> streams_pb2.AppendResp.WrongExpectedVersion:
    wrong = streams_pb2.AppendResp.WrongExpectedVersion()
    if outcome.current is None:
        wrong.current_no_stream.SetInParent()
        wrong.no_stream_20_6_0.SetInParent()
    else:
        wrong.current_revision = outcome.current
        wrong.current_revision_20_6_0 = outcome.current
    match expected:
        case Expectation():
            getattr(wrong, f"expected_{expected.value}").SetInParent()
            if expected is not Expectation.NO_STREAM:
                getattr(wrong, f"{expected.value}_20_6_0").SetInParent()
        case int(revision):
            wrong.expected_revision = revision
            wrong.expected_revision_20_6_0 = revision
    return wrong


# Delete and Tombstone ---------------------------------------------------------------------


def to_delete(outcome: Outcome, write: Delete | Tombstone) -> bytes:
    """The answer to Delete or Tombstone. Raises Refusal (FAILED_PRECONDITION)."""
    position = _position_of_delete(outcome, write)
    is_delete = isinstance(write, Delete)
    response = streams_pb2.DeleteResp() if is_delete else streams_pb2.TombstoneResp()
    response.position.commit_position = position
    response.position.prepare_position = position
    return response.SerializeToString()


def stream_deleted_refusal(stream: str) -> Refusal:
    """The refusal of a call to a deleted stream."""
    return Refusal(
        StatusCode.FAILED_PRECONDITION,
        f"Event stream '{stream}' is deleted.",
        (("exception", "stream-deleted"), ("stream-name", stream)),
    )


def _position_of_delete(outcome: Outcome, write: Delete | Tombstone) -> int:
    match outcome:
        case Appended(position=int(position)):
            return position
        case WrongExpectedVersion(current):
            raise _wrong_version_refusal(write, -1 if current is None else current)
        case _:
            raise stream_deleted_refusal(write.stream)


def _wrong_version_refusal(write: Delete | Tombstone, actual: int) -> Refusal:
    """Some clients read the versions from the text, others from the trailers."""
    expected = _EXPECTED_NUMBERS.get(write.expected, write.expected)
    return Refusal(
        StatusCode.FAILED_PRECONDITION,
        f"Delete failed due to WrongExpectedVersion. Stream: {write.stream},"
        f" Expected version: {expected}, Actual version: {actual}",
        (
            ("exception", "wrong-expected-version"),
            ("stream-name", write.stream),
            ("expected-version", str(expected)),
            ("actual-version", str(actual)),
        ),
    )


# BatchAppend ----------------------------------------------------------------------------


def to_batch(request: streams_pb2.BatchAppendReq, outcome: Outcome, expected: Expected) -> bytes:
    """The answer to one append of a BatchAppend call."""
    match outcome:
        case Appended():
            response = streams_pb2.BatchAppendResp()
            _fill(response.success, outcome)
        case WrongExpectedVersion():
            response = _error(
                code_pb2.ALREADY_EXISTS,
                "WrongExpectedVersion",
                _wrong_batch(outcome, expected),
            )
        case StreamDeleted():
            details = shared_pb2.StreamDeleted(stream_identifier=request.options.stream_identifier)
            response = _error(code_pb2.NOT_FOUND, "StreamDeleted", details)
        case DeadlinePassed():
            return too_late(request)
    return _addressed(response, request)


def too_late(request: streams_pb2.BatchAppendReq) -> bytes:
    """The answer to an append whose deadline has passed."""
    return _addressed(_error(code_pb2.DEADLINE_EXCEEDED, "Timeout", shared_pb2.Timeout()), request)


def too_large(request: streams_pb2.BatchAppendReq) -> bytes:
    """The answer to an append whose events together are too large."""
    details = shared_pb2.MaximumAppendSizeExceeded(maxAppendSize=MAX_APPEND_SIZE)
    return _addressed(_error(code_pb2.INVALID_ARGUMENT, _TOO_LARGE, details), request)


def refused(request: streams_pb2.BatchAppendReq, refusal: Refusal) -> bytes:
    """The answer to an append that was malformed or could not be written."""
    details: Message = shared_pb2.Unknown()
    code = code_pb2.UNKNOWN
    if refusal.status in (StatusCode.INVALID_ARGUMENT, StatusCode.UNKNOWN):
        details = shared_pb2.BadRequest(message=refusal.details)
        code = code_pb2.INVALID_ARGUMENT
    return _addressed(_error(code, refusal.details, details), request)


def _wrong_batch(
    outcome: WrongExpectedVersion, expected: Expected
) -> shared_pb2.WrongExpectedVersion:
    wrong = shared_pb2.WrongExpectedVersion()
    if outcome.current is None:
        wrong.current_no_stream.SetInParent()
    else:
        wrong.current_stream_revision = outcome.current
    match expected:
        case Expectation():
            getattr(wrong, f"expected_{expected.value}").SetInParent()
        case int(revision):
            wrong.expected_stream_position = revision
    return wrong


def _error(
    code: code_pb2.Code.ValueType, message: str, details: Message
) -> streams_pb2.BatchAppendResp:
    packed = Any()
    packed.Pack(details)
    return streams_pb2.BatchAppendResp(
        error=status_pb2.Status(code=code, message=message, details=packed)
    )


def _addressed(response: streams_pb2.BatchAppendResp, request: streams_pb2.BatchAppendReq) -> bytes:
    """Name the append that is answered: its correlation id, stream and expectation."""
    options = request.options
    response.correlation_id.CopyFrom(request.correlation_id)
    response.stream_identifier.CopyFrom(options.stream_identifier)
    match options.WhichOneof("expected_stream_position"):
        case "stream_position":
            response.stream_position = options.stream_position
        case str(expectation):
            getattr(response, expectation).SetInParent()
    return response.SerializeToString()


# Append and BatchAppend -----------------------------------------------------------------


def _fill(
    success: streams_pb2.AppendResp.Success | streams_pb2.BatchAppendResp.Success, outcome: Appended
) -> None:
    if outcome.revision is None:
        success.no_stream.SetInParent()
    else:
        success.current_revision = outcome.revision
    if outcome.position is None:
        success.no_position.SetInParent()
    else:
        success.position.commit_position = outcome.position
        success.position.prepare_position = outcome.position
