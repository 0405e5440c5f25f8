"""Who is let in at the internal listener, and who shows the users' keys to whom: by certificates that may change."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
from cryptography import x509

from envoy.policy import Policy
from gateway.certificates import Certificates
from gateway.upstream import Upstream
from services.mesh import Mesh
from services.runtime.certificates import (
    CALLER,
    CALLERS_CA,
    DOOR,
    MEMBERS,
    MEMBERS_CA,
    SERVICES_CA,
    certificate_path,
    issue,
    make_certificates,
    member_path,
    server_context,
    server_credentials,
    server_name,
)
from services.runtime.door import Door, Line
from tests.unit_envoy.door import Echo, Issuer, Jwks, RunningEnvoy, bearer, call, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

AWARD = "/astra.gamification.v1.GamificationService/AwardXp"
TAIL = "/astra.event.v1.OutboxService/Tail"
HEALTH = "/grpc.health.v1.Health/Check"
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
USERS, PROCESSES = Issuer("users"), Issuer("services", kid="bridge")


@dataclass
class Castle:
    mesh: Mesh
    jwks: Jwks

    async def ending(self, channel: grpc.aio.Channel, path: str = AWARD) -> grpc.StatusCode:
        return (await call(channel, path, token(), 3)).code

    async def ending_by(self, own: Path, authority: Path) -> grpc.StatusCode:
        async with Door(self.mesh.addresses["envoy-internal"], own, authority).open(FRESH) as channel:
            return await self.ending(channel)


def token() -> dict[str, str]:
    """Makes a token now: one made when the file is read has ended when a long run comes to it."""
    return bearer(PROCESSES.token(sub="service:bridge"))


FRESH = [("grpc.use_local_subchannel_pool", 1)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def castle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Castle]:
    mesh = replace(Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True), mtls=True)
    make_certificates(mesh)
    envoy = RunningEnvoy(mesh, PROCESSES, Policy(jwks_cache_seconds=1))
    service, jwks = Echo("gamification"), Jwks(USERS)
    await service.start(mesh.port("gamification"), server_credentials(mesh, "gamification"))
    await jwks.start(mesh.port("user-jwks"), server_context(mesh, "user-jwks"))
    try:
        await envoy.start()
        castle = Castle(mesh, jwks)
        async with Door.of(mesh, "bridge").open(FRESH) as channel:
            ends: list[grpc.StatusCode] = []

            async def answers() -> bool:
                ends.append(await castle.ending(channel))
                return ends[-1] is OK

            try:
                await until(answers, seconds=30)
            except TimeoutError:
                log = (mesh.state_dir / "log" / "envoy.log").read_text()
                pytest.fail(f"calls ended with {set(ends)}; {envoy.rendering.bootstrap}: {log[-3000:]}")
        yield castle
    finally:
        await envoy.stop()
        await jwks.stop()
        await service.stop()


@pytest.mark.parametrize("process", ["bridge", "gateway", "nft", "operator"])
async def test_processes_of_the_mesh_are_let_in(castle: Castle, process: str) -> None:
    line = Door.of(castle.mesh, process).line()
    assert await castle.ending(line.channel) is OK
    await line.close()


async def test_every_authority_is_in_the_certificate(castle: Castle) -> None:
    line = Door.of(castle.mesh, "bridge").line("gamification.mesh")
    assert await castle.ending(line.channel, TAIL) is OK
    await line.close()


async def test_nobody_else_is_let_in(castle: Castle) -> None:
    mesh, address = castle.mesh, castle.mesh.addresses["envoy-internal"]
    members = certificate_path(mesh, MEMBERS_CA)
    assert await castle.ending_by(member_path(mesh, "bridge"), members) is OK, "the control"
    for stranger in (CALLER, "nft", DOOR):
        assert await castle.ending_by(certificate_path(mesh, stranger), members) is UNAVAILABLE, stranger
    async with grpc.aio.insecure_channel(address) as channel:
        assert await castle.ending(channel) is UNAVAILABLE
    named = [("grpc.ssl_target_name_override", server_name(CALLER)), *FRESH]
    nameless = grpc.ssl_channel_credentials(members.read_bytes())
    async with grpc.aio.secure_channel(address, nameless, options=named) as channel:
        assert await castle.ending(channel) is UNAVAILABLE


async def test_a_member_is_not_taken_for_envoy(castle: Castle) -> None:
    """Whoever holds a process's certificate cannot answer in Envoy's place, nor call a service past it."""
    mesh = castle.mesh
    echo, own = Echo("impostor"), member_path(mesh, "nft").read_bytes()
    await echo.start(impostor := Mesh.at(mesh.state_dir, free_ports=True).port("nft"), _showing(own))
    true = certificate_path(mesh, DOOR).read_bytes()
    try:
        shown = Door(f"127.0.0.1:{impostor}", member_path(mesh, "bridge"), certificate_path(mesh, MEMBERS_CA))
        async with shown.open(FRESH) as channel:
            assert await castle.ending(channel) is UNAVAILABLE
        await echo.stop()
        await echo.start(impostor, _showing(true))
        async with shown.open(FRESH) as channel:
            assert await castle.ending(channel) is OK, "the control: Envoy's own certificate is taken"
    finally:
        await echo.stop()
    past = Door(mesh.addresses["gamification"], member_path(mesh, "nft"), certificate_path(mesh, SERVICES_CA))
    async with past.open([*FRESH, ("grpc.default_authority", "gamification.mesh")]) as channel:
        assert await castle.ending(channel) is UNAVAILABLE


def _showing(pair: bytes) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(pair, pair)])


async def test_certificates_and_their_authority_change_without_a_restart_or_a_failed_call(castle: Castle) -> None:
    mesh = castle.mesh
    line = Door.of(mesh, "bridge").line("", FRESH)
    certificates = Certificates(member_path(mesh, "gateway"), certificate_path(mesh, MEMBERS_CA), server_name(CALLER))
    old = (mesh.state_dir / "old.pem", mesh.state_dir / "old-ca.pem")
    for path, copied in zip((member_path(mesh, "bridge"), certificate_path(mesh, MEMBERS_CA)), old, strict=True):
        copied.write_bytes(path.read_bytes())
    codes = [await castle.ending(line.channel)]
    async with Upstream(mesh.addresses["envoy-internal"], security=certificates.security()) as upstream:
        assert await upstream.ready(5)
        for authority in ((), (MEMBERS_CA,)):
            before = serial(mesh, DOOR)
            for name in authority:
                certificate_path(mesh, name).unlink()
            make_certificates(mesh)
            issue(mesh, (DOOR, *MEMBERS))
            await until(lambda number=before: shows_another(mesh, number))  # type: ignore[misc]
            codes += await some(castle, line)
            assert await upstream.ready(5)
    assert set(codes) == {OK}
    await line.close()
    assert await castle.ending_by(*old) is UNAVAILABLE, "whom nobody vouches for any more"


async def some(castle: Castle, line: Line) -> list[grpc.StatusCode]:
    codes = []
    for _ in range(10):
        codes.append(await castle.ending(line.channel))
        await asyncio.sleep(0.02)
    return codes


def serial(mesh: Mesh, name: str) -> int:
    return x509.load_pem_x509_certificate(certificate_path(mesh, name).read_bytes()).serial_number


async def shows_another(mesh: Mesh, number: int) -> bool:
    """Tells whether the listener shows the certificate that is in its file, and that is not the one before."""
    async with Door.of(mesh, "operator").open(FRESH) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), 1)
        except TimeoutError:
            return False
    return serial(mesh, DOOR) != number


async def test_users_keys_are_shown_to_envoy_alone_also_with_another_authority(castle: Castle) -> None:
    mesh, url = castle.mesh, f"https://{castle.mesh.addresses['user-jwks']}/jwks.json"
    async with aiohttp.ClientSession() as session:

        async def shown(name: str) -> bool:
            context = client_context(mesh, name)
            try:
                async with session.get(url, ssl=context, server_hostname=server_name("user-jwks")) as got:
                    return "keys" in await got.json()
            except aiohttp.ClientError:
                return False

        assert await shown(CALLER), "the control"
        assert not await shown("member-gateway")
        for name in (CALLERS_CA, CALLER):
            certificate_path(mesh, name).unlink()
        make_certificates(mesh)
        assert await shown(CALLER)
    castle.jwks.issuer = Issuer("users", kid="key-2")
    token = bearer(castle.jwks.issuer.token(sub="u-1", roles="admin"))
    async with Door.of(mesh, "operator").open() as channel:

        async def accepted() -> bool:
            return (await call(channel, AWARD, token)).code is OK

        await until(accepted)


def client_context(mesh: Mesh, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate_path(mesh, SERVICES_CA)))
    context.load_cert_chain(certificate_path(mesh, name))
    return context
