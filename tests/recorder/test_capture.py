"""What the capture tells the writer, and when."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.errors import CassetteWriteFailed
from graphtape.cassettes.model import Ending
from graphtape.cassettes.redaction.redactor import Redactor
from graphtape.recorder.capture import Capture

SSE = ((b"Content-Type", b"text/event-stream"),)


class Log:
    """A writer that keeps what it is told; `failing` names the call that fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.failing = ""

    def __getattr__(self, name: str) -> Any:
        def call(*args: object, **options: object) -> int:
            if name == self.failing:
                raise CassetteWriteFailed("x.tape", "disk full")
            self.calls.append((name, *args, *options.values()))
            return sum(entry[0] == "request" for entry in self.calls)

        return call

    def names(self) -> list[object]:
        return [entry[0] for entry in self.calls]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(5_000)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def capture(log: Any, clock: Any) -> Capture:
    return Capture(log, clock, Redactor(values=[("TOKEN", "sesame")]), upstream="http://h", program="test")


def test_an_exchange_in_order(capture: Any, log: Any, clock: Any) -> None:
    """Each call becomes one record with the time since the recording began."""
    exchange = capture.exchange("POST", "/x", ((b"Host", b"h"),))
    clock.advance(10)
    exchange.request_body(b'{"a":1}')
    exchange.request_end()
    clock.advance(10)
    exchange.response(200, "OK", SSE)
    exchange.chunk(b"event: a\ndata: 1\n\n")
    clock.advance(10)
    exchange.chunk(b"data: 2\n\n", delayed=True)
    exchange.end(Ending.COMPLETE)
    begin, request, *rest = log.calls
    assert begin == ("begin_recording", clock.unix_ns() - 30, "http://h", "test")
    assert request == ("request", 0, "POST", "/x", ((b"Host", b"h"),), "1.1", ())
    body = b"".join(entry[3] for entry in rest if entry[0] == "request_body")
    assert body == b'{"a":1}'
    assert ("request_end", 1, 10) in rest
    assert ("response", 1, 20, 200, "OK", SSE) in rest
    assert ("chunk", 1, 20, b"event: a\ndata: 1\n\n", False) in rest
    assert ("chunk", 1, 30, b"data: 2\n\n", True) in rest
    assert rest[-1][0] == "add"
    assert rest[-1][1].content.ending is Ending.COMPLETE


def test_the_tally(capture: Any) -> None:
    """Open exchanges and streams, events, bytes, the last event and the endings."""
    stream = capture.exchange("GET", "/s", ())
    stream.response(200, "OK", SSE)
    stream.chunk(b"event: values\ndata: 1\n\n")
    capture.exchange("GET", "/p", ()).response(200, "OK", ())
    tally = capture.tally
    assert (tally.exchanges, tally.open_exchanges, tally.open_streams) == (2, 2, 1)
    assert (tally.events, tally.response_bytes, tally.last_event) == (1, 23, "values")
    stream.end(Ending.CLIENT_LEFT)
    assert (tally.open_exchanges, tally.open_streams, tally.unfinished) == (1, 0, 1)


def test_nothing_follows_an_end(capture: Any, log: Any) -> None:
    """Calls after the end are ignored: both sides of a proxy may notice it."""
    exchange = capture.exchange("GET", "/", ())
    exchange.end(Ending.CLIENT_LEFT)
    before = len(log.calls)
    exchange.end(Ending.COMPLETE)
    exchange.chunk(b"x")
    exchange.response(200, "OK", ())
    exchange.request_body(b"x")
    exchange.request_end()
    assert len(log.calls) == before
    assert capture.tally.open_exchanges == 0


def test_masking_happens_before_the_writer(capture: Any, log: Any) -> None:
    """Head, body and named values in responses; what was found late is in the end record."""
    exchange = capture.exchange("POST", "/x?api_key=k1", ((b"Authorization", b"k2"),))
    exchange.request_body(b'{"password":"k3"}')
    exchange.request_end()
    exchange.response(200, "OK", ((b"Set-Cookie", b"k4"),))
    exchange.chunk(b"a sesame b")
    exchange.end(Ending.COMPLETE)
    told = repr(log.calls)
    for secret in ("k1", "k2", "k3", "k4", "sesame"):
        assert secret not in told
    assert log.calls[1][-1] == ("header authorization", "query api_key")
    assert log.calls[-1][1].content.extra == {
        "redacted": ["header set-cookie", "value TOKEN", "body password"]
    }


def test_what_the_client_asked(capture: Any, log: Any, clock: Any) -> None:
    """Stands beside the request that went up, masked like it; each part only if it differed."""
    exchange = capture.exchange("POST", "/x", ())
    exchange.asked(
        {"stream_mode": b'"values"'}, ((b"x-api-key", b"s"), (b"last-event-id", b"1")), "/x?api_key=s&a=1"
    )
    exchange.asked({}, (), None)
    number, at_ns, asked, _ = log.calls[-2][1]
    assert (number, at_ns) == (exchange.number, 0)
    assert dict(asked.body) == {"stream_mode": b'"values"'}
    assert [name for name, value in asked.headers if value != b"s"] == [b"x-api-key", b"last-event-id"]
    assert asked.headers[1][1] == b"1"
    assert "=s&" not in asked.target
    assert log.calls[-1][1].content.target is None


def test_a_body_that_broke_off(capture: Any, log: Any) -> None:
    """What the masker still held is written; the request is not called whole."""
    exchange = capture.exchange("POST", "/", ())
    exchange.request_body(b'{"a":"ses')
    exchange.end(Ending.CLIENT_LEFT)
    assert b"".join(entry[3] for entry in log.calls if entry[0] == "request_body") == b'{"a":"ses'
    assert "request_end" not in log.names()


@pytest.mark.parametrize("failing", ["request", "response", "chunk", "flush"])
def test_a_failing_write_stops_everything(capture: Any, log: Any, failing: Any) -> None:
    """From the first failed write on nothing passes unrecorded."""
    log.failing = failing
    with pytest.raises(CassetteWriteFailed):  # noqa: PT012 - which call raises is the parameter
        exchange = capture.exchange("GET", "/", ())
        exchange.response(200, "OK", ())
        exchange.chunk(b"x")
        capture.flush()
    log.failing = ""
    with pytest.raises(CassetteWriteFailed):
        capture.flush()
    with pytest.raises(CassetteWriteFailed):
        capture.exchange("GET", "/", ())


def test_traffic_may_pass_unrecorded(log: Any, clock: Any) -> None:
    """With pass_on_failure the exchange goes on and the writer is left alone."""
    capture = Capture(log, clock, Redactor(), upstream="", program="", pass_on_failure=True)
    exchange = capture.exchange("GET", "/", ())
    log.failing = "chunk"
    exchange.response(200, "OK", ())
    exchange.chunk(b"x")
    told = len(log.calls)
    capture.flush()
    exchange.end(Ending.COMPLETE)
    capture.exchange("GET", "/", ()).end(Ending.COMPLETE)
    assert len(log.calls) == told
    assert str(capture.failure) == "x.tape: disk full"
    assert capture.tally.exchanges == 2
