"""Tests of `cli.py`: what a user types, and what comes back."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from graphtape import __version__
from graphtape.cassettes.model import Ending
from graphtape.cassettes.writer import CassetteWriter
from graphtape.cli import Host, app, main

COMMANDS = ("record", "replay", "demo", "ls", "show", "verify", "redact", "diff")
EVENTS = b'event: values\r\ndata: {"a":1}\r\n\r\nevent: values\r\ndata: {"a":2}\r\n\r\n'

Run = Callable[..., Result]


def write(path: Path, *bodies: bytes, overwrite: bool = False) -> Path:
    """A cassette of streams with these bodies."""
    writer = CassetteWriter.create(path, overwrite=overwrite)
    writer.begin_recording(1_795_219_836_000_000_000, "http://upstream", "test")
    for place, body in enumerate(bodies):
        number = writer.request(place, "GET", f"/stream/{place}", ())
        writer.request_end(number, place)
        writer.response(number, place, 200, "OK", ((b"content-type", b"text/event-stream"),))
        writer.chunk(number, place, body)
        writer.end(number, place, Ending.COMPLETE)
    writer.close()
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: `one.tape` holds a stream, `two.tape` two others."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "one.tape", EVENTS)
    write(tmp_path / "two.tape", EVENTS.replace(b"2", b"3"), EVENTS)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Types a command line."""

    def typed(line: str, **options: str) -> Result:
        return CliRunner(env=options).invoke(app, shlex.split(line), prog_name="graphtape")

    return typed


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, run: Run) -> None:
    """Every command explains itself, with four to six lines to try."""
    result = run(f"{name} --help")
    assert result.exit_code == 0
    assert "MAX" not in result.stdout  # `max` is typed as it is shown
    examples = result.stdout.partition("Examples:\n")[2].strip().splitlines()
    assert 4 <= len(examples) <= 6
    assert any(f"graphtape {name}" in line for line in examples)


def test_examples_are_commands(run: Run) -> None:
    """What the examples show is accepted, option for option."""
    for name, command in app.commands.items():
        for line in (command.epilog or "").strip().splitlines():
            found = re.match(rf"(?:\w+=\S+ )?graphtape {name} (?P<rest>[^|>&]*)", line)
            if found is None:
                continue
            words = [word for word in shlex.split(found["rest"]) if not word.endswith(".tape")]
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= known, line


def test_the_contract() -> None:
    """Commands and options that scripts rely on are all there."""
    contract = {
        "record": {"-o", "--output", "--host", "--port", "--widen", "--append", "--overwrite", "--redact"},
        "replay": {"--host", "--port", "--speed", "--idle-limit", "--match", "--ids"},
        "demo": set(),
        "ls": {"--json"},
        "show": {"--json"},
        "verify": {"--json", "--secrets"},
        "redact": {"-o", "--output", "--redact", "--json"},
        "diff": {"--json"},
    }
    assert tuple(app.commands) == COMMANDS
    for name, options in contract.items():
        assert options <= {option for parameter in app.commands[name].params for option in parameter.opts}


def test_defaults() -> None:
    """Loopback, the mock at the server's port, the proxy beside it."""
    for name, port in (("record", 2025), ("replay", 2024)):
        context = click.Context(app.commands[name])
        values = {parameter.name: parameter.get_default(context) for parameter in app.commands[name].params}
        assert (values["host"], values["port"]) == ("127.0.0.1", port)


