"""Server reflection over the one descriptor set: any service process answers for all of them.

grpcio's reflection speaks v1alpha only, newer grpcurl asks for v1 first; the two have the same messages.
"""

from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from services import contracts

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def reflection_handlers() -> tuple[grpc.GenericRpcHandler, ...]:
    """Makes the handlers of both versions."""
    pool = DescriptorPool()
    for file in (*contracts.descriptor_set().file, FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)):
        pool.Add(file)
    public = sorted({rpc.service for rpc in contracts.rpcs().values() if rpc.public})
    servicer = ReflectionServicer([*public, *NAMES], _WithMethods(pool))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in NAMES)


class _WithMethods:
    """A pool that also finds the file of a method, as `grpcurl describe` asks for; protobuf's own does not."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def FindFileContainingSymbol(self, name: str) -> FileDescriptor:  # noqa: N802 - as in DescriptorPool
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._pool.FindMethodByName(name).containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
