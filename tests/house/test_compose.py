"""compose.yaml against the map: one name and one number for each thing, and nothing open that need not be."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from services.containers import FOLDERS, REDIS_PORT, container_mesh
from services.mesh import PORTS, ROOT, SERVICES

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
ENTRIES: dict[str, Any] = COMPOSE["services"]
DOMAINS = [service.name for service in SERVICES]
OURS = {name: entry for name, entry in ENTRIES.items() if "monitoring" not in entry.get("profiles", ())}


def test_everything_on_the_map_has_a_container_of_its_name() -> None:
    hosts = {container_mesh().host(name) for name in PORTS}
    assert hosts <= set(ENTRIES)
    react = {f"{name}-react" for name in DOMAINS}
    assert set(OURS) - hosts - react == {
        "setup",
        *(f"{name}{kind}-2" for name in DOMAINS for kind in ("", "-react")),
    }


@pytest.mark.parametrize("name", DOMAINS)
def test_a_domain_serves_and_reacts_in_containers_of_its_own(name: str) -> None:
    serve = ["python", "-m", "services", "serve", name, "--role"]
    assert ENTRIES[name]["command"] == [*serve, "serve"]
    assert ENTRIES[f"{name}-react"]["command"] == [*serve, "react"]
    assert ENTRIES[f"{name}-react-2"]["command"] == [*serve, "react"]
    address = f"0.0.0.0:{container_mesh().port(name)}"
    assert ENTRIES[f"{name}-2"]["command"] == [*serve, "serve", "--address", address]
    for entry in (name, f"{name}-react", f"{name}-2", f"{name}-react-2"):
        assert f"{name}:/var/lib/astra/db/{name}" in ENTRIES[entry]["volumes"]
    assert {ENTRIES[entry]["profiles"][0] for entry in (f"{name}-2", f"{name}-react-2")} == {"scale"}


def test_only_envoy_and_the_gateway_are_published_and_on_loopback_alone() -> None:
    published = {name: entry["ports"] for name, entry in OURS.items() if "ports" in entry}
    assert published == {
        "envoy": [f"127.0.0.1:${{ASTRA_ENVOY_PORT:-{PORTS['envoy-public']}}}:{PORTS['envoy-public']}"],
        "gateway": [f"127.0.0.1:${{ASTRA_GATEWAY_PORT:-{PORTS['gateway']}}}:{PORTS['gateway']}"],
    }
    for entry in ENTRIES.values():
        assert all(port.startswith("127.0.0.1:") for port in entry.get("ports", ()))
    assert {name for name, entry in OURS.items() if "edge" in entry["networks"]} == set(published)
    assert COMPOSE["networks"]["mesh"] == {"internal": True}


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_may_do_only_what_it_must(name: str) -> None:
    entry = OURS[name]
    assert entry["user"] == "10001:10001"
    assert entry["read_only"] is True
    assert entry["cap_drop"] == ["ALL"]
    assert entry["security_opt"] == ["no-new-privileges:true"]
    assert set(entry.get("environment", ())) <= {"ASTRA_LIMITS_TIMES", "ASTRA_CORS_ORIGINS"}, "no secret is there"
    mounted = {volume.split(":")[0]: volume.split(":")[2:] for volume in entry.get("volumes", ())}
    if name != "setup":
        assert "authorities" not in mounted, "who may sign certificates is nobody's business"
        assert mounted.get("keys", ["ro"]) == ["ro"]


def test_every_volume_is_known_and_belongs_to_the_image_s_user() -> None:
    named = {volume.split(":")[0] for entry in OURS.values() for volume in entry.get("volumes", ()) if volume[0] != "."}
    assert named <= set(COMPOSE["volumes"])
    assert named == ({*FOLDERS, *DOMAINS, "bridge"} - {"log"})


def test_whoever_is_needed_is_waited_for_until_it_is_healthy() -> None:
    for name, entry in OURS.items():
        for other, wait in entry.get("depends_on", {}).items():
            done = "service_completed_successfully" if other == "setup" else "service_healthy"
            assert wait == {"condition": done}, f"{name} waits for {other}"


def test_images_are_variables_with_public_defaults() -> None:
    variables = set(re.findall(r"\$\{([A-Z]+_IMAGE):-[a-z][^}]+\}", TEXT))
    assert variables == {
        "ASTRA_IMAGE",
        "PYTHON_IMAGE",
        "REDIS_IMAGE",
        "ENVOY_IMAGE",
        "PROMETHEUS_IMAGE",
        "ALERTMANAGER_IMAGE",
        "GRAFANA_IMAGE",
    }
    assert "redis:7.2" in TEXT
    assert REDIS_PORT == 6379, "what redis-server takes without being told"


@pytest.mark.long
def test_the_older_docker_compose_takes_it_with_every_profile() -> None:
    profiles = ("--profile", "scale", "--profile", "monitoring")
    done = subprocess.run(
        ["docker-compose", *profiles, "config", "--services"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(ENTRIES)
