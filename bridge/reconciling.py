"""The operator's side of `reconcile`: says what it sees, does what is chosen, and says what to do next."""

import grpc
import typer
from redis.exceptions import RedisError

from bridge.outbox_client import OutboxClient
from bridge.reconcile import CannotReconcile, read_histories, take_outbox, take_stream
from bridge.tail import TailClient
from services import contracts
from services.mesh import Mesh
from services.runtime.credentials import ServiceToken
from services.runtime.door import Door
from services.runtime.redis_client import connect

DONE, FAILED, UNDECIDED = 0, 1, 2


async def run(mesh: Mesh, stream: str, take: str) -> int:
    """Reconciles a stream and returns the exit code: 2 if the histories differ and nothing was chosen."""
    kind = contracts.events().get(stream)
    if kind is None or take not in ("", "outbox", "stream"):
        typer.echo(f"{stream!r} is no stream" if kind is None else "--take is `outbox` or `stream`", err=True)
        return FAILED
    token = ServiceToken(mesh.keys_dir, "bridge")
    door = Door.of(mesh, "bridge")
    tail = TailClient(door, kind.domain, token.bearer)
    outboxes = OutboxClient(door, token.bearer)
    redis = connect(mesh, "bridge")
    try:
        histories = await read_histories(redis, tail, stream)
        if histories is None:
            typer.echo(f"{stream}: the outbox knows where the stream ends; there is nothing to reconcile")
            return DONE
        typer.echo(histories.describe())
        if take == "outbox":
            file = await take_outbox(redis, histories, mesh.state_dir / "reconciled")
            typer.echo(f"The stream is empty; what only it had is in {file}.")
        elif take == "stream":
            taken = await take_stream(outboxes, histories)
            typer.echo(f"The outbox has taken over {taken} entries; its own follow them.")
        else:
            typer.echo(f"Choose: --take {'stream' if histories.continues else 'outbox'} is possible here.")
            return UNDECIDED
        typer.echo("The bridge goes on with this stream within a few seconds.")
    except (CannotReconcile, RedisError, OSError, TimeoutError, grpc.aio.AioRpcError) as error:
        text = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        typer.echo(f"{stream}: {text}", err=True)
        return FAILED
    finally:
        await tail.close()
        await outboxes.close()
        await redis.aclose()
    return DONE
