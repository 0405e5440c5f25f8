"""Who is spoken to and who is let in between Envoy and a service, and how certificates change under calls."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp
import grpc
import pytest
from cryptography import x509

from envoy.binary import find_binary, validate
from envoy.render import render
from services.mesh import SERVICES, Mesh, Service
from services.runtime import certificates
from services.runtime.certificates import (
    CALLER,
    CALLERS_CA,
    SERVICES_CA,
    caller_credentials,
    certificate_path,
    issue,
    make_certificates,
    server_credentials,
)
from tests.unit_envoy.door import Echo, Issuer, RunningEnvoy, call, until

QUOTE = "/astra.trading.v1.TradingService/GetQuote"
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@dataclass
class Fort:
    envoy: RunningEnvoy
    trading: Echo
    channel: grpc.aio.Channel

    @property
    def mesh(self) -> Mesh:
        return self.envoy.mesh

    async def direct(self, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
        """Calls the service past Envoy."""
        address, options = self.mesh.addresses["trading"], [("grpc.ssl_target_name_override", "trading.mesh")]
        made = (
            grpc.aio.secure_channel(address, credentials, options=options)
            if credentials
            else grpc.aio.insecure_channel(address)
        )
        async with made as channel:
            return (await call(channel, QUOTE, timeout_seconds=3)).code


@pytest.fixture
async def fort(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fort]:
    mesh = replace(Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True), mtls=True)
    make_certificates(mesh)
    envoy, trading = RunningEnvoy(mesh, Issuer("services", kid="bridge")), Echo("trading")
    await trading.start(mesh.port("trading"), server_credentials(mesh, "trading"))
    try:
        await envoy.start()
        fort = Fort(envoy, trading, envoy.channel("envoy-public"))
        await until(lambda: answers(fort))
        yield fort
    finally:
        await envoy.stop()
        await trading.stop()


async def answers(fort: Fort) -> bool:
    return (await call(fort.channel, QUOTE)).code is OK


async def test_a_service_takes_envoys_certificate_alone(fort: Fort) -> None:
    trusted = certificate_path(fort.mesh, SERVICES_CA).read_bytes()
    another = certificate_path(fort.mesh, "nft").read_bytes()
    assert await fort.direct(caller_credentials(fort.mesh)) is OK, "the control: this is how Envoy comes"
    assert await fort.direct(None) is not OK
    assert await fort.direct(grpc.ssl_channel_credentials(trusted)) is not OK
    assert await fort.direct(grpc.ssl_channel_credentials(trusted, another, another)) is not OK


async def test_envoy_takes_a_service_by_its_own_name_alone(fort: Fort) -> None:
    await fort.trading.stop()
    await fort.trading.start(fort.mesh.port("trading"), server_credentials(fort.mesh, "nft"))
    for _ in range(3):
        assert (await call(fort.channel, QUOTE, timeout_seconds=3)).code is UNAVAILABLE


async def test_certificates_change_under_calls_without_a_failed_one(fort: Fort) -> None:
    def serial(name: str) -> int:
        return x509.load_pem_x509_certificate(certificate_path(fort.mesh, name).read_bytes()).serial_number

    codes = []
    before = {name: serial(name) for name in ("trading", CALLER)}
    updates = await secret_updates(fort)
    issue(fort.mesh)
    for _ in range(20):
        codes.append((await call(fort.channel, QUOTE)).code)
        await asyncio.sleep(0.02)
    assert all(serial(name) != number for name, number in before.items())

    async def noticed() -> bool:
        return await secret_updates(fort) > updates

    await until(noticed)
    # The service comes back with another connection, on which both show what is new.
    await fort.trading.stop()
    await fort.trading.start(fort.mesh.port("trading"), server_credentials(fort.mesh, "trading"))
    await until(lambda: answers(fort))
    codes.append((await call(fort.channel, QUOTE)).code)
    assert set(codes) == {OK}


async def test_callers_of_another_authority_are_let_in_once_it_is_the_trusted_one(fort: Fort) -> None:
    """A server reads its files before each handshake: what it trusts changes while it runs."""
    old = caller_credentials(fort.mesh)
    for name in (CALLERS_CA, CALLER):
        certificate_path(fort.mesh, name).unlink()
    make_certificates(fort.mesh)
    assert await fort.direct(caller_credentials(fort.mesh)) is OK
    assert await fort.direct(old) is not OK


async def secret_updates(fort: Fort) -> int:
    """Returns how often Envoy has taken up new certificates for the service."""
    url = f"http://{fort.mesh.addresses['envoy-admin']}/stats?filter=cluster.trading.*ssl_context_update_by_sds"
    async with aiohttp.ClientSession() as session, session.get(url) as got:
        return int((await got.text()).rpartition(" ")[2])


def test_real_envoy_accepts_the_rendering_with_certificates(tmp_path_factory: pytest.TempPathFactory) -> None:
    mesh = replace(Mesh.at(tmp_path_factory.mktemp("mesh")), mtls=True)
    make_certificates(mesh)
    rendering = render(mesh, json.dumps(Issuer("services", kid="bridge").jwks()))
    rendering.write()
    assert validate(rendering, find_binary()) is None
    assert not any("PRIVATE KEY" in text for text in rendering.files.values())


def test_what_is_there_stays_and_only_its_owner_may_read_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = replace(Mesh.at(tmp_path_factory.mktemp("mesh")), mtls=True)
    make_certificates(mesh)
    before = {path.name: path.read_bytes() for path in mesh.tls_dir.iterdir()}
    make_certificates(mesh)
    assert {path.name: path.read_bytes() for path in mesh.tls_dir.iterdir()} == before
    monkeypatch.setattr(certificates, "SERVICES", (*SERVICES, Service(name="added", port=1)))
    make_certificates(mesh)
    after = {path.name: path.read_bytes() for path in mesh.tls_dir.iterdir()}
    assert {name for name, content in after.items() if content != before[name]} == {"envoy-internal.pem"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in mesh.tls_dir.iterdir())
    (mesh.tls_dir / f"{SERVICES_CA}.key").unlink()
    certificate_path(mesh, "nft").unlink()
    with pytest.raises(SystemExit, match=r"services-ca\.key: without this key put a certificate for nft in place"):
        make_certificates(mesh)
