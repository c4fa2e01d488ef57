"""What a user gets from `pip install .`: exactly the package, and a command that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import graphtape

ROOT = Path(__file__).parents[1]
PACKAGES = ("cassettes", "protocol", "recorder", "replayer", "workbench")
NOT_SHIPPED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "node_modules")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the real ones."""
    folder = tmp_path_factory.mktemp("packaging") / "checkout"
    shutil.copytree(ROOT, folder, ignore=NOT_SHIPPED)
    return folder


@pytest.mark.slow
def test_wheel_holds_exactly_the_package(checkout: Path, tmp_path: Path) -> None:
    """The wheel is `graphtape/` with the listed packages, their data and nothing else; no generic top-level name."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, checkout)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())

    expected = {
        "graphtape/__init__.py",
        "graphtape/cli.py",
        "graphtape/py.typed",
        "graphtape/cassettes/FORMAT.md",
    }
    for package in PACKAGES:
        for folder in (init.parent for init in (ROOT / package).rglob("__init__.py")):
            expected |= {f"graphtape/{file.relative_to(ROOT)}" for file in folder.glob("*.py")}
    expected |= {
        f"graphtape/cassettes/samples/{file.name}"
        for file in (ROOT / "cassettes/samples").iterdir()
        if file.is_file()
    }
    info = f"graphtape-{graphtape.__version__}.dist-info"
    expected |= {
        f"{info}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE")
    }
    assert held == expected


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_install_into_a_fresh_environment(checkout: Path, tmp_path: Path) -> None:
    """`pip install .` and then `graphtape --help` work where nothing else is installed."""
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv/bin"
    run(
        binaries / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        ".",
        cwd=checkout,
    )
    shown = run(binaries / "graphtape", "--help", cwd=tmp_path)
    for command in ("record", "replay", "demo", "ls", "show", "verify", "redact", "diff"):
        assert re.search(rf"^\s+{command}\b", shown, re.MULTILINE), f"--help does not list {command}"
    assert graphtape.__version__ in run(binaries / "graphtape", "--version", cwd=tmp_path)


def test_version_is_said_once() -> None:
    """pyproject, the package and the newest entry of the changelog agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(
        r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert newest is not None, "CHANGELOG.md has no '## [version]'"
    assert project["version"] == graphtape.__version__ == newest[1]


def test_every_package_folder_is_listed() -> None:
    """A new package is named in pyproject, or it would be missing from the wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    inits = (init for package in PACKAGES for init in (ROOT / package).rglob("__init__.py"))
    folders = {".".join(("graphtape", *init.parent.relative_to(ROOT).parts)) for init in inits}
    # A folder of data is one too: else setuptools warns whoever installs, at length.
    assert set(settings["packages"]) == {"graphtape", "graphtape.cassettes.samples"} | folders
    # The bench runs from a checkout; it is not shipped.
    assert {init.parent.name for init in ROOT.glob("*/__init__.py")} == {*PACKAGES, "bench"}
