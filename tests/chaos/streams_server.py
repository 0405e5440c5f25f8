"""The Redis under test: the one of `make run`, which can lose the end of its AOF, rewrite it, or be full."""

import asyncio
import hashlib
import subprocess
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.local import redis_server
from services.mesh import Mesh
from tests.unit_bridge.polling import until

PASSWORD = "chaos"


class StreamsServer:
    """One server of the mesh, with AOF everysec; and a client that may do everything."""

    def __init__(self, mesh: Mesh) -> None:
        self._command = redis_server.command(mesh)
        self._folder = mesh.state_dir / "redis"
        self._log = mesh.state_dir / "log" / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        redis_server.render(mesh)
        with (self._folder / "users.acl").open("a") as acl:
            acl.write(f"user chaos on #{hashlib.sha256(PASSWORD.encode()).hexdigest()} ~* &* +@all\n")
        self.client: Redis = Redis.from_url(
            mesh.redis_url, username="chaos", password=PASSWORD, retry=Retry(NoBackoff(), 0), socket_timeout=10
        )

    async def start(self) -> None:
        """Starts it and waits until it has read its AOF."""
        self._launch()
        await until(self._answers, "the start of Redis", 30)

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        """Ends it as the loss of its process would: the operating system still has every byte it wrote."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def cut(self, most_bytes: int) -> int:
        """Takes bytes off the end of the AOF, as a power cut does. Returns how many. The server must be down."""
        return cut_file(self._folder, most_bytes)

    async def rewrite(self) -> None:
        """Has the AOF rewritten, in the background."""
        await self.client.bgrewriteaof()

    async def fill(self) -> None:
        """Leaves it no memory: every command that may need some is refused."""
        await self.client.config_set("maxmemory", 1_000_000)

    async def free(self) -> None:
        """Gives it its memory back."""
        await self.client.config_set("maxmemory", redis_server.MAX_MEMORY)

    async def close(self) -> None:
        await self.client.aclose()
        self.kill()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                return bool(await self.client.ping())
        except (RedisError, OSError, TimeoutError):
            return False


def cut_file(folder: Path, most_bytes: int) -> int:
    """Takes bytes off the end of the AOF in a server's folder. Returns how many."""
    files = sorted(folder.glob("appendonlydir/*.incr.aof"), key=lambda file: int(file.name.split(".")[-3]))
    if not files:
        return 0
    size = files[-1].stat().st_size
    taken = min(size, most_bytes)
    with files[-1].open("r+b") as held:
        held.truncate(size - taken)
    return taken
