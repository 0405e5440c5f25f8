"""The mesh of compose.yaml as a project of its own: builds, starts, stops parts of it, and takes it all away again."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Mapping

from services.mesh import ROOT, Mesh
from tests.containers.commands import CommandFailed, run

BUILD_SECONDS = 600
UP_SECONDS = 420
HEALTHY_SECONDS = 90.0


class Project:
    """One mesh in containers, on free ports of loopback, in volumes of its own."""

    def __init__(self, engine: Mapping[str, str], images: Mapping[str, str]) -> None:
        outside = Mesh.at(ROOT / "build", free_ports=True)
        self.gateway, self.envoy = outside.addresses["gateway"], outside.addresses["envoy-public"]
        self.name = f"astra{uuid.uuid4().hex[:6]}"
        self.environment = {
            **engine,
            **images,
            "COMPOSE_PROJECT_NAME": self.name,
            "ASTRA_GATEWAY_PORT": str(outside.port("gateway")),
            "ASTRA_ENVOY_PORT": str(outside.port("envoy-public")),
            "ASTRA_LIMITS_TIMES": "1000",
            "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0"),
        }
        self._compose = compose_command(engine)

    @classmethod
    def of_environment(cls) -> "Project":
        """Returns the project that `make contract` has started, for a test that stops parts of it."""
        project = cls.__new__(cls)
        project.environment = dict(os.environ)
        project.name = os.environ["COMPOSE_PROJECT_NAME"]
        project._compose = compose_command(os.environ)
        return project

    def build(self) -> None:
        """Builds our image."""
        self._run("build", seconds=BUILD_SECONDS)

    def up(self) -> None:
        """Starts everything, in the order of health, and returns when all of it is healthy."""
        self._run("up", "-d", seconds=UP_SECONDS)
        for service in self.containers():
            self.wait_healthy(service)

    def down(self) -> None:
        """Takes containers, networks and volumes away."""
        self._run("down", "--volumes", "--timeout", "5", seconds=UP_SECONDS)

    def containers(self) -> dict[str, str]:
        """Returns the ids of the containers that are to stay, by their entry in compose.yaml."""
        label = f"label=com.docker.compose.project={self.name}"
        shape = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        listed = self.docker("ps", "--all", "--filter", label, "--format", shape)
        found = dict(line.split() for line in listed.splitlines() if "_run_" not in line)
        return {service: found[service] for service in sorted(found) if service != "setup"}

    def stop(self, service: str) -> None:
        """Stops a container as an operator does."""
        self.docker("stop", self.containers()[service])

    def start(self, service: str) -> None:
        self.docker("start", self.containers()[service])

    def wait_healthy(self, service: str) -> None:
        """Returns when the container's own health check passes."""
        container = self.containers()[service]
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            state = json.loads(self.docker("inspect", "--format", "{{json .State}}", container))
            if state["Running"] and state.get("Health", {}).get("Status") == "healthy":
                return
            if time.monotonic() > deadline:
                logs = self.docker("logs", "--tail", "30", container)
                raise CommandFailed(f"{service} is not healthy: {json.dumps(state)[:1500]}\n{logs}")
            time.sleep(0.3)

    def make_admin(self, name: str, password: str) -> None:
        """Makes the first admin in the container of `user`; the password goes in by standard input."""
        script = 'ASTRA_ADMIN_PASSWORD="$(cat)" exec python -m services make-admin "$0"'
        command = ["docker", "exec", "--interactive", self.containers()["user"], "sh", "-c", script, name]
        subprocess.run(command, env=self.environment, input=password, text=True, check=True, timeout=60)

    def docker(self, *arguments: str, seconds: float = 60) -> str:
        return run(["docker", *arguments], seconds=seconds, env=self.environment)

    def _run(self, *arguments: str, seconds: float) -> str:
        return run([*self._compose, *arguments], seconds=seconds, env=self.environment, cwd=str(ROOT))


def compose_command(environment: Mapping[str, str]) -> list[str]:
    """Returns the plugin `docker compose`, or else the older `docker-compose`."""
    try:
        run(["docker", "compose", "version"], seconds=30, env=environment)
    except CommandFailed:
        return ["docker-compose"]
    return ["docker", "compose"]
