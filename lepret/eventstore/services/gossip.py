"""The Gossip service: a cluster of one node, for clients that discover nodes."""

import re
import time
import uuid

from esdbclient.protos.Grpc import gossip_pb2, shared_pb2

from lepret.eventstore.rpc import Call, Methods, bad_request

_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]+\]|[^\[\]:]+)(:(?P<port>[0-9]{1,5}))?")
_HTTP_PORT = 80


def gossip_service() -> Methods:
    """Answer each client with one node, at the address that the client has used."""
    instance_id = shared_pb2.UUID(string=str(uuid.uuid4()))

    async def read(call: Call) -> None:
        member = gossip_pb2.MemberInfo(
            instance_id=instance_id,
            time_stamp=time.time_ns() // 100,
            state=gossip_pb2.MemberInfo.Leader,
            is_alive=True,
            http_end_point=_end_point(call.header(":authority")),
        )
        await call.send([gossip_pb2.ClusterInfo(members=[member]).SerializeToString()])

    return {"/event_store.client.gossip.Gossip/Read": read}


def _end_point(authority: str) -> gossip_pb2.EndPoint:
    """The host and port that a client has used. Raises Refusal (INVALID_ARGUMENT).

    The node's own address may not be reachable for the client: it can be 0.0.0.0, or behind a
    tunnel. An IPv6 address keeps its brackets, because clients append a colon and the port.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise bad_request("The request does not say which host and port it was sent to.")
    return gossip_pb2.EndPoint(address=found["host"], port=int(found["port"] or _HTTP_PORT))
