"""What is written to a client, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.model import Ending

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

BODY = {"assistant_id": "agent", "input": "hi", "stream_resumable": True}


def recording(kit: Any, events: Any = None, body: Any = None, **more: Any) -> Any:
    made = kit.recording()
    thread_id = made.thread(1)
    given = kit.simple_events(kit.uid(2), *"abcd", ids=True) if events is None else events
    made.run(thread_id, kit.uid(2), {**BODY, **(body or {})}, given, **more)
    return made


def path(kit: Any, suffix: str = "") -> str:
    return f"/threads/{kit.uid(1)}/runs{suffix}"


def whole(kit: Any) -> bytes:
    events = kit.simple_events(kit.uid(2), *"abcd", ids=True)
    return b"".join(kit.sse(*event[1:]) for event in events)


@pytest.mark.parametrize("speed", [1, "20", "max"])
async def test_recorded_bytes(kit: Any, play: Any, speed: Any) -> None:
    """The same request gets the recorded bytes, one HTTP chunk for each event, whatever the reads were."""
    events = kit.simple_events(kit.uid(2), *"abcd", ids=True)
    one_read = [(5, b"".join(kit.sse(*event[1:]) for event in events))]
    client = await play(recording(kit, one_read), speed=speed)
    async with client.post(path(kit, "/stream"), json=BODY) as response:
        chunks: list[bytes] = []
        buffer = b""
        async for data, end in response.content.iter_chunks():
            buffer += data
            if end and buffer:  # to this client, the terminating chunk may be one more
                chunks, buffer = [*chunks, buffer], b""
    assert chunks == [kit.sse(*event[1:]) for event in events]


async def test_recorded_rhythm(kit: Any, play: Any) -> None:
    """At speed 1 the head and every event are waited for until their recorded time after the request."""
    clock = FakeClock(start_ns=500 * kit.MS)
    client = await play(recording(kit, end_ms=7), clock=clock)
    async with client.post(path(kit, "/stream"), json=BODY) as response:
        await response.read()
    due = sorted({(slept - 500 * kit.MS) // kit.MS for slept in clock.slept})
    assert [moment for moment in due if moment > 0] == [1, 11, 21, 31, 41, 51, 58]


@pytest.mark.parametrize(("idle", "due"), [(0.005, [1, 6, 11, 16, 21, 26]), (None, [1, 11, 21, 31, 41, 51])])
async def test_idle_limit(kit: Any, play: Any, idle: Any, due: list[int]) -> None:
    """An idle limit caps the gaps between events."""
    clock = FakeClock()
    client = await play(recording(kit), clock=clock, idle_limit=idle)
    async with client.post(path(kit, "/stream"), json=BODY) as response:
        await response.read()
    assert sorted({slept // kit.MS for slept in clock.slept} - {0}) == due


LONG: list[Any] = [
    (1, "metadata", {}),
    (4999, b": heartbeat\r\n\r\n"),
    (3000, "values", {}),
    (4000, "values", {}),
]


@pytest.mark.parametrize(
    ("choices", "beats"),
    [
        ({}, [5001]),
        ({"speed": 2}, [5000]),
        ({"idle_limit": 9}, [5001, 10001]),
        ({"speed": "max"}, []),
    ],
)
async def test_heartbeats(kit: Any, play: Any, choices: Any, beats: list[int]) -> None:
    """Recorded heartbeats at recorded times; at any other time they are planned each 5 s; at max there are none."""
    clock = FakeClock()
    client = await play(recording(kit, LONG), clock=clock, **choices)
    async with client.post(path(kit, "/stream"), json={**BODY, "stream_resumable": False}) as response:
        body = await response.read()
    assert body.count(kit.HEARTBEAT) == len(beats)
    if beats:
        assert body.index(kit.HEARTBEAT) > body.index(b"event: metadata")


async def _body(client: Any, target: str) -> bytes:
    async with client.post(target, json=BODY) as response:
        return bytes(await response.read())


@pytest.mark.parametrize("ending", [Ending.CLIENT_LEFT, Ending.UPSTREAM_BROKE, Ending.RECORDER_STOPPED, None])
@pytest.mark.parametrize("speed", [1, "max"])
async def test_incomplete_recording(kit: Any, play: Any, ending: Any, speed: Any) -> None:
    """A recording without an end is played to its last whole event, then the connection breaks."""
    made = recording(kit, ending=ending)
    cassette = made.close(finished=ending is not None)
    client = await play(cassette, speed=speed)
    async with client.post(path(kit, "/stream"), json=BODY) as response:
        assert await _until_broken(response) == whole(kit)


async def _until_broken(response: Any) -> bytes:
    data = b""
    with pytest.raises(Exception, match=r"payload|closed|disconnect|Connection"):  # noqa: PT012
        while True:
            piece = await response.content.readany()
            if not piece and response.content.at_eof():
                break
            data += piece
        pytest.fail("the response ended as if it were whole")
    return data


async def test_incomplete_recording_continued_from_a_join(kit: Any, play: Any) -> None:
    """What a join holds behind the cut is played after it, and the end is the join's."""
    made = kit.recording()
    thread_id = made.thread(1)
    events = kit.simple_events(kit.uid(2), *"abcd", ids=True)
    made.run(thread_id, kit.uid(2), BODY, events[:2], ending=Ending.CLIENT_LEFT)
    reads = [(1, kit.sse(*event[1:])) for event in events[2:]]
    cursor = ((b"last-event-id", events[1][3].encode()),)
    made.call("GET", path(kit, f"/{kit.uid(2)}/stream"), headers=kit.STREAM_TAIL, asked=cursor, reads=reads)
    client = await play(made, speed="max")
    assert await _body(client, path(kit, "/stream")) == whole(kit)


