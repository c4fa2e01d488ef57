"""The documentation says what the program does: commands, options, links and examples."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from graphtape.cli import app

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SAMPLE = ROOT / "cassettes/samples/agent.tape"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> Mapping[str, click.Command]:
    return app.commands


def written_commands(page: Path) -> Iterator[list[str]]:
    """The `graphtape ...` lines of a page's shell blocks and indented blocks, as words."""
    text = page.read_text(encoding="utf-8")
    shell = "".join(code for language, code in _FENCED.findall(text) if language == "sh")
    indented = re.findall(r"^ {4,}(.*)$", text, re.MULTILINE)
    for line in (*shell.splitlines(), *indented):
        if line.startswith("graphtape "):
            yield shlex.split(line, comments=True)


def options_of(command: click.Command) -> dict[str, click.Option]:
    return {
        name: parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_a_page_exist(page: Path) -> None:
    """Every command line that a page shows names a command and options that exist."""
    for words in written_commands(page):
        assert words[1] in commands(), words
        known = options_of(commands()[words[1]])
        unknown = [word for word in words[2:] if word.startswith("-") and word not in known]
        assert unknown == [], words


@pytest.mark.parametrize("name", sorted(commands()))
def test_command_is_documented_whole(name: str) -> None:
    """docs/commands.md has a section for each command that names each of its options."""
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    section = re.search(rf"^## graphtape {name}\b.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    visible = {
        option: parameter
        for option, parameter in options_of(commands()[name]).items()
        if not parameter.hidden and option.startswith("--") and option != "--help"
    }
    assert [option for option in visible if f"`{option}" not in section[0]] == []


@pytest.mark.parametrize("name", sorted(commands()))
def test_command_has_help_with_examples(name: str) -> None:
    """Each command's help says what it does and ends with examples that start with the program's name."""
    help_text = click.Context(commands()[name], info_name=name).get_help()
    _, _, examples = help_text.partition("Examples:")
    assert commands()[name].get_short_help_str()
    assert f"graphtape {name}" in examples


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file of the project."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_are_headings(page: Path) -> None:
    """A link into a page names one of its headings."""
    links = re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert [(path, anchor) for path, anchor in links if anchor not in anchors(page.parent / path, page)] == []


def anchors(path: Path, page: Path) -> set[str]:
    """The headings of a page as they are linked to: `## Who may connect?` is `who-may-connect`."""
    text = (path if path.is_file() else page).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_index_names_every_page() -> None:
    """docs/README.md leads to each page beside it."""
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index]
    assert [name for name in missing if name != "README.md"] == []


def test_make_targets_exist() -> None:
    """Every `make target` that a page mentions is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named >= {"demo", "test", "test-unit"}
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.slow
def test_examples_in_the_pages_run(tmp_path: Path) -> None:
    """The tests printed in README and docs/testing.md pass as they stand, with a bundled cassette as their fixture."""
    (tmp_path / "tests").mkdir()
    shutil.copy(SAMPLE, tmp_path / "chat.tape")
    shutil.copy(SAMPLE, tmp_path / "tests/chat.tape")
    count = 0
    for page in (ROOT / "README.md", ROOT / "docs/testing.md"):
        for language, code in _FENCED.findall(page.read_text(encoding="utf-8")):
            if language == "python" and "def test_" in code:
                (tmp_path / f"test_example_{count}.py").write_text(code, encoding="utf-8")
                count += 1
    assert count >= 3
    shown = pytest_in(tmp_path, ".")
    assert f"{count} passed" in shown


@pytest.mark.slow
def test_example_files_run() -> None:
    """What lies in examples/ runs."""
    assert "1 passed" in pytest_in(ROOT, "examples/test_with_fixture.py")
    program = [sys.executable, str(ROOT / "examples/record_and_replay.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stdout.rstrip().endswith("the same")


def pytest_in(folder: Path, *arguments: str) -> str:
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
