"""How an Envoy starts: before the user service, with keys that change, and as the process that was asked to serve."""

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc
import pytest

from envoy.binary import find_binary
from envoy.policy import Policy
from services.mesh import ROOT, Mesh
from tests.unit_envoy.door import Echo, Issuer, Jwks, RunningEnvoy, admin_ready, bearer, call, children, until

AWARD = "/astra.gamification.v1.GamificationService/AwardXp"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)


async def test_order_of_starting_does_not_matter_and_keys_rotate(mesh: Mesh) -> None:
    users, processes, service = Issuer("users"), Issuer("services", kid="bridge"), Echo("gamification")
    envoy, jwks = RunningEnvoy(mesh, processes, Policy(jwks_cache_seconds=1)), Jwks(users)
    try:
        await envoy.start()
        internal = envoy.channel("envoy-internal")

        async def accepted(token: str) -> bool:
            return (await call(internal, AWARD, bearer(token))).code is grpc.StatusCode.OK

        await service.start(mesh.port("gamification"))
        await until(lambda: accepted(processes.token(sub="service:bridge")), seconds=3)
        early = await call(internal, AWARD, bearer(users.token(sub="u-1", roles="admin")))
        assert early.code is grpc.StatusCode.UNAUTHENTICATED
        assert (await call(internal, REFLECTION)).seen["service"] == "gamification", "the others never were up"

        await jwks.start(mesh.port("user-jwks"))
        await until(lambda: accepted(users.token(sub="u-1", roles="admin")), seconds=3)

        old = users.token(sub="u-1", roles="admin")
        assert await accepted(old)
        jwks.issuer = Issuer("users", kid="key-2")
        await until(lambda: accepted(jwks.issuer.token(sub="u-1", roles="admin")), seconds=5)
        assert not await accepted(old)
    finally:
        await envoy.stop()
        await jwks.stop()
        await service.stop()


async def test_serving_process_runs_envoy_without_pythons_environment(mesh: Mesh) -> None:
    mesh.keys_dir.mkdir(parents=True)
    (mesh.keys_dir / "services.jwks.json").write_text(json.dumps(Issuer("services").jwks()))
    log = mesh.state_dir / "own.log"
    environment = {**os.environ, "ASTRA_MESH": str(mesh.save()), "PYTHONPATH": str(ROOT)}
    line = (sys.executable, "-m", "envoy", "serve", "--log-path", str(log))
    process = await asyncio.create_subprocess_exec(*line, env=environment, cwd=ROOT)
    try:
        await until(lambda: admin_ready(mesh))
        (child,) = children(process.pid)
        running = Path(f"/proc/{child}")
        assert (running / "exe").readlink() == find_binary()
        assert b"PYTHONPATH" not in (running / "environ").read_bytes()
    finally:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert log.exists()
