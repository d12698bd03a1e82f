"""gRPC's Health service, for supervisors and load balancers."""

import asyncio

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from lepret.eventstore import messages
from lepret.eventstore.rpc import Call, Methods, Refusal, StatusCode, only_request

SERVICE = "/grpc.health.v1.Health"

_SERVING = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
_UNKNOWN = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN).SerializeToString()


def health_service(methods: Methods) -> Methods:
    """The health of the server (the empty name) and of the services of these methods.

    All are healthy as long as the server answers.
    """
    services = {"", *(_service(path) for path in methods)}

    async def check(call: Call) -> None:
        if await _requested_service(call) not in services:
            raise Refusal(StatusCode.NOT_FOUND, "The service is unknown.")
        await call.send([_SERVING])

    async def watch(call: Call) -> None:
        known = await _requested_service(call) in services
        await call.send([_SERVING if known else _UNKNOWN])
        await _until_the_call_ends()

    return {f"{SERVICE}/Check": check, f"{SERVICE}/Watch": watch}


def _service(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


async def _requested_service(call: Call) -> str:
    service: str = messages.parse(HealthCheckRequest, await only_request(call)).service
    return service


async def _until_the_call_ends() -> None:
    """Wait for ever. The call is cancelled when the client leaves or the server stops."""
    await asyncio.get_running_loop().create_future()
