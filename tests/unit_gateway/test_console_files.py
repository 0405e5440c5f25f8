"""The console's files: served where there is a console, unchanged by who asks, and at home with nobody else."""

import re

import pytest

from gateway.settings import Settings
from services.mesh import ROOT
from tests.unit_gateway.backend import served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(("Named", "GET", {"path": "/read"}))
STATIC = ROOT / "gateway" / "console" / "static"


@pytest.mark.parametrize(
    ("path", "status", "content_type"),
    [
        ("/console", 200, "text/html"),
        ("/console/", 200, "text/html"),
        ("/console/app.js", 200, "text/javascript"),
        ("/console/views/map.js", 200, "text/javascript"),
        ("/console/console.css", 200, "text/css"),
        ("/console/nothing.js", 404, "application/json"),
        ("/console/..%2Ffiles.py", 404, "application/json"),
        ("/console/files.py", 404, "application/json"),
        ("/consoles", 404, "application/json"),
    ],
)
async def test_files_of_the_console_are_served(path: str, status: int, content_type: str) -> None:
    async with served(RULES, Settings(console=True)) as gateway, gateway.client.get(path) as answer:
        assert (answer.status, answer.content_type) == (status, content_type)
        if status == 200:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


async def test_files_are_read_only_and_of_the_mesh_alone() -> None:
    async with served(RULES, Settings(console=True)) as gateway:
        assert (await gateway.ask("POST", "/console"))[0] == 405
    async with served(RULES, Settings()) as gateway:
        assert (await gateway.ask("GET", "/console"))[0] == 404


def test_files_name_no_address_of_elsewhere() -> None:
    """The page asks nobody but its gateway: its policy forbids more, and nothing tries."""
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        addresses = set(re.findall(r"https?://[^\"'\s)]+", path.read_text())) - {"http://www.w3.org/2000/svg"}
        assert addresses == set(), path


def test_every_file_is_asked_for_by_another() -> None:
    """A file that nobody imports or links is dead; one that is missing breaks the page."""
    named = {"index.html"}
    for path in STATIC.rglob("*"):
        if path.is_file():
            for name in re.findall(r"[\"'](?:/console|\.{1,2})/([a-z_/]+\.(?:js|css|svg))[\"']", path.read_text()):
                beside = path.parent if f'"./{name}"' in path.read_text() else STATIC
                named.add((beside / name).relative_to(STATIC).as_posix())
    assert named == {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