@pytest.mark.parametrize("ids", ["recorded", "unique"])
@pytest.mark.parametrize("same", [False, True])
async def test_every_cut(kit: Any, play: Any, ids: str, same: bool) -> None:
    """What came before a cut and the resumed rest are the whole; with recorded ids less those of an equal id."""
    events = kit.simple_events(kit.uid(2), *"abcd", ids=True)
    if same:
        events = [(*event[:3], f"{1_795_219_836_000 + n // 2}-0") for n, event in enumerate(events)]
    client = await play(recording(kit, events), speed="max", ids=ids)
    sent = (await _body(client, path(kit, "/stream"))).split(b"\r\n\r\n")[:-1]
    for cut in range(1, len(sent) + 1):
        cursor = sent[cut - 1].rpartition(b"id: ")[2].decode()
        target = path(kit, f"/{kit.uid(2)}/stream")
        async with client.get(target, headers={"Last-Event-ID": cursor}) as response:
            rest = (await response.read()).split(b"\r\n\r\n")[:-1]
        expected = sent[cut:]
        if ids == "recorded":
            expected = [event for event in expected if event.rpartition(b"id: ")[2].decode() > cursor]
        assert rest == expected, cursor


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cursor", "count"),
    [(None, 0), ("", 0), ("-1", 5), ("-", 5), ("0", 5), ("zzz", 0), ("9999999999999-0", 0)],
)
@pytest.mark.parametrize("ids", ["recorded", "unique"])
async def test_join_of_a_finished_run(kit: Any, play: Any, cursor: Any, count: int, ids: str) -> None:
    """A finished resumable run is replayed behind the cursor; without one the body is empty."""
    client = await play(recording(kit), ids=ids)
    await _body(client, path(kit, "/stream"))
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    async with client.get(path(kit, f"/{kit.uid(2)}/stream"), headers=headers) as response:
        assert (await response.read()).count(b"event:") == count


