"""Tests of `workbench/selfreplay.py`."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.errors import NotACassette
from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import CheckReport
from graphtape.workbench import selfreplay
from graphtape.workbench.client import NoAnswer, Received, send
from graphtape.workbench.selfreplay import Departure, Verdict, format_verdict, verdict_json, verify_cassette

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`


def verified(kit: Any, *calls: Any, closed: bool = True) -> Verdict:
    return verify_cassette(str(kit.write(*calls, closed=closed)))


def test_sound(kit: Any) -> None:
    """A whole cassette whose every answer comes again is sound."""
    verdict = verified(kit, kit.info(), kit.thread(), kit.run())
    assert (verdict.state, verdict.passed, verdict.compared, verdict.departures) == ("sound", True, 3, [])
    lines = list(format_verdict(verdict))
    assert lines[0].endswith("a.tape: sound")
    assert lines[-1] == "  self-replay: 3 of 3 exchanges answered with the recorded bytes"


def test_empty_cassette(kit: Any) -> None:
    """Nothing to play is no fault."""
    assert verified(kit).state == "sound"


def test_unfinished(kit: Any) -> None:
    """A recorder that was killed leaves a sound cassette: what is whole and what is not is said."""
    verdict = verified(kit, kit.info(), kit.run(ending=None), closed=False)
    assert (verdict.state, verdict.passed, verdict.compared) == ("unfinished", True, 1)
    text = "\n".join(format_verdict(verdict))
    assert "1 exchange whole; without an end: 2" in text
    assert "exchange 2 not compared: unfinished" in text


def test_what_follows_an_unfinished_run(kit: Any) -> None:
    """It is played to where it breaks off, for what was read after it."""
    state = kit.Call("GET", f"/threads/{kit.THREAD}/state", None, {"read": "after it"})
    verdict = verified(kit, kit.thread(), kit.run(ending=None), state)
    assert (verdict.state, verdict.compared, verdict.set_aside) == ("sound", 2, [(2, "unfinished")])


def again(kit: Any, *calls: Any) -> list[Any]:
    """The same on another thread, in another run."""

    def other(text: str) -> str:
        for identifier in (kit.THREAD, kit.RUN):
            text = text.replace(identifier, identifier[:-1] + "f")
        return text

    return [
        replace(
            call,
            target=other(call.target),
            answer=orjson.loads(other(orjson.dumps(call.answer).decode()))
            if isinstance(call.answer, dict)
            else other(call.answer.decode()).encode(),
            headers=tuple((name, other(value.decode()).encode()) for name, value in call.headers),
        )
        for call in calls
    ]


@pytest.mark.parametrize("ending", [None, Ending.RECORDER_STOPPED])
def test_a_broken_run_that_was_recorded_again(ending: Ending | None, kit: Any) -> None:
    """Every recording is asked for in its turn, also one that a replay plays only if there is no other."""
    verdict = verified(kit, kit.thread(), kit.run(ending=ending), *again(kit, kit.thread(), kit.run()))
    assert verdict.departures == []
    assert verdict.compared == (3 if ending is None else 4)


def test_torn(kit: Any) -> None:
    """A torn tail is told by its offset."""
    path = kit.write(kit.info(), kit.thread(), kit.run(), closed=False)
    path.write_bytes(path.read_bytes()[:-7])
    verdict = verify_cassette(str(path))
    assert verdict.state == "unfinished"
    assert verdict.report is not None
    assert f"nothing after byte {verdict.report.torn_at}" in "\n".join(format_verdict(verdict))


def test_damaged(kit: Any) -> None:
    """A changed byte is damage, with its place, and exit status 1."""
    path = kit.write(kit.info(), kit.thread(), kit.run())
    data = bytearray(path.read_bytes())
    data[90] ^= 0x10
    path.write_bytes(data)
    verdict = verify_cassette(str(path))
    assert (verdict.state, verdict.passed) == ("damaged", False)
    assert verdict.damaged_at is not None
    assert verdict_json(verdict)["damage"]["offset"] == verdict.damaged_at
    assert f"at byte {verdict.damaged_at}" in "\n".join(format_verdict(verdict))


def test_no_cassette(kit: Any) -> None:
    """What never was a cassette is an error, not a verdict."""
    path = kit.folder / "x.tape"
    path.write_text("hello")
    with pytest.raises(NotACassette):
        verify_cassette(str(path))


@pytest.mark.parametrize("ending", [Ending.CLIENT_LEFT, Ending.UPSTREAM_BROKE, Ending.RECORDER_STOPPED])
def test_responses_that_did_not_end(ending: Ending, kit: Any) -> None:
    """They are compared as far as they go."""
    cut = kit.run(ending=ending, answer=kit.EVENTS[:-20])
    verdict = verified(kit, kit.thread(), cut)
    assert (verdict.state, verdict.compared) == ("sound", 2)


def test_upstream_that_was_not_reached(kit: Any) -> None:
    """It is listed, not compared."""
    unreached = kit.Call("GET", "/x", None, {"detail": "no"}, status=502, ending=Ending.UNREACHED)
    verdict = verified(kit, kit.info(), unreached)
    assert (verdict.state, verdict.set_aside) == ("sound", [(2, "the upstream was not reached")])


def test_compressed_stream(kit: Any) -> None:
    """A coded body is compared by what it says."""
    headers = (*kit.STREAM, (b"content-encoding", b"gzip"))
    call = kit.Call("GET", "/other/stream", None, gzip.compress(kit.EVENTS, mtime=0), headers=headers)
    assert verified(kit, call).state == "sound"


def test_stream_of_a_thread_beside_its_runs(kit: Any) -> None:
    """A thread's stream stays open while the runs are played, and is compared as far as it was heard."""
    follow = kit.Call(
        "GET", f"/threads/{kit.THREAD}/stream", None, kit.sse(("metadata", {"run_id": kit.RUN, "attempt": 1})),
        headers=kit.STREAM[:2] + kit.STREAM[4:], ending=Ending.CLIENT_LEFT, at_ms=50, took_ms=100,
    )  # fmt: skip
    verdict = verified(kit, kit.thread(), follow, kit.run(at_ms=60))
    assert verdict.compared + len(verdict.set_aside) == 3
    assert [one for one in verdict.departures if one.exchange != 2] == []