def test_version(run: Run) -> None:
    """--version is one line."""
    assert run("--version").stdout == f"graphtape {__version__}\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("shw", "there is no command 'shw'. Did you mean 'show'?"),
        ("list", "Did you mean 'ls'?"),
        ("xyzzy", "The commands are record, replay, demo, ls, show, verify, redact, diff."),
        ("one.tape", "To look into a cassette: graphtape ls one.tape"),
        ("http://127.0.0.1:2024", "graphtape record http://127.0.0.1:2024 -o FILE.tape"),
        ("show one.tape --rw", "Did you mean '--raw'?"),
        ("ls on.tape", "there is no file on.tape. Did you mean one.tape?"),
        ("ls no/such.tape", "there is no file no/such.tape (nor a directory no)"),
        ("ls .", ". is a directory, not a cassette; it holds one.tape, two.tape"),
        ("show one.tape x", "'x' is no number of an exchange"),
        ("show one.tape 0", "'0' is no number of an exchange"),
        ("show one.tape --raw --json", "give one of them"),
        ("show two.tape --json", "two.tape holds 2 exchanges: which one?"),
        ("record http://x -o x.tape --append --overwrite", "give one of them"),
        (
            "record http://x",
            "Missing option '-o' / '--output'. For example: graphtape record http://127.0.0.1:2024 -o chat.tape",
        ),
        ("record http://x -o .", ". is a directory; name a file in it, such as chat.tape"),
        ("demo --keep /", "/ is a directory; name a file in it, such as /chat.tape"),
        ("replay one.tape --speed fast", "'fast' is no speed"),
        ("replay one.tape --speed 0", "'0' is no speed"),
        ("replay one.tape --speed nan", "'nan' is no speed"),
        ("replay one.tape --idle-limit -1", "'-1' is no number of seconds"),
        ("replay one.tape --strict", "No such option '--strict'. Did you mean '--match strict'?"),
        ("replay one.tape --unique", "No such option '--unique'. Did you mean '--ids unique'?"),
        ("replay one.tape --match fuzzy", "'strict', 'nearest'"),
        (
            "replay one.tape --cut-after five",
            "--cut-after 'five': 'five' is no place in a stream; give a number of events",
        ),
        ("replay one.tape --cut-after 5 --end-after 3", "both end response 1 of a stream"),
        ("replay one.tape --cut-after 5,", "--cut-after '5,': a comma has no place beside it"),
        ("replay one.tape --cut-after", "Option '--cut-after' requires an argument"),
        ("replay one.tape --ignore a[", "--ignore: 'a[' is not a path into a request body"),
        ("replay one.tape --port 70000", "'70000' is no port: they count from 1 to 65535"),
        ("replay one.tape --port web", "'web' is no port"),
        ("replay one.tape --host ''", "give an address"),
        ("replay one.tape --host 127.0.0.1:80", "'127.0.0.1:80' is more than an address"),
        ("replay one.tape --host [::1]:80", "'[::1]:80' is more than an address"),
        ("replay one.tape --host http://localhost", "is more than an address"),
        ("replay one.tape --allow-host http://a", "--allow-host 'http://a' is no host name"),
        ("replay one.tape --cors-origin localhost:3000", "--cors-origin 'localhost:3000' is no origin"),
        ("replay http://x", "to record it: graphtape record http://x -o FILE.tape"),
        ("record one.tape -o x.tape", "to serve it: graphtape replay one.tape"),
        ("record http://x -o ''", "the name of the file is empty"),
        (
            "record http://x -o -",
            "a cassette is not written to standard output; name a file, such as chat.tape",
        ),
        ("redact one.tape -o -", "a cassette is not written to standard output"),
        ("record http://x -o x.tape --redact ''", "--redact '': it names nothing"),
        ("record http://x -o x.tape --redact-env ''", "--redact-env '': the variable is not set"),
        ("record http://x -o x.tape --upstream-timeout 0", "'0' is no number of seconds (more than 0)"),
        ("record ftp://x -o x.tape", "the upstream 'ftp://x' is no http or https URL"),
        ("ls ''", "the name of a cassette is empty"),
        ("help", "Help is an option: graphtape --help"),
        ("diff one.tape", "Missing argument 'B'. For example: graphtape diff before.tape after.tape"),
        ("replay", "Missing argument 'FILE...'. For example: graphtape replay chat.tape"),
    ],
)
def test_mistyped(line: str, words: str, run: Run) -> None:
    """A mistake in what was typed ends with 2, says what is wrong and what was meant, and prints no result."""
    result = run(line)
    assert result.exit_code == 2
    assert words in result.stderr.replace("\n", " ")
    assert result.stderr.startswith("Usage: graphtape ")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("ls text.tape", 1, "not a cassette"),
        ("ls empty.tape", 1, "record into it with `graphtape record URL -o empty.tape --overwrite`"),
        ("show text.tape", 1, "not a cassette"),
        ("verify text.tape", 1, "not a cassette"),
        ("replay text.tape", 1, "not a cassette"),
        ("diff one.tape text.tape", 2, "not a cassette"),
        ("show one.tape 9", 1, "there is no exchange 9"),
        ("record http://127.0.0.1:9 -o one.tape --port 0", 1, "--append"),
        ("redact one.tape -o two.tape", 1, "two.tape: exists already; use --overwrite to replace it"),
        ("demo --keep one.tape", 1, "one.tape exists already"),
        ("demo --keep no/one.tape", 1, "no/one.tape: its directory does not exist; make it first"),
    ],
)
def test_failures(line: str, code: int, words: str, run: Run, folder: Path) -> None:
    """What cannot be done is one line on stderr, and no traceback."""
    (folder / "text.tape").write_text("hello")
    (folder / "empty.tape").touch()
    result = run(line)
    assert result.exit_code == code
    assert result.stderr.startswith("graphtape: error: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_unreadable_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission is our error too (denied here by hand: root may read everything)."""
    opened = os.open

    def deny(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("one.tape"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", deny)
    result = run("ls one.tape")
    assert result.exit_code == 1
    assert result.stderr.startswith("graphtape: error: ")
    assert "one.tape" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [("> /dev/full", 1, "graphtape: error: No space left on device"), (">&-", 0, ""), ("2>&-", 0, "")],
)
def test_stdout_that_takes_nothing(redirection: str, code: int, words: str, folder: Path) -> None:
    """A full disk or a closed stream under the output is one line at most, never a traceback."""
    command = f"{shlex.quote(sys.executable)} -m graphtape.cli ls one.tape {redirection}"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.strip() == words


def test_bug_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that nobody expected is one line that asks for a report."""

    def broken(**_: object) -> None:
        raise KeyError("left")

    monkeypatch.setattr(app.commands["ls"], "callback", broken)
    monkeypatch.setattr(sys, "argv", ["graphtape", "ls", "one.tape"])
    monkeypatch.delenv("GRAPHTAPE_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("graphtape: error: this is a bug in graphtape (KeyError: 'left'); please report it")
    assert len(err.splitlines()) == 1


def test_ls(run: Run) -> None:
    """Several files, one after the other."""
    lines = run("ls one.tape two.tape").stdout.splitlines()
    assert [line.split(":")[0] for line in lines if "exchange" in line] == ["one.tape", "two.tape"]
    assert [
        cassette["file"] for cassette in json.loads(run("ls one.tape two.tape --json").stdout)["cassettes"]
    ] == [
        "one.tape",
        "two.tape",
    ]


def test_show(run: Run) -> None:
    """The only stream is shown unasked; of several, one is asked for."""
    assert "a: 2" in run("show one.tape").stdout
    assert run("show two.tape").stdout.startswith("two.tape holds 2 streams; pick one")
    assert "a: 3" in run("show two.tape 1").stdout
    assert run("show two.tape 2 --raw").stdout_bytes == EVENTS
    assert [event["data"] for event in json.loads(run("show two.tape 1 --json").stdout)["events"]] == [
        {"a": 1},
        {"a": 3},
    ]


def test_diff(run: Run, folder: Path) -> None:
    """0 same, 1 differs; as text and as a document."""
    write(folder / "twin.tape", EVENTS)
    assert run("diff one.tape twin.tape").exit_code == 0
    assert run("diff one.tape two.tape").exit_code == 1
    document = json.loads(run("diff one.tape two.tape --json").stdout)
    assert (document["same"], document["differences_total"]) == (False, 2)
    assert "more difference" not in run("diff one.tape two.tape --all").stdout


def test_verify(run: Run, folder: Path) -> None:
    """0 sound or unfinished, 1 damaged; as text and as a document."""
    sound = run("verify one.tape")
    assert (sound.exit_code, sound.stdout.splitlines()[0]) == (0, "one.tape: sound")
    data = bytearray((folder / "two.tape").read_bytes())
    data[80] ^= 1
    (folder / "two.tape").write_bytes(data)
    damaged = run("verify two.tape --json")
    assert (damaged.exit_code, json.loads(damaged.stdout)["verdict"]) == (1, "damaged")


@pytest.mark.parametrize(("typed", "address"), [("[::1]", "::1"), ("::1", "::1"), ("0.0.0.0", "0.0.0.0")])
def test_host(typed: str, address: str) -> None:
    """An address, also as it stands in a URL."""
    assert Host().convert(typed, None, None) == address


def test_colours(run: Run) -> None:
    """None in a pipe; when asked for, always."""
    assert "\x1b" not in run("ls one.tape").stdout
    assert "\x1b" in run("ls one.tape --color always").stdout
    assert "\x1b" not in run("ls one.tape --color never").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["ls", "one.tape"], ["show", "one.tape"], ["diff", "one.tape", "one.tape"]]
)
def test_light_imports(arguments: list[str], folder: Path) -> None:
    """What needs no network does not load aiohttp: it starts at once."""
    program = (
        "import sys\nfrom graphtape import cli\n"
        f"sys.argv = ['graphtape', *{arguments!r}]\n"
        "try: cli.main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "assert not {'aiohttp', 'uvloop'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=folder, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_reader_that_has_enough(folder: Path) -> None:
    """`| head` ends it without a word."""
    write(folder / "long.tape", EVENTS * 20_000, overwrite=True)
    command = [sys.executable, "-m", "graphtape.cli", "show", "long.tape"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("line", ["replay one.tape", "record http://127.0.0.1:9 -o new.tape"])
def test_server_that_is_stopped(line: str, number: signal.Signals, folder: Path) -> None:
    """One line on stdout when ready; a signal ends it with 0, and the cassette is whole."""
    command = [sys.executable, "-m", "graphtape.cli", *line.split(), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, text=True
    ) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert re.fullmatch(r"graphtape: listening on http://127\.0\.0\.1:\d+\n", ready)
        process.send_signal(number)
        rest, talk = process.communicate(timeout=20)
    assert (rest, process.returncode) == ("", 0)
    assert "Traceback" not in talk
    if "new.tape" in line:
        assert CliRunner().invoke(app, ["ls", "new.tape"]).stdout.startswith("new.tape: 0 exchanges")