async def test_wait_for_the_end_of_a_finished_run(kit: Any, play: Any) -> None:
    """A join with nothing behind its cursor ends after the server's half second, one that meets the end at once."""
    clock = FakeClock()
    client = await play(recording(kit), clock=clock)
    await _body(client, path(kit, "/stream"))
    for cursor, waits in (("zzz", True), ("1795219836040-0", False), ("-1", False)):
        clock.slept.clear()
        before = clock.now_ns()
        headers = {"Last-Event-ID": cursor}
        async with client.get(path(kit, f"/{kit.uid(2)}/stream"), headers=headers) as response:
            await response.read()
        assert (clock.now_ns() - before == 500 * kit.MS) is waits, cursor


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["metadata", "values", "updates"]),
        ("?stream_mode=updates", ["updates"]),
        ("?stream_mode=values&stream_mode=updates", ["updates"]),
        ('?stream_mode=["values","updates"]', ["values", "updates"]),
        ("?stream_mode=values,updates", []),
        ("?stream_mode=bogus", []),
    ],
)
async def test_join_filters(kit: Any, play: Any, query: str, names: list[str]) -> None:
    """`stream_mode` of a join filters by name, as the server reads it."""
    events: list[Any] = [(1, "metadata", {}, "1-0"), (1, "values", {}, "2-0"), (1, "updates", {}, "3-0")]
    modes = {"stream_mode": ["values", "updates"]}
    client = await play(recording(kit, events, modes), speed="max")
    async with client.post(path(kit, "/stream"), json={**BODY, **modes}) as response:
        await response.read()
    target = path(kit, f"/{kit.uid(2)}/stream{query}")
    async with client.get(target, headers={"Last-Event-ID": "-1"}) as response:
        lines = (await response.read()).decode().split("\r\n")
    assert [line[7:] for line in lines if line.startswith("event: ")] == names


async def held(kit: Any, play: Any, **choices: Any) -> tuple[Any, FakeClock]:
    """A client on a clock that only the test moves."""
    clock = FakeClock(autojump=False)
    return await play(recording(kit), clock=clock, **choices), clock


async def moved(clock: FakeClock, by_ns: int) -> None:
    """Move the clock when everything that is ready has run, and let what it woke run too."""
    for _ in range(30):
        await asyncio.sleep(0)
    await asyncio.sleep(0.002)
    clock.advance(by_ns)
    await asyncio.sleep(0.002)


async def opened(client: Any, clock: FakeClock, target: str, body: Any = None, **more: Any) -> Any:
    """A stream whose head has come."""
    asking = client.post(target, json=body, **more) if body is not None else client.get(target, **more)
    task = asyncio.ensure_future(asking)
    for _ in range(50):
        if task.done():
            break
        await moved(clock, 1_000_000)
    return await task


@pytest.mark.slow
async def test_several_readers_of_one_run(kit: Any, play: Any) -> None:
    """Joins see a running run from now on, each with its own place; their reader leaving changes nothing."""
    client, clock = await held(kit, play)
    stream = await opened(client, clock, path(kit, "/stream"), BODY)
    await moved(clock, 15 * kit.MS)
    live = await opened(client, clock, path(kit, f"/{kit.uid(2)}/stream"))
    full = await opened(client, clock, path(kit, f"/{kit.uid(2)}/stream"), headers={"Last-Event-ID": "-1"})
    for _ in range(6):
        await moved(clock, 10 * kit.MS)
    assert await stream.read() == await full.read() == whole(kit)
    rest = await live.read()
    assert rest
    assert whole(kit).endswith(rest)
    assert b"metadata" not in rest


@pytest.mark.slow
async def test_heartbeats_while_queued(kit: Any, play: Any) -> None:
    """A run that is queued behind another has heartbeats from the start of its own response on."""
    clock = FakeClock(autojump=False)
    client = await play(recording(kit, LONG), clock=clock)
    first = await opened(client, clock, path(kit, "/stream"), BODY)
    second = await opened(client, clock, path(kit, "/stream"), BODY)
    for _ in range(27):
        await moved(clock, 1000 * kit.MS)
    assert (await first.read()).count(kit.HEARTBEAT) == 1
    body = await second.read()
    assert body.count(kit.HEARTBEAT) == 4
    assert body.startswith(kit.HEARTBEAT * 2 + b"event: metadata")