def test_join_of_a_run_that_was_running(kit: Any) -> None:
    """What was asked while a run ran cannot come again at max: it is named, not counted as different."""
    join = kit.Call(
        "GET",
        f"/threads/{kit.THREAD}/runs/{kit.RUN}/stream",
        None,
        kit.EVENTS[-130:],
        headers=kit.STREAM,
        at_ms=40,
    )
    busy = kit.Call(
        "GET", f"/threads/{kit.THREAD}/runs/{kit.RUN}", None, {"status": "running"}, at_ms=45, took_ms=2
    )
    verdict = verified(kit, kit.thread(), kit.run(at_ms=30, took_ms=100), join, busy)
    assert verdict.passed
    assert {number for number, _ in verdict.set_aside} <= {3, 4}
    assert all("exchange 2 was still open" in reason for _, reason in verdict.set_aside)


@pytest.mark.parametrize("way", ["stream", "create"])
def test_looks_at_a_run_that_is_gone_with_its_thread(kit: Any, way: str) -> None:
    """At max it is gone before anybody can look: what was seen of it meanwhile is not asked for, its absence is."""
    base, body = f"/threads/{kit.THREAD}", {"assistant_id": "agent"}
    location = (b"content-location", f"/runs/{kit.RUN}".encode())
    if way == "stream":
        headers = (*kit.STREAM[:2], location, *kit.STREAM[4:])
        run = kit.Call("POST", "/runs/stream", body, kit.EVENTS, headers=headers, at_ms=10, took_ms=100)
    else:
        told = {"run_id": kit.RUN, "thread_id": kit.THREAD, "status": "pending"}
        run = kit.Call("POST", "/runs", body, told, headers=(*kit.JSON, location), at_ms=10)
    calls = [
        run,
        kit.Call("GET", f"{base}/state", None, {"values": {}}, at_ms=30),
        kit.Call("GET", f"{base}/runs/{kit.RUN}", None, {"run_id": kit.RUN}, at_ms=40),
        kit.Call("POST", "/threads/search", {}, [{"thread_id": kit.THREAD}], at_ms=50),
    ]
    if way == "create":
        path = f"{base}/runs/{kit.RUN}/stream"
        calls.append(kit.Call("GET", path, None, kit.EVENTS, headers=kit.STREAM, at_ms=25, took_ms=85))
    gone = {"detail": f"Thread with ID {kit.THREAD} not found"}
    calls.append(kit.Call("GET", f"{base}/state", None, gone, status=404, at_ms=150))
    verdict = verified(kit, *calls)
    assert verdict.departures == []
    what = "exchange 1 was still open" if way == "stream" else "the run of exchange 1 went on"
    assert [reason for _, reason in verdict.set_aside] == [
        f"asked while {what}, which its answer depends on"
    ] * 3
    assert verdict.compared == len(calls) - 3


