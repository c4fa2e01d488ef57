"""Tests of `graphtape verify --secrets` and `graphtape redact`: what is typed, and what comes back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graphtape.cassettes import Cassette, CassetteWriter, Ending
from graphtape.cli import app

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
VALUE = "quite-secret-value"
SAMPLES = sorted((Path(__file__).parents[2] / "cassettes/samples").glob("*.tape"))

Run = Callable[[str], Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Types a command line where `a.tape` holds a token and a value."""
    monkeypatch.chdir(tmp_path)
    with CassetteWriter.create("a.tape") as writer:
        writer.begin_recording(1, "http://upstream", "test")
        number = writer.request(0, "POST", "/x", ())
        writer.request_body(number, 0, json.dumps({"input": {"note": VALUE}}).encode())
        writer.request_end(number, 0)
        writer.response(number, 1, 200, "OK", ((b"content-type", b"application/json"),))
        writer.chunk(number, 2, json.dumps({"a": {"b": f"use {TOKEN}"}}).encode())
        writer.end(number, 3, Ending.COMPLETE)
    return lambda line: CliRunner().invoke(app, shlex.split(line), prog_name="graphtape")


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_bundled_cassettes_hold_none(sample: Path, run: Run) -> None:
    """Ids of runs, threads, checkpoints and messages are no secrets."""
    result = run(f"verify {sample} --secrets")
    assert result.exit_code == 0, result.stdout
    assert "no credentials found" in result.stdout


def test_secrets_are_located_and_not_shown(run: Run) -> None:
    """Exit status 1, where and what kind; the value is nowhere in the output."""
    result = run("verify a.tape --secrets")
    assert result.exit_code == 1
    assert "a.tape: exchange 1, response body, byte 17: GitHub token (44 characters)" in result.stdout
    assert TOKEN not in result.output
    document = json.loads(run("verify a.tape --secrets --json").stdout)
    assert document["passed"] is False
    assert document["findings"][0]["offset"] == 17
    assert TOKEN not in json.dumps(document)


def test_named_values_are_looked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--redact-env` says what else to look for; without --secrets it is a mistake."""
    monkeypatch.setenv("MY_VALUE", VALUE)
    result = run("verify a.tape --secrets --redact-env MY_VALUE")
    assert "exchange 1, request body, byte 20: value MY_VALUE" in result.stdout
    assert VALUE not in result.output
    assert run("verify a.tape --redact-env MY_VALUE").exit_code == 2
    assert run("verify a.tape --secrets --redact-env NOT_SET").exit_code == 2


def test_redact(run: Run) -> None:
    """The copy is clean, the original stays, and an existing file is kept unless told."""
    Path("values.txt").write_text(f"{VALUE}\n\n")
    result = run("redact a.tape -o b.tape --found --value-file values.txt")
    assert result.exit_code == 0, result.output
    assert VALUE not in result.output
    assert run("verify b.tape --secrets").exit_code == 0
    with Cassette.open("b.tape") as cassette:
        assert VALUE.encode() not in cassette.exchange(1).request_body
        assert TOKEN.encode() not in cassette.exchange(1).body
    with Cassette.open("a.tape") as cassette:
        assert VALUE.encode() in cassette.exchange(1).request_body
    assert run("redact a.tape -o b.tape").exit_code == 1
    assert json.loads(run("redact a.tape -o b.tape --overwrite --json --redact note").stdout)["masked"] == {
        "body note": 1
    }


def test_mistakes(run: Run) -> None:
    """What cannot be used is said, with 2; the output must be named."""
    assert run("redact a.tape").exit_code == 2
    assert run("redact a.tape -o b.tape --redact-json 'a['").exit_code == 2
    Path("short.txt").write_text("abc\n")
    assert run("redact a.tape -o b.tape --value-file short.txt").exit_code == 2
    assert not Path("b.tape").exists()
