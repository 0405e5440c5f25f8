"""Users who do things at random by REST, now and then twice, and an admin."""

import random
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from services.local import LocalMesh
from tests.story.rest import Refused, RestClient, Session
from tests.system.journal import Answer, Journal

REPEATED = 0.1
"""Share of commands that are sent a second time, as after a lost reply."""


class Crowd:
    """The users, their chances, and the journal of what they were answered."""

    def __init__(
        self, running: LocalMesh, rest: RestClient, admin: Session, users: Sequence[Session], chance: random.Random
    ) -> None:
        self.running = running
        self.rest = rest
        self.admin = admin
        self.users = users
        self.chance = chance
        self.journal = Journal()

    async def act(self, commands: Sequence[tuple[int, "Command"]]) -> None:
        """Does one thing as one user."""
        ((_, command),) = self.chance.choices(commands, [weight for weight, _ in commands])
        try:
            if await command(self, self.chance.choice(self.users)) is not False:
                self.journal.done[command.__name__] += 1
        except Refused as refused:
            self.journal.refusals[reason_of(refused)] += 1

    async def send(self, path: str, body: dict[str, Any], session: Session) -> Answer:
        """Sends a write, now and then twice; the second answer must be the first."""
        body = {"requestId": uuid.uuid4().hex, **body}
        answer: Answer = await self.rest.post(path, body, session=session)
        if self.chance.random() < REPEATED:
            self.journal.repeats += 1
            again = await self.rest.post(path, body, session=session)
            assert again == answer, f"{path}: a repeat answered {again}, not {answer}"
        return answer

    def other_than(self, user: Session) -> Session:
        return self.chance.choice([other for other in self.users if other is not user])


Command = Callable[[Crowd, Session], Coroutine[Any, Any, bool | None]]
"""Does one thing as a user. Returns False if there was nothing to do."""


def reason_of(refused: Refused) -> str:
    details = refused.body.get("details") if isinstance(refused.body, dict) else None
    return str(details[0].get("reason", refused.status)) if details else str(refused.status)
