"""A clock moved by hand, requests that are in order unless a test says otherwise, and what the database holds."""

from argon2 import PasswordHasher
from astra.event.v1.envelope_pb2 import Envelope
from astra.user.v1 import user_service_pb2 as pb

from services.runtime.store import Store

PASSWORD = "correct-horse-9"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
START_MS = 1_800_000_000_000


class HandClock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


def registering(username: str = "ann", **fields: str) -> pb.RegisterUserRequest:
    email = f"{username.lower()}@example.org"
    return pb.RegisterUserRequest(**{"username": username, "email": email, "password": PASSWORD, **fields})


def signing_in(username: str = "ann", password: str = PASSWORD) -> pb.LoginRequest:
    return pb.LoginRequest(username=username, password=password)


def envelopes(store: Store) -> list[Envelope]:
    """Returns every envelope of the outbox, by stream and ordinal."""
    rows = store.read_now(lambda db: db.all("SELECT envelope FROM outbox ORDER BY stream, ordinal"))
    return [Envelope.FromString(row["envelope"]) for row in rows]


def count(store: Store, table: str) -> int:
    return int(store.read_now(lambda db: db.value(f"SELECT count(*) FROM {table}")))
