"""What a person sees while a recording runs."""

from __future__ import annotations

import io
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.model import Ending
from graphtape.cassettes.redaction.redactor import Redactor
from graphtape.recorder import progress as progress_module
from graphtape.recorder.capture import Capture
from graphtape.recorder.progress import Progress, count_of, format_bytes, format_status, plain
from graphtape.recorder.tally import EventCounter, Tally


class NoWriter:
    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shown(clock: Any) -> Any:
    """(progress, capture, text): a recording that is being shown."""

    def make(*, is_terminal: bool) -> Any:
        text = io.StringIO()
        progress = Progress(text, clock, is_terminal=is_terminal)
        capture = Capture(NoWriter(), clock, Redactor(), upstream="", program="")
        progress.watch(capture)
        return progress, capture, text

    return make


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (34_400_000, "34 MB"),
        (10**12, "1000 GB"),
    ],
)
def test_bytes(count: Any, text: Any) -> None:
    """A number to read, and its unit."""
    assert format_bytes(count) == text


def test_status_line() -> None:
    """Counts in words, and the last event."""
    assert format_status(Tally()) == "0 exchanges, 0 open streams, 0 events, 0 B"
    counter = EventCounter()
    counter.feed(b"event: values|a:1\r\ndata: {}\r\n\r\n" * 1234)
    tally = Tally(exchanges=1, response_bytes=5, counters={counter}, last=counter)
    assert format_status(tally) == "1 exchange, 1 open stream, 1,234 events, 5 B, last values|a:1"
    assert count_of(1, "event") == "1 event"


def test_control_characters_are_not_shown() -> None:
    """A server cannot write to the terminal of whoever records it."""
    assert plain("a\x1b[31m\r\nb", 40) == "a?[31m??b"
    assert plain("x" * 50, 10) == "x" * 9 + "…"


def test_lines_in_a_pipe(shown: Any, clock: Any) -> None:
    """A line when a stream opens and one when an exchange ends; no control codes."""
    _, capture, text = shown(is_terminal=False)
    exchange = capture.exchange("POST", "/runs/stream?token=abc", ())
    exchange.response(200, "OK", ((b"content-type", b"text/event-stream"),))
    exchange.chunk(b"data: 1\n\n")
    clock.advance(1_500_000_000)
    exchange.end(Ending.UPSTREAM_BROKE, "reset by peer")
    failed = capture.exchange("GET", "/x", ())
    failed.end(Ending.CLIENT_LEFT)
    assert text.getvalue() == (
        "   1  POST /runs/stream?token=[redacted]  200  streaming\n"
        "   1  POST /runs/stream?token=[redacted]  200  1 event  9 B  1.50 s  upstream broke off  (reset by peer)\n"
        "   1  GET /x  -  0 B  0.00 s  client left\n"
    )


def test_lines_are_limited(shown: Any, clock: Any) -> None:
    """A flood of requests does not flood the log; what was left out is counted."""
    progress, capture, text = shown(is_terminal=False)
    for _ in range(50):
        capture.exchange("GET", "/", ()).end(Ending.COMPLETE)
    assert text.getvalue().count("\n") == 20
    clock.advance(1_000_000_000)
    capture.exchange("GET", "/", ()).end(Ending.COMPLETE)
    progress.close()
    assert "graphtape: 30 more lines were left out\n" in text.getvalue()


def test_refusals_are_shown(shown: Any) -> None:
    """Why a request was not let in is said, on one line and as seldom as all else."""
    progress, _, text = shown(is_terminal=False)
    progress.refused("Disallowed\nCORS origin")
    assert text.getvalue() == "   -  refused: Disallowed?CORS origin\n"
    for _ in range(50):
        progress.refused("no")
    assert text.getvalue().count("\n") == 20


def test_lines_that_are_left_out_are_not_made(shown: Any, monkeypatch: Any) -> None:
    """Under load a line per request would cost more than recording it."""
    made: list[object] = []

    def line(exchange: object) -> str:
        made.append(exchange)
        return "a line"

    monkeypatch.setattr(progress_module, "format_ended", line)
    _, capture, _ = shown(is_terminal=False)
    for _ in range(50):
        capture.exchange("GET", "/", ()).end(Ending.COMPLETE)
    assert len(made) == 20


def test_one_line_on_a_terminal(shown: Any, clock: Any, monkeypatch: Any) -> None:
    """The status line is refreshed in place, at most ten times a second, and goes at the end."""
    monkeypatch.setenv("NO_COLOR", "1")
    progress, capture, text = shown(is_terminal=True)
    for _ in range(100):
        capture.exchange("GET", "/", ())
    assert text.getvalue().count("\r") == 1
    clock.advance(100_000_000)
    progress.refresh()
    assert text.getvalue().endswith("\r\x1b[Kgraphtape: 100 exchanges, 0 open streams, 0 events, 0 B")
    progress.say("hello")
    assert "graphtape: hello\n" in text.getvalue()
    progress.close()
    assert text.getvalue().endswith("\r\x1b[K")
    assert "\x1b[2m" not in text.getvalue()


def test_nothing_before_the_first_exchange(shown: Any) -> None:
    """The terminal is clean when the address is printed: stdout and stderr are one screen there."""
    _, _, text = shown(is_terminal=True)
    assert text.getvalue() == ""


def test_a_closed_pipe_stops_nothing(clock: Any) -> None:
    """A progress that cannot be written is dropped, not raised."""
    text = io.StringIO()
    text.close()
    progress = Progress(text, clock, is_terminal=False)
    progress.say("x")
    progress.say("y")
