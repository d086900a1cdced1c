"""The house's rules on who may import whom: the processes meet only through topics."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("schemas", "service", "ingest_gateway", "streams", "sinks", "console", "millrace")
# package -> what of ours it may import besides itself
ALLOWED = {
    "schemas": set(),
    "service": {"schemas"},
    "ingest_gateway": {"schemas", "service"},
    "streams": {"schemas", "service"},
    "sinks": {"schemas", "service"},
    "console": {"schemas", "service"},
    "millrace": {"schemas", "service"},
}
# These libraries stand behind one seam each. The sender plays a client, which knows nothing of our codec.
SEAMS = {
    "fastavro": ("schemas/",),
    "google.protobuf": ("schemas/", "millrace/sender.py"),
    "opentelemetry": ("schemas/", "ingest_gateway/", "millrace/sender.py"),
    "faust": ("streams/",),
    "duckdb": ("sinks/",),
    "pyiceberg": ("sinks/",),
}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, also inside of functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by full name"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    assert files(package), f"{package} is empty"
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files(package)
        for line, name in imports(path)
        if (top := name.split(".")[0]) in OURS and top != package and top not in ALLOWED[package]
    ]
    assert wrong == []


def test_the_engine_knows_no_claude() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files("streams/engine")
        for line, name in imports(path)
        if name.split(".")[0] in OURS and not inside(name, "schemas.errors") and not inside(name, "streams.engine")
    ]
    assert wrong == []


def test_the_stages_do_not_know_each_other() -> None:
    stages = ("sessions", "users")
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for stage in stages
        for path in files(f"streams/{stage}")
        for line, name in imports(path)
        if any(inside(name, f"streams.{other}") for other in stages if other != stage)
    ]
    assert wrong == []


# What would let a replay decide otherwise, or knows where records come from.
IMPURE_MODULES = ("faust", "kafka", "aiokafka", "time", "random", "secrets", "asyncio", "threading", "os", "socket")
IMPURE_CALLS = (
    "now",
    "utcnow",
    "today",
    "uuid1",
    "uuid4",
    "urandom",
    "getenv",
    "open",
    "id",
    "hash",
    "input",
    "__import__",
)


def impure(source: str) -> list[str]:
    """What of a stage is not a function of what it is given: imports and calls."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found += [called] if called in IMPURE_CALLS else []
        found += [name for name in names if any(inside(name, module) for module in IMPURE_MODULES)]
        found += [name for name in names if name.rpartition(".")[2] in IMPURE_CALLS]
    return found


def shared(stage: list[Path]) -> set[Path]:
    """What lies beside the stages and is used by the files of one, directly or through one another."""
    beside, found, left = {f"streams.{path.stem}": path for path in (ROOT / "streams").glob("*.py")}, set(), list(stage)
    while left:
        names = [name for _, name in imports(left.pop())]
        more = {path for module, path in beside.items() if any(inside(name, module) for name in names)} - found
        found |= more
        left += more
    return found


@pytest.mark.parametrize("stage", ["sessions", "users"])
def test_a_stage_knows_no_clock_no_chance_and_no_kafka(stage: str) -> None:
    """A replay must decide the same: its agent, its logic, and what it shares with the others."""
    own = files(f"streams/{stage}")
    everything = {*own, *shared(own)}
    assert {ROOT / "streams/stage.py", ROOT / "streams/exact.py", ROOT / f"streams/{stage}/agent.py"} <= everything
    assert {path.name: found for path in everything if (found := impure(path.read_text()))} == {}


@pytest.mark.parametrize("stage", ["sessions", "users"])
def test_of_a_stage_only_the_agent_knows_the_engine(stage: str) -> None:
    logic = [path for path in files(f"streams/{stage}") if path.name != "agent.py"]
    assert len(logic) > 1
    assert [
        f"{path.name}: {name}" for path in logic for _, name in imports(path) if inside(name, "streams.engine")
    ] == []


@pytest.mark.parametrize(
    "line",
    [
        *(f"import {module}" for module in IMPURE_MODULES),
        "import aiokafka.errors",
        "from faust import App",
        "from time import monotonic",
        "import datetime; at = datetime.datetime.now()",
        "from datetime import datetime; at = datetime.now(datetime.UTC)",
        "from datetime import datetime; at = datetime.utcnow()",
        "from datetime import date; day = date.today()",
        "import uuid; key = uuid.uuid4()",
        "from uuid import uuid4",
        "def fold():\n    from random import choice",
    ],
)
@pytest.mark.parametrize("file", ["fold.py", "agent.py"])
def test_a_clock_chance_or_kafka_put_into_a_stage_is_found(file: str, line: str) -> None:
    source = (ROOT / "streams/sessions" / file).read_text()
    assert impure(f"{source}\n{line}\n") != impure(source)


def test_who_looks_at_state_is_outside_of_the_worker() -> None:
    """Nothing of the worker knows streams.inspect, and it knows neither agents nor anything that runs an engine."""
    runs = ("faust", "streams.stage", "streams.engine.engine", "streams.engine.table", "streams.engine.store")
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files("streams")
        for line, name in imports(path)
        if (inside(name, "streams.inspect") and path.parent.name != "inspect")
        or (path.parent.name == "inspect" and (name.endswith(".agent") or any(inside(name, one) for one in runs)))
    ]
    assert wrong == []


@pytest.mark.parametrize("library", SEAMS)
def test_a_library_stays_behind_its_seam(library: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for package in OURS
        for path in files(package)
        for line, name in imports(path)
        if inside(name, library) and not str(path.relative_to(ROOT)).startswith(SEAMS[library])
    ]
    assert wrong == []


def test_only_main_reads_the_environment() -> None:
    """Settings are built once and passed down; the exceptions hand the environment on to a child, or name it."""
    allowed = {"service/settings.py", "millrace/config.py", "millrace/supervisor.py", "millrace/kafka.py"}
    wrong = [
        str(path.relative_to(ROOT))
        for package in OURS
        for path in files(package)
        if str(path.relative_to(ROOT)) not in allowed
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")) and ast.unparse(node.value) == "os"
    ]
    assert wrong == []
