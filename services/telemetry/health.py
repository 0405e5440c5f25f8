"""Whether a process lives and is ready, asked of its event loop from another thread."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

Check = Callable[[], Coroutine[Any, Any, str]]
"""Tells what is wrong, in a few words; nothing when all is well."""

ANSWER_SECONDS = 2.0
"""How long the event loop, or one check, may take to answer."""

_STUCK = "no answer in time"


class Health:
    """The checks of one process. Made on its event loop."""

    def __init__(self, checks: Mapping[str, Check], answer_seconds: float = ANSWER_SECONDS) -> None:
        self._checks = checks
        self._answer_seconds = answer_seconds
        self._loop = asyncio.get_running_loop()

    def alive(self) -> Mapping[str, str]:
        """Tells whether the event loop turns; a process whose loop is stuck should be started again."""
        return self._asked(self._turn())

    def ready(self) -> Mapping[str, str]:
        """Runs every check. Returns what is wrong by its name; empty is well."""
        return self._asked(self._wrong())

    def _asked(self, question: Coroutine[Any, Any, Mapping[str, str]]) -> Mapping[str, str]:
        try:
            asked = asyncio.run_coroutine_threadsafe(question, self._loop)
        except RuntimeError:
            question.close()
            return {"loop": "is closed"}
        try:
            # The checks have deadlines of their own, so this one is the loop's.
            return asked.result(2 * self._answer_seconds)
        except TimeoutError:
            asked.cancel()
            return {"loop": _STUCK}

    async def _turn(self) -> Mapping[str, str]:
        return {}

    async def _wrong(self) -> Mapping[str, str]:
        answers = await asyncio.gather(*(self._answer(check) for check in self._checks.values()))
        return {name: answer for name, answer in zip(self._checks, answers, strict=True) if answer}

    async def _answer(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await check()
        except TimeoutError:
            return _STUCK
        except Exception as error:
            # Whatever a check meets is why the process is not ready. Its text may hold an address, and no secret.
            return f"{type(error).__name__}: {error}"[:200]
