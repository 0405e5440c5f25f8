"""The rendering against its golden files, the protos, and the real Envoy's own opinion.

`RENEW_GOLDEN=1 pytest tests/unit_envoy/test_render.py` writes the golden files anew; their diff is the review.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from envoy.binary import command, find_binary, inlined, validate
from envoy.endpoints import write_endpoints
from envoy.policy import Policy
from envoy.render import render, service_keys_of
from services.contracts import rpcs
from services.mesh import HOST, PORTS, SERVICES, Mesh

GOLDEN = Path(__file__).parent / "golden"
KEYS = (GOLDEN / "services.jwks.json").read_text()
MESH = Mesh(state_dir=Path("/srv/astra"), redis_url="redis://127.0.0.1:16379/0")


def hosts(listener: str, mesh: Mesh = MESH) -> list[dict[str, Any]]:
    rendering = render(mesh, KEYS)
    tree = yaml.safe_load(rendering.files[rendering.bootstrap])
    (found,) = [item for item in tree["static_resources"]["listeners"] if item["name"] == listener]
    manager = found["filter_chains"][0]["filters"][0]["typed_config"]
    return list(manager["route_config"]["virtual_hosts"])


def paths(host: dict[str, Any]) -> set[str]:
    return {route["match"]["path"] for route in host["routes"] if "path" in route["match"]}


def test_rendering_equals_its_golden_files() -> None:
    rendering = render(replace(MESH, mtls=True), KEYS)
    rendered = {str(path.relative_to("/srv/astra/envoy")): text for path, text in rendering.files.items()}
    if os.environ.get("RENEW_GOLDEN"):
        for name, text in rendered.items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(text)
    golden = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*.yaml")}
    assert rendered.keys() == golden.keys(), "files came or went: RENEW_GOLDEN=1, and delete what is gone"
    for name, text in rendered.items():
        assert text == golden[name], f"{name} changed: look at the diff after RENEW_GOLDEN=1"


def test_public_listener_serves_the_public_rpcs_and_reflection_alone() -> None:
    (host,) = hosts("envoy-public")
    reflection = {path for path in paths(host) if path.startswith("/grpc.reflection.")}
    assert paths(host) - reflection == {rpc.path for rpc in rpcs().values() if rpc.public}
    assert len(reflection) == 2


def test_every_rpc_can_be_called_on_the_internal_listener() -> None:
    served = {path for host in hosts("envoy-internal") for path in paths(host)}
    assert served >= rpcs().keys()


def test_every_route_states_its_token_requirement() -> None:
    for host in (*hosts("envoy-public"), *hosts("envoy-internal")):
        for route in host["routes"]:
            assert "envoy.filters.http.jwt_authn" in route["typed_per_filter_config"], route


def test_write_is_never_retried_once_the_service_may_have_seen_it() -> None:
    for host in (*hosts("envoy-public"), *hosts("envoy-internal")):
        assert host["retry_policy"]["retry_on"] == "connect-failure,refused-stream"
        for route in host["routes"]:
            rpc = rpcs().get(route["match"].get("path", ""))
            if rpc and not rpc.read_only:
                assert "retry_policy" not in route["route"], rpc.path


def test_read_is_cut_to_be_tried_again_unless_it_may_walk_a_whole_history() -> None:
    (host,) = hosts("envoy-public")
    cut = {
        r["match"]["path"] for r in host["routes"] if "per_try_timeout" in r.get("route", {}).get("retry_policy", {})
    }
    reads = {rpc.path for rpc in rpcs().values() if rpc.public and rpc.read_only and not rpc.server_streaming}
    assert reads - cut == {path for path in reads if rpcs()[path].allow == {"ADMIN"}}


def test_real_envoy_accepts_the_rendering(tmp_path: Path) -> None:
    rendering = render(replace(MESH, state_dir=tmp_path), KEYS)
    rendering.write()
    assert validate(rendering, find_binary()) is None


def test_real_envoy_accepts_addresses_that_are_names(tmp_path: Path) -> None:
    addresses = {name: f"{name}:{port}" for name, port in PORTS.items()}
    rendering = render(replace(MESH, state_dir=tmp_path, addresses=addresses), KEYS)
    rendering.write()
    assert len(rendering.files) == 1, "names are for DNS, not for endpoint files"
    assert validate(rendering, find_binary()) is None
    assert inlined(rendering)["admin"]["address"]["socket_address"]["address"] == HOST


@pytest.mark.parametrize(
    ("policy", "keys", "complaint"),
    [(Policy(), '{"keys": []}', "services"), (Policy(unhealthy_threshold=-1), KEYS, "unhealthy_threshold")],
)
def test_real_envoy_says_what_is_wrong(tmp_path: Path, policy: Policy, keys: str, complaint: str) -> None:
    rendering = render(replace(MESH, state_dir=tmp_path), keys, policy)
    rendering.write()
    assert complaint in (validate(rendering, find_binary()) or "accepted")


def test_endpoint_file_is_replaced_by_a_rename(tmp_path: Path) -> None:
    mesh = replace(MESH, state_dir=tmp_path)
    before = write_endpoints(mesh, "trading", ["127.0.0.1:1"]).stat().st_ino
    path = write_endpoints(mesh, "trading", ["127.0.0.1:1", "127.0.0.1:2"])
    assert path.stat().st_ino != before
    assert [item.name for item in path.parent.iterdir()] == ["trading.yaml"]


def test_missing_things_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"services\.jwks\.json: no keys .*make run"):
        service_keys_of(replace(MESH, state_dir=tmp_path))
    with pytest.raises(SystemExit, match="make setup"):
        find_binary({}, tmp_path)
    with pytest.raises(SystemExit, match="ENVOY_BIN=/nowhere: no such file"):
        find_binary({"ENVOY_BIN": "/nowhere"})


def test_binary_is_started_alone_and_by_its_path() -> None:
    line = command(Path("/bin/envoy"), Path("/srv/astra/envoy/envoy.yaml"), log_path=Path("/srv/log"))
    assert line[0] == "/bin/envoy"
    assert line[-2:] == ["--log-path", "/srv/log"]


def test_map_names_every_cluster() -> None:
    rendering = render(MESH, KEYS)
    tree = yaml.safe_load(rendering.files[rendering.bootstrap])
    names = [cluster["name"] for cluster in tree["static_resources"]["clusters"]]
    assert names[: len(SERVICES)] == [service.name for service in SERVICES]
