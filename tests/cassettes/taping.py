"""Writes cassettes of runs, for the tests of what is read out of them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from graphtape.cassettes.model import Ending
from graphtape.cassettes.placing import read_tapes
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.runs import RecordedRun, Tapes
from graphtape.cassettes.writer import CassetteWriter

MS = 1_000_000


BODY = {"assistant_id": "agent", "input": "hi"}


EVENTS = [
    b'event: metadata\r\ndata: {"run_id":"x"}\r\nid: 10-0\r\n\r\n',
    b"event: values\r\ndata: 1\r\nid: 11-0\r\n\r\n",
    b"event: values\r\ndata: 2\r\nid: 11-0\r\n\r\n",
    b"event: values\r\ndata: 3\r\nid: 12-0\r\n\r\n",
]


def uid(number: int) -> str:
    return f"019f0000-0000-7000-8000-{number:012x}"


THREAD, RUN = f"/threads/{uid(1)}", f"/threads/{uid(1)}/runs/{uid(2)}"


class Tape:
    """Writes exchanges one after the other, ten milliseconds each unless times are given."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._path = folder / "runs.tape"
        self._stack = stack
        self._now = 0
        self._writer = CassetteWriter.create(self._path)
        self._writer.begin_recording(0, "http://127.0.0.1:2024", "graphtape")

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        reads: list[bytes] | None = None,
        json: Any = None,
        location: str = "",
        status: int = 200,
        cursor: str = "",
        ending: Ending | None = Ending.COMPLETE,
        at: int | None = None,
        took: int = 10,
    ) -> None:
        writer, start = self._writer, self._now if at is None else at
        kind = b"application/json" if reads is None else b"text/event-stream"
        headers = [(b"content-type", kind)]
        headers += [(b"content-location", location.encode())] if location else []
        asked = ((b"last-event-id", cursor.encode()),) if cursor else ()
        number = writer.request(start * MS, method, target, asked)
        writer.request_body(number, start * MS, b"" if body is None else orjson.dumps(body))
        writer.request_end(number, start * MS)
        writer.response(number, start * MS, status, "OK", tuple(headers))
        for data in [orjson.dumps(json)] if reads is None else reads:
            writer.chunk(number, (start + 1) * MS, data)
        if ending is not None:
            writer.end(number, (start + took) * MS, ending)
        self._now = max(self._now, start + took + 1)

    def stream(self, events: list[bytes], ending: Ending | None = Ending.COMPLETE, **more: Any) -> None:
        self.call("POST", f"{THREAD}/runs/stream", BODY, reads=events, location=RUN, ending=ending, **more)

    def join(self, events: list[bytes], **more: Any) -> None:
        self.call("GET", f"{RUN}/stream", reads=events, **more)

    def tapes(self) -> Tapes:
        self._writer.close()
        return read_tapes([self._stack.enter_context(Cassette.open(self._path))])

    def run(self) -> RecordedRun:
        (run,) = self.tapes().runs
        return run


def raws(run: RecordedRun) -> list[bytes]:
    assert run.tape is not None
    return [entry.raw for entry in run.tape.events]


BORN = "01a22221-90d6-7168-aa04-4c0{}337c34ac"


def told(tape: Tape, status: str, *begun: str) -> None:
    config = {"metadata": dict.fromkeys(begun, 1)}
    run = {"run_id": uid(2), "status": status, "kwargs": {"config": config}}
    tape.call("GET", f"{THREAD}/runs", json=[run], at=30)
