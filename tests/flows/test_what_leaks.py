"""No password, token, e-mail address or card number in anything that the mesh says; run last, over all other flows."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.user.v1.events_pb2 import UserRegistered

from tests.story.day import DECLINED
from tests.story.play import Stage
from tests.story.privacy import Text, everything_said, kinds_of, leaks
from tests.story.rest import PASSWORD, Refused, Session

NUMBER = 4000000000000002
"""A card, or a bad password, where a string should be: the gateway refuses it before any service sees it."""

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refused(stage: Stage, path: str, body: dict[str, Any], session: Session | None = None) -> None:
    with pytest.raises(Refused):
        await stage.rest.post(path, body, session=session, with_request_id=not path.startswith("/v1/sessions"))


async def provoke(stage: Stage) -> None:
    """Makes the errors whose messages could repeat what was sent."""
    name = f"l{uuid.uuid4().hex[:12]}"
    await stage.rest.register(name)
    session = await stage.rest.login(name)
    email, mine = f"{name}@example.com", f"/v1/users/{session.user_id}"
    await refused(stage, "/v1/users", {"username": f"{name}2", "email": email, "password": PASSWORD})
    await refused(stage, "/v1/users", {"username": f"{name}2", "email": f"not-{email}@", "password": PASSWORD})
    await refused(stage, "/v1/users", {"username": email, "email": email, "password": PASSWORD})
    await refused(stage, "/v1/users", {"username": f"{name}2", "email": email.upper(), "password": email})
    await refused(stage, "/v1/users", {"username": f"{name}2", "email": {"at": email}, "password": [PASSWORD]})
    await refused(stage, "/v1/users", {"username": f"{name}2", "email": f"2{email}", "password": NUMBER})
    await refused(stage, "/v1/sessions", {"username": name, "password": f"not {PASSWORD}"})
    await refused(stage, "/v1/sessions", {"username": email, "password": PASSWORD})
    await refused(stage, "/v1/sessions:refresh", {"refreshToken": f"{session.refresh_token}x"})
    stranger = Session(user_id=session.user_id, token=f"{session.token}x")
    await refused(stage, f"{mine}/account:deposit", {}, stranger)
    wrong = {"currentPassword": f"not {PASSWORD}", "newPassword": f"new {PASSWORD}"}
    await refused(stage, f"{mine}:changePassword", wrong, session)
    usd = {"currencyCode": "USD", "amount": "10"}
    for card in (DECLINED, {**DECLINED, "number": "4000000000000003"}, {**DECLINED, "number": NUMBER}, str(NUMBER)):
        await refused(stage, f"{mine}/account:deposit", {"amount": usd, "card": card}, session)


async def test_nothing_that_the_mesh_says_holds_a_secret(stage: Stage) -> None:
    await provoke(stage)
    said = await everything_said(stage)
    assert len(kinds_of(said)) >= 3
    assert {where for where, _ in said} >= {
        "the refusal of POST /v1/users",
        "envoy-admin/stats/prometheus",
        "user: a row of outbox",
    }
    assert len(stage.rest.secrets) >= 10
    found = sorted(set(leaks(said, stage.rest.secrets)))
    assert not found, "\n".join(found[:20])


async def test_a_planted_secret_is_found_wherever_it_is_said(stage: Stage, tmp_path: Path) -> None:
    log = stage.running.mesh.state_dir / "log" / "planted.log"
    log.write_text("{'event': 'user.registered', 'email': 'somebody@example.com'}\n")
    try:
        said = await everything_said(stage)
    finally:
        log.unlink()
    assert list(leaks(said, ())) == ["planted.log:1 has an e-mail address"]
    event = UserRegistered(user_id="u", username="ada", display_name="ada@example.com")
    planted: list[Text] = [
        ("event", Envelope(id="e", data=event.SerializeToString()).SerializeToString()),
        ("metric", f'logins_total{{token="{stage.admin.token}"}} 1'.encode()),
        ("refusal", b'{"message": "the password correct horse battery is wrong"}'),
        ("row", f"7|{stage.admin.refresh_token}".encode()),
        ("clean", b"nothing to see"),
    ]
    told = {sentence.split()[0] for sentence in leaks(planted, stage.rest.secrets)}
    assert told == {"event", "metric", "refusal", "row"}