def answered(kit: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[tuple[str, str, str]]:
    """Departures when the mock answers the run otherwise."""
    real = send

    async def bent(*args: Any, **options: Any) -> Received:
        received = await real(*args, **options)
        return replace(received, **changes) if args[2].method == "POST" else received

    monkeypatch.setattr(selfreplay, "send", bent)
    verdict = verified(kit, kit.info(), kit.run(target="/runs/stream"))
    assert verdict.state == "self-replay differs"
    assert not verdict.passed
    text = "\n".join(format_verdict(verdict))
    assert "exchange 2  POST /runs/stream" in text
    assert orjson.dumps(verdict_json(verdict))
    return [(one.what, one.recorded, one.replayed) for one in verdict.departures]


def test_another_status(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is shown with what it said, and nothing else is compared."""
    found = answered(kit, monkeypatch, status=404, body=b'{"detail":"no"}')
    assert found == [("status", "200", '404 {"detail":"no"}')]


def test_another_event(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event that differs is shown from both sides."""
    (found,) = answered(kit, monkeypatch, body=kit.EVENTS.replace(b"yo", b"no"))
    assert found[0] == "event 3"
    assert '"yo"' in found[1]
    assert '"no"' in found[2]


@pytest.mark.parametrize(("more", "what"), [(True, "event 4"), (False, "event 1")])
def test_more_and_fewer_events(more: bool, what: str, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that goes on, or stops early, differs there."""
    (found,) = answered(kit, monkeypatch, body=kit.EVENTS + kit.sse(("x", 1)) if more else b"")
    assert found[0] == what


def test_another_header(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers count, the date too; our own do not."""
    headers = (*kit.STREAM[1:], (b"graphtape-match", b"exact"), (b"access-control-allow-origin", b"*"))
    found = answered(kit, monkeypatch, headers=headers)
    assert found == [("header date", "Sat, 21 Nov 2026 02:57:39 GMT", "(absent)")]


def test_broken_end(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that was whole must end whole."""
    assert answered(kit, monkeypatch, whole=False) == [("ending", "complete", "the connection broke")]


def test_no_answer(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock that does not answer at all is a difference, not a traceback."""

    async def silent(*_: Any, **__: Any) -> Received:
        raise NoAnswer("no answer to GET /info: closed")

    monkeypatch.setattr(selfreplay, "send", silent)
    (found,) = verified(kit, kit.info()).departures
    assert (found.what, found.replayed) == ("answer", "no answer to GET /info: closed")


def test_plain_bodies(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newlines that keep a wait alive do not count; a changed byte does."""
    wait = kit.Call("POST", "/runs/wait", {"assistant_id": "agent", "input": {}}, b'\n\n{"a":1}')
    assert verified(kit, wait).state == "sound"

    async def changed(*_: Any, **__: Any) -> Received:
        return Received(200, "OK", kit.JSON, b'{"a":2}', True)

    monkeypatch.setattr(selfreplay, "send", changed)
    (found,) = verified(kit, wait).departures
    assert (found.what, found.recorded, found.replayed) == ("body from byte 5", '{"a":1}', '{"a":2}')


@pytest.mark.parametrize(("name", "state"), [("full", "sound"), ("minimal", "sound"), ("torn", "unfinished")])
def test_golden_cassettes(name: str, state: str) -> None:
    """The cassettes of every kind of record play to themselves; what nobody can send again is named."""
    path = Path(__file__).parents[1] / "golden" / f"{name}.tape"
    verdict = verify_cassette(str(path))
    assert (verdict.state, verdict.departures) == (state, [])
    if name == "full":
        assert (2, "its target holds bytes that no client sends") in verdict.set_aside


def test_long_target_is_cut() -> None:
    """A target of any length takes one line of bearable length."""
    verdict = Verdict(
        "a.tape", report=CheckReport(1, (), 0, 0, finished=True, torn_at=None, unknown_frames=0)
    )
    verdict.departures.append(Departure(1, "GET /" + "a" * 60_000, "status", "200", "x" * 60_000))
    assert max(map(len, format_verdict(verdict))) < 500