async def test_cancelled_stream_just_ends(kit: Any, play: Any) -> None:
    """The open stream of a cancelled run ends cleanly where it is, without an event."""
    client, clock = await held(kit, play)
    stream = await opened(client, clock, path(kit, "/stream"), BODY)
    await moved(clock, 12 * kit.MS)
    async with client.post(path(kit, f"/{kit.uid(2)}/cancel")) as response:
        assert response.status == 202
    await moved(clock, 10 * kit.MS)
    body = await asyncio.wait_for(stream.read(), 1)
    assert whole(kit).startswith(body)
    assert 0 < len(body) < len(whole(kit))


@pytest.mark.slow
@pytest.mark.parametrize(("on_disconnect", "status"), [("cancel", "interrupted"), ("continue", "success")])
async def test_client_leaves(kit: Any, play: Any, on_disconnect: str, status: str) -> None:
    """A run whose client leaves goes on, or is interrupted, by `on_disconnect`."""
    client, clock = await held(kit, play)
    body = {**BODY, "on_disconnect": on_disconnect}
    stream = await opened(client, clock, path(kit, "/stream"), body)
    stream.close()
    for _ in range(8):
        await moved(clock, 10 * kit.MS)
    async with client.get(path(kit, f"/{kit.uid(2)}")) as response:
        assert (await response.json())["status"] == status


@pytest.mark.parametrize("what", ["/stream", "/wait"])
async def test_readers_of_a_run(kit: Any, play: Any, what: str) -> None:
    """A run in line that somebody waits for is interrupted where it would have been rolled back."""
    clock = FakeClock(autojump=False)
    made = recording(kit)
    later = {**BODY, "input": "next"}
    made.run(kit.uid(1), kit.uid(3), later)
    client = await play(made, clock=clock)
    await opened(client, clock, path(kit, "/stream"), BODY)
    reader = await opened(client, clock, path(kit, what), later)
    async with client.post(path(kit, f"/{kit.uid(3)}/cancel?action=rollback")):
        pass
    async with client.get(path(kit, f"/{kit.uid(3)}")) as told:
        assert (await told.json())["status"] == "interrupted"
    await moved(clock, kit.MS)
    await reader.read()


async def test_created_run_at_max_begins_when_it_is_read(kit: Any, play: Any) -> None:
    """At max a run without a POST response is played from its start by the join that reads it first."""
    client = await play(recording(kit), speed="max")
    async with client.post(path(kit), json=BODY) as response:
        assert (await response.json())["status"] == "pending"
    async with client.get(path(kit, f"/{kit.uid(2)}/stream")) as response:
        assert await response.read() == whole(kit)


@pytest.mark.parametrize("suffix", ["/{2}", "", "/{2}/join"])
async def test_created_run_at_max_is_completed_by_a_read(kit: Any, play: Any, suffix: str) -> None:
    """At max a read of the run, or waiting for it, finds it complete."""
    client = await play(recording(kit), speed="max")
    await client.post(path(kit), json=BODY)
    async with client.get(path(kit, suffix.replace("{2}", kit.uid(2)))) as response:
        text = await response.text()
    assert "success" in text or text == '{"text":"d"}'


async def test_run_queued_behind_a_created_one_at_max(kit: Any, play: Any) -> None:
    """At max a stream queued behind a run that nobody reads is not held up for ever."""
    client = await play(recording(kit), speed="max")
    await client.post(path(kit), json=BODY)
    body = await asyncio.wait_for(_body(client, path(kit, "/stream")), 2)
    assert body.count(b"event:") == 5


async def test_derived_wait(kit: Any, play: Any) -> None:
    """`wait` of a streamed run: the head at once, a newline each 5 s, then the last values."""
    events: list[Any] = [(1, "metadata", {}, "1-0"), (12_000, "values", {"n": 1}, "2-0")]
    clock = FakeClock()
    client = await play(recording(kit, events), clock=clock)
    async with client.post(path(kit, "/wait"), json=BODY) as response:
        assert await response.read() == b'\n\n{"n":1}'
    client = await play(recording(kit, events), speed="max")
    async with client.post(path(kit, "/wait"), json=BODY) as response:
        assert await response.read() == b'{"n":1}'


