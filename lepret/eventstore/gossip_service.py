"""The Gossip service: a cluster of one, so that clients that discover nodes find this one."""

import time
import uuid

from esdbclient.protos.Grpc import gossip_pb2, shared_pb2

from lepret.eventstore.rpc import Call, Methods


def gossip_service(host: str, port: int) -> Methods:
    """Gossip about the one node at this address."""
    instance_id = shared_pb2.UUID(string=str(uuid.uuid4()))

    async def read(call: Call) -> None:
        member = gossip_pb2.MemberInfo(
            instance_id=instance_id,
            time_stamp=time.time_ns() // 100,
            state=gossip_pb2.MemberInfo.Leader,
            is_alive=True,
            http_end_point=gossip_pb2.EndPoint(address=host, port=port),
        )
        await call.send([gossip_pb2.ClusterInfo(members=[member]).SerializeToString()])

    return {"/event_store.client.gossip.Gossip/Read": read}
