"""The mesh that the contracts are tried on: the local one, or one given by addresses in the file of $CONTRACT_MESH."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from services.local import LocalMesh
from services.mesh import ROOT, Mesh
from tests.story.play import make_admin
from tests.story.rest import PASSWORD, RestClient, Session

FILE = "CONTRACT_MESH"
ADMIN = "contract-admin"


@dataclass
class Deployment:
    """A running mesh, asked only through its two doors; `rest` and `admin` are there once it is entered."""

    mesh: Mesh
    admin_name: str
    admin_password: str
    social_python: Sequence[str]
    """A command that runs Python where the database of `social` is: nothing else lets a day pass for a battle."""
    database: str
    """Path of that database there."""
    rest: RestClient = field(init=False)
    admin: Session = field(init=False)

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Reads addresses and admin: `{"gateway", "envoy", "admin", "password", "social_python", "database"}`."""
        read = json.loads(path.read_text())
        addresses = {"gateway": read["gateway"], "envoy-public": read["envoy"]}
        mesh = Mesh(state_dir=Path("/nowhere"), redis_url="", addresses=addresses)
        return cls(mesh, read["admin"], read["password"], read["social_python"], read["database"])

    @classmethod
    async def of_local(cls, running: LocalMesh) -> Self:
        """Takes the mesh of this test session."""
        await make_admin(running, ADMIN)
        return cls(running.mesh, ADMIN, PASSWORD, [sys.executable], str(running.mesh.database("social")))

    @property
    def public(self) -> str:
        """Address of Envoy's public listener."""
        return self.mesh.addresses["envoy-public"]

    async def __aenter__(self) -> Self:
        self.rest = RestClient(self.mesh, patience_seconds=30)
        await self.sign_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rest.__aexit__()

    async def sign_in(self) -> None:
        """Signs the admin in, anew after minutes: a token lasts a quarter of an hour."""
        self.admin = await self.rest.login(self.admin_name, self.admin_password)

    async def let_time_pass(self, battle_id: str) -> None:
        """Makes a battle's timer due now, as a day would."""
        code = textwrap.dedent("""
            import sqlite3, sys
            with sqlite3.connect(sys.argv[1], timeout=10) as database:
                database.execute("UPDATE due SET at_ms = 0 WHERE kind = 'complete_battle' AND key = ?", [sys.argv[2]])
        """)
        command = [*self.social_python, "-c", code, self.database, battle_id]
        await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True, timeout=30)


def given() -> Path | None:
    """Returns the file of $CONTRACT_MESH, if it is set."""
    return Path(os.environ[FILE]) if FILE in os.environ else None
