"""Whether a process is ready, asked of the process itself. Each probe raises `NotReady` with what it saw."""

import http.client
import importlib
import socket
from collections.abc import Callable

import grpc
import redis
from grpc_health.v1 import health_pb2

from services.mesh import Mesh
from services.runtime.certificates import caller_credentials
from services.runtime.redis_client import connect_blocking

HEALTH_CHECK = "/grpc.health.v1.Health/Check"

Probe = Callable[[Mesh], None]

AWAY = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
"""What redis-py raises when Redis, or a part of a cluster, does not answer."""

ATTEMPT_SECONDS = 1.0
"""How long one attempt may take."""


class NotReady(Exception):
    """A process does not answer yet, or answers that it is not ready; says which."""


def redis_answers(mesh: Mesh) -> None:
    """Passes when Redis answers a PING; it does not while it is still loading its data."""
    try:
        with connect_blocking(mesh, "reader") as client:
            client.ping()
    except AWAY as error:
        raise NotReady(f"PING: {error}") from error


def consuming(service: str) -> Probe:
    """Passes when each consumer group of a service has a consumer: the sign of a process that listens nowhere."""

    def probe(mesh: Mesh) -> None:
        missing = {group.name for group in importlib.import_module(f"services.{service}.reactions").GROUPS}
        try:
            with connect_blocking(mesh, "reader") as client:
                for stream in client.scan_iter("astra.*", count=1000, _type="stream"):
                    for group in client.xinfo_groups(stream):
                        if group["consumers"]:
                            missing.discard(group["name"].decode())
        except AWAY as error:
            raise NotReady(f"XINFO GROUPS: {error}") from error
        if missing:
            raise NotReady(f"no consumer in {', '.join(sorted(missing))}")

    return probe


def serving(address: str) -> Probe:
    """Passes when the gRPC server at this name of the map says SERVING (grpc.health.v1)."""

    def probe(mesh: Mesh) -> None:
        _connects(mesh, address)
        with _channel(mesh, address) as channel:
            check = channel.unary_unary(
                HEALTH_CHECK,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = check(health_pb2.HealthCheckRequest(), timeout=ATTEMPT_SECONDS)
            except grpc.RpcError as error:
                raise NotReady(f"health check: {error.code().name} {error.details()}") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotReady(f"health check: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")

    return probe


def answers_ok(address: str, path: str, *also: str) -> Probe:
    """Passes when a GET of this path is answered 200 and the ports of `also` are open."""

    def probe(mesh: Mesh) -> None:
        for name in (address, *also):
            _connects(mesh, name)
        connection = http.client.HTTPConnection(mesh.addresses[address], timeout=ATTEMPT_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read(500).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise NotReady(f"GET {path}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise NotReady(f"GET {path}: {answer.status} {body}")

    return probe


def _channel(mesh: Mesh, address: str) -> grpc.Channel:
    if not mesh.mtls:
        return grpc.insecure_channel(mesh.addresses[address])
    return grpc.secure_channel(mesh.addresses[address], caller_credentials(mesh))


def _connects(mesh: Mesh, address: str) -> None:
    try:
        socket.create_connection((mesh.host(address), mesh.port(address)), timeout=ATTEMPT_SECONDS).close()
    except OSError as error:
        raise NotReady(f"{address} {mesh.addresses[address]}: {error.strerror or error}") from error
