"""The house rules that a machine can check: who imports whom, where time passes, what lies at the root."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

ROOT = Path(__file__).parents[1]
PACKAGES = ("protocol", "cassettes", "recorder", "replayer", "workbench")

# Importing every module of the key must not load any of these.
NEVER_LOADED = {
    "protocol": (
        *(
            "graphtape.cassettes",
            "graphtape.recorder",
            "graphtape.replayer",
            "graphtape.workbench",
            "graphtape.cli",
        ),
        *("aiohttp", "click", "msgpack", "zstandard", "uvloop", "asyncio", "socket"),
    ),
    "cassettes": (
        *("graphtape.recorder", "graphtape.replayer", "graphtape.workbench", "graphtape.cli"),
        *("aiohttp", "click", "uvloop"),
    ),
    "recorder": ("graphtape.replayer", "graphtape.workbench", "graphtape.cli", "click"),
    "replayer": ("graphtape.recorder", "graphtape.workbench", "graphtape.cli", "click"),
    "workbench": ("graphtape.cli", "click"),
}
# The file format itself: msgpack, the compressor and the standard library.
FORMAT_MODULES = ("framing", "records", "writer", "reader")

# The thin shells: the only modules of recorder and replayer that may say aiohttp.
SHELLS = frozenset(
    {
        "recorder/connection.py",
        "recorder/downstream.py",
        "recorder/proxy.py",
        "recorder/relay.py",
        "recorder/recording.py",
        "recorder/upstream.py",
        "replayer/sending.py",
        "replayer/server.py",
        "replayer/serving.py",
        "replayer/malformed.py",
        "replayer/wire.py",
    }
)

# Values without behaviour of their own.
WITHOUT_TESTS = frozenset({"protocol/errors.py", "cassettes/errors.py", "cassettes/model.py"})


def modules_of(package: str) -> list[Path]:
    """The files of a package and of the packages in it; the graphs beside the bundled cassettes are no modules."""
    return sorted(
        file
        for folder in (ROOT / package, *(init.parent for init in (ROOT / package).glob("*/__init__.py")))
        for file in folder.glob("*.py")
    )


def sources() -> Iterator[Path]:
    yield ROOT / "cli.py"
    for package in PACKAGES:
        yield from modules_of(package)


@cache
def nodes_of(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def imports_of(file: Path) -> set[str]:
    """The modules that a file names in imports, wherever they stand in it."""
    named: set[str] = set()
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: line {node.lineno}: imports are absolute here"
            named.add(node.module or "")
    return named


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def loaded_by(modules: list[str]) -> set[str]:
    """What a fresh interpreter has loaded after importing these."""
    program = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nprint(*sys.modules)"
    )
    # Outside the checkout, so that nothing is found by accident through the current folder.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT.parent, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_package_in_a_fresh_interpreter(package: str) -> None:
    """Importing all of a package loads nothing that the package may not know."""
    modules = [
        ".".join(("graphtape", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for file in modules_of(package)
    ]
    loaded = loaded_by(modules)
    assert [name for name in sorted(loaded) if any(within(name, f) for f in NEVER_LOADED[package])] == []


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_imports_written_in_a_package(package: str) -> None:
    """No module names a part above it or beside it, not even inside a function."""
    forbidden = [name for name in NEVER_LOADED[package] if within(name, "graphtape")]
    offences = {
        (file.name, name)
        for file in modules_of(package)
        for name in imports_of(file)
        if any(within(name, part) for part in forbidden)
    }
    assert offences == set()


@pytest.mark.slow
def test_aiohttp_stays_in_the_shells() -> None:
    """In recorder and replayer only the shells know aiohttp; what decides is pure."""
    users = {
        file.relative_to(ROOT).as_posix()
        for file in sources()
        if any(within(name, "aiohttp") for name in imports_of(file))
    }
    assert {user for user in users if not user.startswith("workbench/")} <= SHELLS


def test_the_file_format_needs_little() -> None:
    """The format's modules import the standard library, msgpack, zstandard and each other's package only."""
    for stem in FORMAT_MODULES:
        foreign = {
            name
            for name in imports_of(ROOT / "cassettes" / f"{stem}.py")
            if name.split(".")[0] not in {*sys.stdlib_module_names, "msgpack", "zstandard", "graphtape"}
        }
        assert foreign == set(), stem


def test_nothing_imports_the_command_line() -> None:
    """`cli` is the top: no source module names it."""
    assert [f for f in sources() if any(within(n, "graphtape.cli") for n in imports_of(f))] == []


@pytest.mark.slow
def test_time_passes_in_one_place() -> None:
    """Only cassettes/clock.py reads a clock or sleeps, so that every other part can be tested without waiting."""
    offences = []
    for file in sources():
        if file == ROOT / "cassettes/clock.py":
            continue
        if "time" in imports_of(file):
            offences.append(f"{file.relative_to(ROOT)}: imports time")
        offences += [
            f"{file.relative_to(ROOT)}: line {node.lineno}: {node.attr}"
            for node in nodes_of(file)
            if isinstance(node, ast.Attribute) and node.attr in {"sleep", "now", "utcnow", "today"}
        ]
    assert offences == []


def test_root_holds_two_python_files() -> None:
    """Any other Python file at the root would be swept into the wheel."""
    assert sorted(file.name for file in ROOT.glob("*.py")) == ["__init__.py", "cli.py"]


def test_the_root_package_imports_nothing() -> None:
    """pytest imports the root twice, once under the checkout's name; with imports every class would exist twice."""
    assert imports_of(ROOT / "__init__.py") == set()


def test_every_module_has_its_tests() -> None:
    """For each source module there is tests/<package>/test_<module>.py, in the same folders."""
    missing = [
        name
        for file in sources()
        if file.name != "__init__.py"
        and (name := file.relative_to(ROOT).as_posix()) not in WITHOUT_TESTS
        and not (
            ROOT
            / "tests"
            / (file.parent.relative_to(ROOT) if file.parent != ROOT else "cli")
            / f"test_{file.name}"
        ).exists()
    ]
    assert missing == []
