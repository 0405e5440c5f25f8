"""What every public rpc promises, on a whole mesh: from the descriptors, through Envoy and the gateway."""

import json
import re
import time
import uuid
from typing import Any

import aiohttp
import grpc
import pytest
from google.api import field_behavior_pb2

from services.contracts import Rpc, rpcs
from tests.contract.conftest import Played, Report
from tests.contract.deployment import Deployment
from tests.contract.rest_calls import routes_of
from tests.contract.walk import PUBLIC, untried
from tests.flows.test_grpcurl import CALLED_ELSEWHERE, grpcurl
from tests.serving import reason_of
from tests.story.rest import Session

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

CALLED = [rpc for name, rpc in PUBLIC.items() if name not in CALLED_ELSEWHERE]
UNARY = [rpc for rpc in PUBLIC.values() if not rpc.server_streaming]
WRITES = [rpc for rpc in UNARY if "request_id" in rpc.request.DESCRIPTOR.fields_by_name]
ENDS_THE_ACCESS = {"ChangePassword"}
"""A repeat comes from somebody who is signed out."""
AT_THE_DOOR = ("PERMISSION_DENIED", "")
"""How Envoy itself refuses by access."""
TOO_SHORT = "0.0001"
"""Seconds in which nothing is answered."""


def every(chosen: list[Rpc]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rpc", chosen, ids=lambda rpc: rpc.name)


async def test_reflection_lists_every_service_and_every_rpc(deployment: Deployment) -> None:
    code, out, err = await grpcurl(deployment, "list")
    assert code == 0, err
    services = {rpc.service for rpc in PUBLIC.values()}
    assert services <= set(out.split())
    listed: set[str] = set()
    for service in services:
        code, out, err = await grpcurl(deployment, "list", service)
        assert code == 0, err
        listed |= set(out.split())
    assert {rpc.path[1:].replace("/", ".") for rpc in PUBLIC.values()} - listed == set()


async def test_every_public_rpc_is_called(played: Played) -> None:
    assert untried(played.walk) == set()


@every(CALLED)
async def test_grpcurl_and_its_rest_route_call_it(rpc: Rpc, played: Played, report: Report) -> None:
    assert rpc.name not in played.grpcurl_failures, played.grpcurl_failures[rpc.name]
    assert rpc.name not in played.walk.failed, played.walk.failed[rpc.name]
    report.routes += [str(route) for route in routes_of(rpc)]
    report.rpcs.append(rpc.path)


@every([rpc for rpc in WRITES if rpc.name not in CALLED_ELSEWHERE | ENDS_THE_ACCESS])
async def test_a_repeat_with_its_request_id_is_answered_the_same(rpc: Rpc, played: Played) -> None:
    assert played.walk.repeated[rpc.name] == "the same"


@every(UNARY)
async def test_it_refuses_with_the_promised_code_and_reason(rpc: Rpc, deployment: Deployment, anyone: Session) -> None:
    for what, token, request, refusal in refusals(rpc, anyone, deployment.admin.token):
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        async with grpc.aio.insecure_channel(deployment.public) as channel:
            call: Any = channel.unary_unary(rpc.path, request_serializer=rpc.request.SerializeToString)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request, metadata=metadata, timeout=10)
        assert (caught.value.code().name, reason_of(caught.value)) in refusal, f"{what}: {caught.value.details()}"


def refusals(rpc: Rpc, anyone: Session, admin: str) -> list[tuple[str, str, Any, list[tuple[str, str]]]]:
    """Returns what must be refused: what is wrong, with which token, the request, and the codes and reasons."""
    found = []
    own = rpc.request(**({rpc.acting_user: anyone.user_id} if rpc.acting_user else {}))
    if "OPEN" not in rpc.allow:
        found.append(("nobody calls", "", own, [("UNAUTHENTICATED", ""), ("UNAUTHENTICATED", "UNAUTHENTICATED")]))
    if "SELF" in rpc.allow:
        other = rpc.request(**{rpc.acting_user: "somebody-else"})
        found.append(("for another", anyone.token, other, [("PERMISSION_DENIED", "NOT_YOURSELF")]))
    if not rpc.allow & {"OPEN", "PUBLIC", "SELF"}:
        found.append(("no admin", anyone.token, own, [("PERMISSION_DENIED", "ROLE_REQUIRED"), AT_THE_DOOR]))
    required = [
        field.name
        for field in rpc.request.DESCRIPTOR.fields
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]
    token = admin if "ADMIN" in rpc.allow else anyone.token if "OPEN" not in rpc.allow else ""
    if [name for name in required if name != rpc.acting_user]:
        found.append(("a field is missing", token, own, [("INVALID_ARGUMENT", "FIELD_REQUIRED")]))
    absent = [reason for reason in rpc.error_reasons if reason.endswith("_NOT_FOUND")]
    ids = [name for name in required if name.endswith("_id") and name != rpc.acting_user]
    if absent and ids == [name for name in required if name != rpc.acting_user] and ids:
        nowhere = rpc.request(**{name: uuid.uuid4().hex for name in ids})
        if rpc.acting_user:
            setattr(nowhere, rpc.acting_user, anyone.user_id)
        found.append(("there is none", token, nowhere, [("NOT_FOUND", reason) for reason in absent]))
    return found


@every(UNARY)
async def test_a_deadline_that_is_over_ends_the_call(rpc: Rpc, deployment: Deployment, anyone: Session) -> None:
    route = routes_of(rpc)[0]
    path = re.sub(r"\{[^}]*\}", "x", route.template.replace("{board}", "BOARD_ALL_TIME"))
    caller = deployment.admin if "ADMIN" in rpc.allow else anyone
    headers = {"authorization": f"Bearer {caller.token}", "x-server-timeout": TOO_SHORT}
    began = time.monotonic()
    async with (
        aiohttp.ClientSession(f"http://{deployment.mesh.addresses['gateway']}") as http,
        http.request(route.method, path, json={} if route.body else None, headers=headers) as answer,
    ):
        body = json.loads(await answer.read())
    assert answer.status == 504, body
    assert time.monotonic() - began < 5


async def test_no_two_rpcs_have_one_name() -> None:
    """What stands under a name here would hide another."""
    assert {rpc.path for rpc in rpcs().values() if rpc.public} == {rpc.path for rpc in PUBLIC.values()}
