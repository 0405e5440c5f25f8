"""Server reflection over the one descriptor set: any service process answers for all of them.

grpcio's reflection speaks v1alpha only, newer grpcurl asks for v1 first; the two have the same messages.
"""

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from services import contracts

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_handlers() -> tuple[grpc.GenericRpcHandler, ...]:
    """Makes the handlers of both versions."""
    pool = DescriptorPool()
    for file in contracts.descriptor_set().file:
        pool.Add(file)
    public = sorted({rpc.service for rpc in contracts.rpcs().values() if rpc.public})
    servicer = ReflectionServicer([*public, *NAMES], pool)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in NAMES)
