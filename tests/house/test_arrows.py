"""The import arrows of the architecture: a domain → bridge → services/runtime; nobody imports a domain."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.mesh import ROOT, SERVICES

DOMAINS = {service.name for service in SERVICES}
TOP = ("services", "bridge", "envoy", "gateway")

ALLOWED = {
    "services.mesh": set(),
    "services.contracts": {"services.mesh"},
    "services.telemetry": {"services.mesh", "services.telemetry"},
    "services.runtime": {"services.mesh", "services.contracts", "services.telemetry", "services.runtime"},
    "bridge": {"services.mesh", "services.contracts", "services.telemetry", "services.runtime", "bridge"},
    "envoy": {"services.mesh", "services.contracts", "services.telemetry", "services.runtime", "envoy"},
    "gateway": {"services.mesh", "services.contracts", "services.telemetry", "gateway"},
    "services.domain": {"services.runtime", "bridge"},
    **{
        f"services.{name}": {
            "services.mesh",
            "services.contracts",
            "services.runtime",
            "services.domain",
            "bridge",
            f"services.{name}",
        }
        for name in DOMAINS
    },
}
"""What each part may import of us. Parts that are not named put processes together and may import anything."""


def part_of(module: str) -> str:
    """Returns the part a module belongs to: `services.trading` of `services.trading.api`, `bridge` of `bridge.tail`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "services" and len(parts) > 1 else parts[0]


def modules() -> Iterator[tuple[str, Path]]:
    for top in TOP:
        for path in sorted((ROOT / top).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imported(path: Path) -> Iterator[str]:
    """Yields the parts of ours that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (part_of(name) for name in names if name.split(".")[0] in TOP)


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_it_may(part: str) -> None:
    wrong = {
        f"{module} imports {name}"
        for module, path in modules()
        if part_of(module) == part and not path.name.startswith("__main__")
        for name in imported(path)
        if name not in ALLOWED[part] and name != "services"
    }
    assert not wrong


def test_no_domain_imports_another() -> None:
    crossing = {
        f"{module} imports {name}"
        for module, path in modules()
        if part_of(module).removeprefix("services.") in DOMAINS
        for name in imported(path)
        if name.removeprefix("services.") in DOMAINS and name != part_of(module)
    }
    assert not crossing


def test_the_check_sees_a_crossing_import(tmp_path: Path) -> None:
    """The control: the parser finds what the rules forbid."""
    file = tmp_path / "crossing.py"
    file.write_text("def f():\n    from services.user import model\n    import services.nft.api\n")
    assert set(imported(file)) == {"services.user", "services.nft"}


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_a_model_knows_no_grpc_redis_or_sql(name: str) -> None:
    for path in (ROOT / "services" / name).glob("model*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        names = {
            alias.name.split(".")[0]
            for node in tree
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
        }
        assert not names & {"grpc", "redis", "sqlite3", "astra", "google"}


def test_files_are_of_a_size_to_read() -> None:
    """Past 250 lines (tests 400) a file has two subjects."""
    paths = [*(path for _, path in modules()), *(ROOT / "tests").rglob("*.py")]
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in paths
        if (lines := len(path.read_text().splitlines())) > (400 if path.is_relative_to(ROOT / "tests") else 250)
    }
    assert not too_long
