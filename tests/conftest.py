"""What every test may use: the real Agent Server, started once and only if a test asks for it."""

from __future__ import annotations

import ast
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphtape.cassettes.samples.agent_server import AgentServer

ROOT = Path(__file__).parents[1]
GRAPH_FILES = (
    ROOT / "cassettes/samples/graphs.py",
    *sorted((ROOT / "tests/live/graphs").glob("*.py")),
    ROOT / "tests/live/graphs_matrix.py",
)
NEEDS_SERVER = frozenset({"agent_server", "agent_server_to_stop"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the real server is `live`, whether it says so or not."""
    for item in items:
        if NEEDS_SERVER.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.live)


def graphs_in(file: Path) -> list[str]:
    """The names of a file's graphs: its `NAMES`, or else its top-level `name = something.compile(...)`.

    Read without importing: the graphs belong to the server's process, not to this one.
    """
    compiled: list[str] = []
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="NAMES")], value=value):
                names = eval(compile(ast.Expression(value), file, "eval"), {"__builtins__": {}})
                return [str(name) for name in names]
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Attribute(attr="compile"))):
                if not name.startswith("_"):
                    compiled.append(name)
    return compiled


def start_agent_server(folder: Path) -> AgentServer:
    """The real server on copies of all graphs that the tests use."""
    if importlib.util.find_spec("langgraph_api") is None:
        pytest.fail("the live tests need the real Agent Server: pip install --group live (make test does it)")
    graphs: dict[str, str] = {}
    for number, file in enumerate(file for file in GRAPH_FILES if file.exists()):
        # Numbered, so that no file name can hide an installed module (`nested`, `graphs` ...).
        copy = folder / f"graphs_{number}_{file.stem}.py"
        shutil.copy(file, copy)
        for name in graphs_in(file):
            if name in graphs:
                pytest.fail(f"two graphs of the live tests are called {name!r}: {graphs[name]} and {file}")
            graphs[name] = f"./{copy.name}:{name}"
    return AgentServer(folder, graphs)


@pytest.fixture(scope="session")
def agent_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentServer]:
    """The real Agent Server, shared by all live tests; leave it running."""
    with start_agent_server(tmp_path_factory.mktemp("agent-server")) as server:
        yield server


@pytest.fixture
def agent_server_to_stop(tmp_path: Path) -> Iterator[AgentServer]:
    """A real Agent Server of the test's own, which it may `.stop()`."""
    folder = tmp_path / "agent-server"
    folder.mkdir()
    with start_agent_server(folder) as server:
        yield server
