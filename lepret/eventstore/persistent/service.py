"""The PersistentSubscriptions service: its methods by their paths."""

import asyncio
from collections.abc import AsyncIterator

from esdbclient.protos.Grpc import persistent_pb2, shared_pb2

from lepret.eventstore.messages import parse
from lepret.eventstore.persistent import conversion, refusals, requests
from lepret.eventstore.persistent.groups import Groups
from lepret.eventstore.persistent.info import subscription_info
from lepret.eventstore.persistent.running_group import RunningGroup, SubscriberConnection
from lepret.eventstore.persistent.settings import GroupName
from lepret.eventstore.rpc import Call, Methods, bad_request, only_request

SERVICE = "/event_store.client.persistent_subscriptions.PersistentSubscriptions"

_EMPTY = shared_pb2.Empty().SerializeToString()


def persistent_subscriptions_service(groups: Groups) -> Methods:
    """The handlers of all methods that this server supports."""
    calls = _Calls(groups)
    return {
        f"{SERVICE}/Create": calls.create,
        f"{SERVICE}/Update": calls.update,
        f"{SERVICE}/Delete": calls.delete,
        f"{SERVICE}/Read": calls.read,
        f"{SERVICE}/GetInfo": calls.get_info,
        f"{SERVICE}/List": calls.list_groups,
        f"{SERVICE}/ReplayParked": calls.replay_parked,
        f"{SERVICE}/RestartSubsystem": calls.restart_subsystem,
    }


class _Calls:
    """The handlers."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    async def create(self, call: Call) -> None:
        request = parse(persistent_pb2.CreateReq, await only_request(call))
        await self._groups.create(await requests.settings(request, self._groups.next_number))
        await call.send([persistent_pb2.CreateResp().SerializeToString()])

    async def update(self, call: Call) -> None:
        request = parse(persistent_pb2.UpdateReq, await only_request(call))
        await self._groups.update(await requests.settings(request, self._groups.next_number))
        await call.send([persistent_pb2.UpdateResp().SerializeToString()])

    async def delete(self, call: Call) -> None:
        request = parse(persistent_pb2.DeleteReq, await only_request(call))
        await self._groups.delete(requests.group_name(request.options))
        await call.send([persistent_pb2.DeleteResp().SerializeToString()])

    async def get_info(self, call: Call) -> None:
        request = parse(persistent_pb2.GetInfoReq, await only_request(call))
        group = self._groups.find(requests.group_name(request.options))
        response = persistent_pb2.GetInfoResp(subscription_info=subscription_info(group))
        await call.send([response.SerializeToString()])

    async def list_groups(self, call: Call) -> None:
        request = parse(persistent_pb2.ListReq, await only_request(call))
        stream = requests.listed_stream(request.options)
        groups = self._groups.all() if stream is None else self._groups.of(stream)
        if stream is not None and not groups:
            raise refusals.does_not_exist(GroupName(stream, ""))
        response = persistent_pb2.ListResp(
            subscriptions=[subscription_info(group) for group in groups]
        )
        await call.send([response.SerializeToString()])

    async def replay_parked(self, call: Call) -> None:
        request = parse(persistent_pb2.ReplayParkedReq, await only_request(call))
        name = requests.group_name(request.options)
        stop_at = requests.stop_at(request.options)
        if stop_at is not None and stop_at < 0:
            raise refusals.failed(
                name, "Cannot stop replaying parked message at a negative version."
            )
        self._groups.find(name).replay(stop_at)
        await call.send([persistent_pb2.ReplayParkedResp().SerializeToString()])

    async def restart_subsystem(self, call: Call) -> None:
        await only_request(call)
        await self._groups.restart()
        await call.send([_EMPTY])

    # Reading ------------------------------------------------------------------------

    async def read(self, call: Call) -> None:
        incoming = call.requests()
        options = await _options(incoming)
        name = requests.group_name(options)
        group = self._groups.find(name)
        connection = group.connect(call.header("connection-name"), requests.buffer_size(options))
        structured_ids = options.uuid_option.WhichOneof("content") != "string"
        try:
            await call.send([conversion.confirmation(name)])
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_deliver(call, group, connection, structured_ids=structured_ids))
                tasks.create_task(_take_answers(incoming, group))
        except ExceptionGroup as failures:
            # The first of the two that fails cancels the other.
            raise failures.exceptions[0] from None
        finally:
            group.disconnect(connection)


async def _options(incoming: AsyncIterator[bytes]) -> persistent_pb2.ReadReq.Options:
    async for serialised in incoming:
        request = parse(persistent_pb2.ReadReq, serialised)
        if request.WhichOneof("content") == "options":
            return request.options
        break
    raise bad_request("A subscriber must send its options first, then acks and nacks.")


async def _deliver(
    call: Call, group: RunningGroup, connection: SubscriberConnection, *, structured_ids: bool
) -> None:
    while True:
        await connection.wait_for_messages()
        while deliveries := await group.next_deliveries(connection.subscriber):
            await call.send(
                [
                    conversion.delivery(response, retries, structured_ids=structured_ids)
                    for response, retries in deliveries
                ]
            )


async def _take_answers(incoming: AsyncIterator[bytes], group: RunningGroup) -> None:
    async for serialised in incoming:
        request = parse(persistent_pb2.ReadReq, serialised)
        match request.WhichOneof("content"):
            case "ack":
                group.ack(requests.ids(request.ack.ids))
            case "nack":
                ids = requests.ids(request.nack.ids)
                group.nack(ids, requests.nack(request.nack), request.nack.reason)
            case _:
                raise bad_request("A subscriber must send its options first, then acks and nacks.")
