"""The refusals of persistent subscriptions, with the trailers that clients read."""

from lepret.eventstore.persistent.settings import GroupName
from lepret.eventstore.rpc import Refusal, StatusCode


def exists(name: GroupName) -> Refusal:
    """The group exists already."""
    return _refusal(StatusCode.ALREADY_EXISTS, name, "persistent-subscription-exists", "exists.")


def does_not_exist(name: GroupName) -> Refusal:
    """The group does not exist."""
    return _refusal(
        StatusCode.NOT_FOUND, name, "persistent-subscription-does-not-exist", "does not exist."
    )


def dropped(name: GroupName) -> Refusal:
    """The server drops a subscriber, which may connect again."""
    return _refusal(StatusCode.CANCELLED, name, "persistent-subscription-dropped", "was dropped.")


def failed(name: GroupName, reason: str) -> Refusal:
    """The request is impossible for the group."""
    refusal = _refusal(
        StatusCode.INTERNAL, name, "persistent-subscription-failed", f"failed: '{reason}'"
    )
    return Refusal(refusal.status, refusal.details, (*refusal.trailers, ("reason", reason)))


def full(name: GroupName) -> Refusal:
    """The group has its maximum number of subscribers."""
    return Refusal(
        StatusCode.FAILED_PRECONDITION,
        f"Maximum subscriptions reached for {_text(name)}.",
        _trailers(name, "maximum-subscribers-reached"),
    )


def too_many(groups: int) -> Refusal:
    """No further group can be created."""
    return Refusal(
        StatusCode.RESOURCE_EXHAUSTED, f"There may be {groups} persistent subscriptions at most."
    )


def _refusal(status: StatusCode, name: GroupName, exception: str, what: str) -> Refusal:
    details = f"S{_text(name)[1:]} {what}"
    return Refusal(status, details, _trailers(name, exception))


def _text(name: GroupName) -> str:
    return f"subscription group {name.group} on stream {name.stream}"


def _trailers(name: GroupName, exception: str) -> tuple[tuple[str, str], ...]:
    return (("exception", exception), ("stream-name", name.stream), ("group-name", name.group))
