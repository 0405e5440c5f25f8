"""Slots and leases: who has which name, and who does what only one may do."""

import os
import subprocess
import sys
from pathlib import Path

from services.mesh import ROOT
from services.runtime import leases
from services.runtime.slots import Slots
from tests.conftest import OpenStore

HOLD = "import sys, pathlib; from services.runtime.slots import Slots; s = Slots(pathlib.Path(sys.argv[1]), 'g', 2)"


def test_processes_share_the_numbers_and_a_killed_one_frees_its_own(tmp_path: Path) -> None:
    code = f"{HOLD}; print(s.numbers, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "[0, 1]"
        with Slots(tmp_path, "g", 2) as own, Slots(tmp_path, "another", 1) as another:
            assert (own.numbers, another.numbers) == ([2, 3], [0])
        other.kill()
    with Slots(tmp_path, "g", 3) as again:
        assert again.numbers == [0, 1, 2]
    assert all(os.path.getsize(file) == 0 for file in tmp_path.iterdir())


async def test_a_lease_is_one_holders_until_it_expires_or_is_given_back(open_store: OpenStore) -> None:
    now = [0]
    store = open_store(clock=lambda: now[0])

    async def take(holder: str) -> bool:
        return await store.write(lambda tx: leases.take(tx, "work", holder, ms=100))

    assert await take("a")
    assert not await take("b")
    now[0] = 99
    assert await take("a"), "renewed"
    now[0] = 198
    assert not await take("b")
    now[0] = 199
    assert store.read_now(lambda db: leases.holds(db, "work", "a")), "expired, but nobody has taken it"
    assert await take("b")
    assert not store.read_now(lambda db: leases.holds(db, "work", "a"))
    await store.write(lambda tx: leases.give_back(tx, "work", "a"))
    assert not await take("a"), "it was not a's to give back"
    await store.write(lambda tx: leases.give_back(tx, "work", "b"))
    assert await take("a")
