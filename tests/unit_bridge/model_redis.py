"""A model of what the append meets in Redis: one stream, the script's meaning, and every way a server can fail.

The model is an object with the few commands of a client that `bridge.append` uses. `Real` has the same face over a
server, with the script as it is or with a planted fault; `Both` asks the two and compares every answer.
"""

import asyncio
from pathlib import Path
from typing import Any

import redis as sync_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

import bridge.append
from bridge.ids import parse

STREAM = "astra.trading.trade_executed.v1"
SCRIPT = (Path(bridge.append.__file__).with_name("append.lua")).read_text()
REFUSALS: dict[str, type[ResponseError]] = {"oom": OutOfMemoryError, "readonly": ReadOnlyError}


class Model:
    """One stream as Redis keeps it: what is present, and the last id it ever gave out."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, bytes]] = []
        self.last = "0-0"
        self.there = False
        self.refuses = ""
        """`oom` or `readonly` while writes are refused."""
        self.room = 0
        """Entries that a server which is about to be full still takes, in the middle of a script."""

    async def execute_command(self, command: str, _script: str, _keys: int, _key: str, *arguments: Any) -> Any:
        assert command in {"EVALSHA", "EVAL"}
        prev, batch = arguments[0], list(zip(arguments[1::2], arguments[2::2], strict=True))
        ids = [id_ for id_, _ in batch]
        if self.last == prev:
            first = 0
        elif self.last in ids:
            first = ids.index(self.last) + 1
        else:
            return [-1, self.last.encode()]
        for id_, envelope in batch[first:]:
            if self.refuses and self.room == 0:
                raise REFUSALS[self.refuses]("refused")
            self.room -= bool(self.refuses)
            self.add(id_, envelope)
        return [len(batch) - first, self.last.encode()]

    async def xinfo_stream(self, _key: str) -> Any:
        if not self.there:
            raise ResponseError("no such key")
        return {"last-generated-id": self.last.encode()}

    def add(self, id_: str, envelope: bytes) -> None:
        assert parse(id_) > parse(self.last), "Redis takes rising ids alone"
        self.entries.append((id_, envelope))
        self.last, self.there = id_, True

    def refuse(self, why: str, room: int = 0) -> None:
        self.refuses, self.room = why, room

    def trim(self, keep: int) -> None:
        del self.entries[: max(0, len(self.entries) - keep)]

    def roll_back(self, entries: list[tuple[str, bytes]]) -> None:
        """Sets the stream to what it was when these were all that was present; to nothing for none."""
        self.entries, self.last = list(entries), entries[-1][0] if entries else "0-0"
        self.there = bool(entries)


class Real:
    """The same, on a server."""

    def __init__(self, port: int, script: str = SCRIPT) -> None:
        self._redis: Any = sync_redis.Redis(port=port)
        self.script = script
        self._refuses: str | None = None
        self.clear()

    def clear(self) -> None:
        self.refuse("")
        self._redis.flushall()

    async def execute_command(self, _command: str, _script: str, keys: int, key: str, *arguments: Any) -> Any:
        return self._redis.eval(self.script, keys, key, *arguments)

    async def xinfo_stream(self, key: str) -> Any:
        return self._redis.xinfo_stream(key)

    @property
    def entries(self) -> list[tuple[str, bytes]]:
        found: Any = self._redis.xrange(STREAM)
        return [(id_.decode(), fields[b"e"]) for id_, fields in found]

    @property
    def last(self) -> str:
        return asyncio.run(bridge.append.last_id(self, STREAM))  # type: ignore[arg-type]

    def add(self, id_: str, envelope: bytes) -> None:
        self._redis.xadd(STREAM, {"e": envelope}, id=id_)

    def refuse(self, why: str, room: int = 0) -> None:
        """Sets the server up only when that changes something: most of a run's time would go into it."""
        assert room == 0, "a server that has room at a script's start has it to its end"
        if why == self._refuses:
            return
        self._refuses = why
        self._redis.config_set("maxmemory", 1 if why == "oom" else 0)
        if why == "readonly":
            self._redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        elif self._redis.info("replication")["role"] != "master":
            self._redis.execute_command("REPLICAOF", "NO", "ONE")

    def trim(self, keep: int) -> None:
        self._redis.xtrim(STREAM, maxlen=keep, approximate=False)

    def roll_back(self, entries: list[tuple[str, bytes]]) -> None:
        self._redis.delete(STREAM)
        for id_, envelope in entries:
            self.add(id_, envelope)

    def close(self) -> None:
        self.refuse("")
        self._redis.close()


class Both:
    """The model and a server side by side; an answer or a content in which they differ is a failure."""

    def __init__(self, real: Real) -> None:
        self.real = real
        self.model = Model()

    async def execute_command(self, *arguments: Any) -> Any:
        return await self._compare("execute_command", *arguments)

    async def xinfo_stream(self, key: str) -> Any:
        (answer,) = [await self._compare("xinfo_stream", key)]
        return answer

    async def _compare(self, name: str, *arguments: Any) -> Any:
        outcomes = []
        for side in (self.model, self.real):
            try:
                answer = await getattr(side, name)(*arguments)
                outcomes.append(answer["last-generated-id"] if isinstance(answer, dict) else answer)
            except ResponseError as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1], f"the model answers {outcomes[0]}, the server {outcomes[1]}"
        if isinstance(outcomes[0], type):
            raise outcomes[0]("no such key" if outcomes[0] is ResponseError else "refused")
        return {"last-generated-id": outcomes[0]} if name == "xinfo_stream" else outcomes[0]

    @property
    def entries(self) -> list[tuple[str, bytes]]:
        assert self.model.entries == self.real.entries
        return self.model.entries

    @property
    def last(self) -> str:
        assert self.model.last == self.real.last
        return self.model.last

    def add(self, id_: str, envelope: bytes) -> None:
        self.model.add(id_, envelope)
        self.real.add(id_, envelope)

    def refuse(self, why: str, room: int = 0) -> None:
        self.model.refuse(why, room)
        self.real.refuse(why, room)

    def trim(self, keep: int) -> None:
        self.model.trim(keep)
        self.real.trim(keep)

    def roll_back(self, entries: list[tuple[str, bytes]]) -> None:
        self.model.roll_back(entries)
        self.real.roll_back(entries)


class Line:
    """The way to a server, on which a request or its reply may get lost."""

    def __init__(self, server: Any, fault: str = "") -> None:
        self._server = server
        self._fault = fault

    async def execute_command(self, *arguments: Any) -> Any:
        if self._fault == "request":
            raise RedisConnectionError("the request was lost")
        answer = await self._server.execute_command(*arguments)
        if self._fault == "reply":
            raise RedisConnectionError("the reply was lost")
        return answer

    async def xinfo_stream(self, key: str) -> Any:
        return await self._server.xinfo_stream(key)