async def test_stream_from_a_join(kit: Any, play: Any) -> None:
    """A run created in the background and joined from its start can be streamed."""
    made = kit.recording()
    thread_id = made.thread(1)
    value = {"run_id": kit.uid(2), "thread_id": thread_id, "status": "pending"}
    made.json("POST", path(kit), value, BODY)
    reads = [(1, kit.sse(*event[1:])) for event in kit.simple_events(kit.uid(2), *"abcd", ids=True)]
    made.call("GET", path(kit, f"/{kit.uid(2)}/stream"), headers=kit.STREAM_TAIL, reads=reads)
    client = await play(made, speed="max", match="strict")
    async with client.post(path(kit, "/stream"), json=BODY) as response:
        assert response.headers["graphtape-derived"] == "recorded create"
        assert await response.read() == whole(kit)


async def test_head_request(kit: Any, play: Any) -> None:
    """HEAD has the head of GET and no body, also of a stream that never ends."""
    client = await play(recording(kit), speed="max")
    async with client.head(f"/threads/{kit.uid(1)}/stream") as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await response.read() == b""


@pytest.mark.parametrize(("on_disconnect", "status"), [("cancel", "interrupted"), ("continue", "success")])
async def test_recorded_client_that_left(kit: Any, play: Any, on_disconnect: str, status: str) -> None:
    """Where the recorded client left, the stream breaks; the run is cancelled, or its recorded join still answers."""
    recording = kit.recording()
    thread_id, run_id = recording.thread(1), kit.uid(2)
    body = {"assistant_id": "agent", "input": "hi", "on_disconnect": on_disconnect}
    recording.run(thread_id, run_id, body, ending=Ending.CLIENT_LEFT)
    path = f"/threads/{thread_id}/runs/{run_id}"
    if status == "success":
        recording.json("GET", f"{path}/join", {"n": 1})
    client = await play(recording, speed="max")
    async with client.post("/threads", json={}):
        pass
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.post(f"/threads/{thread_id}/runs/stream", json=body) as response:
            await response.read()
    if status == "success":
        async with client.get(f"{path}/join") as response:
            assert await response.json() == {"n": 1}
    else:
        async with client.get(path) as response:
            assert (await response.json())["status"] == status


async def test_join_whose_run_its_reader_had_left(kit: Any, play: Any) -> None:
    """A wait ends when the run does, not where its recorded reader left: what is read next finds it over."""
    made = recording(kit, ending=Ending.CLIENT_LEFT)
    base = path(kit, f"/{kit.uid(2)}")
    made.json("GET", f"{base}/join", {"text": "z"}, head_ms=400)
    made.json("GET", base, {"run_id": kit.uid(2), "thread_id": kit.uid(1), "status": "success"})
    clock = FakeClock()
    client = await play(made, clock=clock)
    response = await client.post(path(kit, "/stream"), json=BODY)
    await response.content.readany()
    response.close()
    began_ns = clock.now_ns()
    async with client.get(f"{base}/join") as response:
        assert await response.json() == {"text": "z"}
    assert clock.now_ns() - began_ns > 300 * kit.MS
    async with client.get(base) as response:
        assert (await response.json())["status"] == "success"


@pytest.mark.parametrize("late_ms", [400, 1200])
async def test_reader_who_leaves_later_than_the_recorded_one(kit: Any, play: Any, late_ms: int) -> None:
    """Where the recorded client left or cancelled, another has a second to do so before it is cut off."""
    clock = FakeClock(autojump=False)
    made = recording(kit, ending=Ending.CLIENT_LEFT)
    made.call("POST", f"{path(kit, '/' + kit.uid(2))}/cancel", status=202)
    client = await play(made, clock=clock)
    stream = await opened(client, clock, path(kit, "/stream"), BODY)
    for _ in range(6):
        await moved(clock, 10 * kit.MS)
    await moved(clock, late_ms * kit.MS)
    async with client.post(path(kit, f"/{kit.uid(2)}/cancel")) as response:
        assert response.status == 202
    if late_ms < 1000:
        assert await asyncio.wait_for(stream.read(), 1) == whole(kit)
    else:
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(stream.read(), 1)


@pytest.mark.parametrize(("speed", "waits"), [(1, True), ("max", False)])
async def test_join_of_a_run_that_is_gone(kit: Any, play: Any, speed: Any, waits: bool) -> None:
    """Behind all that a stateless run published there is only that it is not found, after half a second."""
    made = kit.recording()
    made.run(None, kit.uid(2), BODY, kit.simple_events(kit.uid(2), ids=True))
    made.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/join", {})
    clock = FakeClock()
    client = await play(made, speed=speed, clock=clock)
    whole_stream = await _body(client, "/runs/stream")
    target = path(kit, f"/{kit.uid(2)}/stream")
    began_ns = clock.now_ns()
    for cursor, expected in {
        "-1": whole_stream,
        "9999999999999-0": kit.sse("error", {"error": "HTTPException", "message": "404: Run not found"}),
    }.items():
        async with client.get(target, headers={"Last-Event-ID": cursor}) as response:
            assert await response.read() == expected
    assert (clock.now_ns() - began_ns == 500 * kit.MS) is waits


def silent(kit: Any, query: str, ending: Ending = Ending.CLIENT_LEFT) -> Any:
    """A run in the background that a reader joined at once and left after 12 s without having got anything."""
    made = kit.recording()
    run = {"run_id": kit.uid(2), "thread_id": made.thread(1), "status": "pending"}
    made.json("POST", path(kit), run, BODY)
    made.call(
        "GET",
        path(kit, f"/{kit.uid(2)}/stream{query}"),
        headers=kit.STREAM_TAIL,
        end_ms=12_000,
        ending=ending,
    )
    return made


async def status_of(kit: Any, client: Any) -> str:
    async with client.get(path(kit, f"/{kit.uid(2)}")) as response:
        status: str = (await response.json())["status"]
        return status


@pytest.mark.parametrize("how", ["leaves", "is cut off", "cancels"])
@pytest.mark.parametrize("query", ["", "?cancel_on_disconnect=1"])
async def test_join_in_silence(kit: Any, play: Any, query: str, how: str) -> None:
    """Heartbeats until the reader leaves, cancels, or is cut off a second after the recorded one had left."""
    clock = FakeClock(autojump=False)
    client = await play(silent(kit, query), clock=clock)
    await opened(client, clock, path(kit), BODY)
    reader = await opened(client, clock, path(kit, f"/{kit.uid(2)}/stream{query}"))
    for _ in range(11):
        await moved(clock, 1000 * kit.MS)
    assert await status_of(kit, client) == "running"
    if how == "leaves":
        reader.close()
        await moved(clock, kit.MS)
        assert await status_of(kit, client) == ("interrupted" if query else "running")
    elif how == "cancels":
        async with client.post(path(kit, f"/{kit.uid(2)}/cancel")):
            pass
        await moved(clock, kit.MS)
        assert await asyncio.wait_for(reader.read(), 1) == kit.HEARTBEAT * 2
    else:
        await moved(clock, 1500 * kit.MS)
        await moved(clock, 1000 * kit.MS)
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(reader.read(), 1)
        assert await status_of(kit, client) == ("interrupted" if query else "success")


async def test_join_in_silence_to_the_end(kit: Any, play: Any) -> None:
    """Where the upstream ended it, as it does when somebody else cancels the run, it ends."""
    clock = FakeClock()
    client = await play(silent(kit, "", Ending.COMPLETE), clock=clock)
    async with client.post(path(kit), json=BODY):
        pass
    async with client.get(path(kit, f"/{kit.uid(2)}/stream")) as reader:
        assert await reader.read() == kit.HEARTBEAT * 2
    assert 12_000 <= clock.now_ns() // kit.MS <= 12_010
    assert await status_of(kit, client) == "success"


async def test_join_in_silence_at_max(kit: Any, play: Any) -> None:
    """There the recorded reader leaves at once."""
    client = await play(silent(kit, "?cancel_on_disconnect=1"), speed="max")
    async with client.post(path(kit), json=BODY):
        pass
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(path(kit, f"/{kit.uid(2)}/stream?cancel_on_disconnect=1")) as response:
            await response.read()
    assert await status_of(kit, client) == "interrupted"
