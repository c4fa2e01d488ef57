"""The main job: the real Agent Server recorded by a real client, and the mock that gives that client the same again."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langgraph_sdk import get_client, get_sync_client

from graphtape.cassettes.clock import SystemClock
from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.replayer import serve

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer
    from graphtape.tests.live.conftest import Answer, Recorded, Recorder, Talk, Wire

    StartRecorder = Callable[..., Recorder]
    ToWire = Callable[[str], Wire]
    Shape = Callable[[bytes], bytes]

GRAPHS = ("tokens", "levels", "custom_data", "odd_unicode", "ask", "ask_twice", "failing", "burst", "slow")
HELLO: Any = {"messages": [{"role": "user", "content": "hello"}]}
# What belongs to one connection, or is the mock's own word.
NOT_COMPARED = {"connection", "transfer-encoding", "content-length", "graphtape-match"}


def fields(answer: Answer) -> list[tuple[str, str]]:
    return [pair for pair in answer.headers if pair[0] not in NOT_COMPARED]


@pytest.mark.parametrize("graph", GRAPHS)
def test_same_requests_in_recorded_order(
    graph: str, recorded: Recorded, replayed: Mapping[str, Talk]
) -> None:
    """Every answer has the recorded status, headers, ids and bytes."""
    before, after = recorded.talks[graph], replayed[graph]
    assert after.thread_id == before.thread_id
    for call, was, now in zip(before.calls, before.answers, after.answers, strict=True):
        assert (now.status, now.reason) == (was.status, was.reason), call
        assert fields(now) == fields(was), call
        assert now.body == was.body, call
        assert now.whole


@pytest.mark.parametrize("graph", GRAPHS)
def test_one_http_chunk_per_event(graph: str, replayed: Mapping[str, Talk]) -> None:
    """The mock sends each event in a chunk of its own, as the server does."""
    for answer in replayed[graph].answers:
        if "event-stream" in dict(answer.headers).get("content-type", ""):
            assert len(answer.chunks) == len(answer.blocks)


async def test_async_sdk(agent_server: AgentServer, recorder: StartRecorder) -> None:
    """The asynchronous Python SDK sees the same parts, ids and states."""

    async def use(url: str) -> list[object]:
        client = get_client(url=url)
        seen: list[object] = [await client.assistants.search(graph_id="levels")]
        thread = await client.threads.create()
        seen.append(thread)
        stream = client.runs.stream(
            thread["thread_id"],
            "levels",
            input=HELLO,
            stream_mode=["values", "updates", "messages-tuple", "custom"],
            stream_subgraphs=True,
            stream_resumable=True,
            on_run_created=seen.append,
        )
        seen += [(part.event, part.data, part.id) async for part in stream]
        seen.append(await client.threads.get_state(thread["thread_id"]))
        seen.append(await client.threads.get_history(thread["thread_id"], limit=5))
        seen.append(await client.runs.wait(None, "failing", input={"n": 3}, raise_error=False))
        await client.aclose()
        return seen

    recording = recorder(agent_server.url)
    was = await use(recording.url)
    assert recording.end() == 0
    async with serve([recording.cassette], speed="max") as mock:
        assert await use(mock.url) == was


def test_sync_sdk(agent_server: AgentServer, recorder: StartRecorder) -> None:
    """The synchronous Python SDK sees the same parts, ids and states, also through an interrupt and its resume."""

    def use(url: str) -> list[object]:
        seen: list[object] = []
        with get_sync_client(url=url) as client:
            thread_id = client.threads.create(metadata={"kind": "sync"})["thread_id"]
            modes: Any = ["values", "updates"]
            given: dict[str, Any]
            for given in ({"input": {"said": []}}, {"command": {"resume": "fine"}}):
                parts = client.runs.stream(thread_id, "ask", stream_mode=modes, **given)
                seen += [(part.event, part.data, part.id) for part in parts]
                seen += [client.threads.get(thread_id), client.threads.get_state(thread_id)]
            seen += [client.runs.list(thread_id), client.threads.search(metadata={"kind": "sync"})]
        return seen

    recording = recorder(agent_server.url)
    was = use(recording.url)
    assert recording.end() == 0
    with serve([recording.cassette], speed="max") as mock:
        assert use(mock.url) == was


def test_server_switched_off(
    agent_server_to_stop: AgentServer, recorder: StartRecorder, recorded: Recorded, wire: ToWire
) -> None:
    """With the real server gone, the same client gets the same bytes."""
    recording = recorder(agent_server_to_stop.url)
    was = recorded.talks["tokens"].again().go(wire(recording.url))
    assert recording.end() == 0
    agent_server_to_stop.stop()
    with serve([recording.cassette], speed="max") as mock:
        now = was.again().go(wire(mock.url))
    assert [answer.body for answer in now.answers] == [answer.body for answer in was.answers]


def test_two_clients_interleaved(recorded: Recorded, wire: ToWire, shape_of: Shape) -> None:
    """Two clients at once, with different graphs and with the same one, each get a whole conversation of their own."""
    names = ("levels", "ask", "levels", "tokens")
    with serve([recorded.cassette], speed="20") as mock, ThreadPoolExecutor(len(names)) as pool:
        held = list(pool.map(lambda name: recorded.talks[name].again().go(wire(mock.url)), names))
    for name, now in zip(names, held, strict=True):
        for call, was, answer in zip(now.calls, recorded.talks[name].answers, now.answers, strict=True):
            assert shape_of(answer.body) == shape_of(was.body), (name, call)
    threads, runs = {now.thread_id for now in held}, {now.run_id for now in held}
    assert (len(threads), len(runs)) == (len(names), len(names))


def test_other_orders(recorded: Recorded, wire: ToWire, shape_of: Shape) -> None:
    """Conversations held in the reverse order play the recording of their own request."""
    with serve([recorded.cassette], speed="max") as mock:
        for name in reversed(GRAPHS):
            now = recorded.talks[name].again().go(wire(mock.url))
            for call, was, answer in zip(now.calls, recorded.talks[name].answers, now.answers, strict=True):
                assert answer.status == was.status, (name, call)
                assert shape_of(answer.body) == shape_of(was.body), (name, call)


def test_second_and_third_conversation(recorded: Recorded, wire: ToWire, shape_of: Shape) -> None:
    """A conversation held three times: the same shape, fresh ids, and the ids agree in headers, names and data."""
    was = recorded.talks["levels"]
    with serve([recorded.cassette], speed="max") as mock:
        held = [was.again().go(wire(mock.url)) for _ in range(3)]
    for now in held:
        stream = now.answers[1]
        run_id = json.loads(stream.events[0][1] or b"")["run_id"]
        assert stream.header("content-location") == f"/threads/{now.thread_id}/runs/{run_id}"
        assert stream.header("location") == f"/threads/{now.thread_id}/runs/{run_id}/stream"
        tasks = {
            json.loads(data or b"")["id"]
            for name, data, _ in stream.events
            if (name or "").startswith("tasks")
        }
        spaces = {part for name, _, _ in stream.events for part in (name or "").split("|")[1:]}
        assert spaces
        assert {space.rpartition(":")[2] for space in spaces} <= tasks
        for call, before, after in zip(now.calls, was.answers, now.answers, strict=True):
            assert shape_of(after.body) == shape_of(before.body), call
    assert len({now.thread_id for now in held}) == 3
    assert len({now.run_id for now in held}) == 3


@pytest.mark.parametrize("mode", ["values", "updates", "custom", "tasks", "debug", "checkpoints"])
def test_one_mode_of_a_recorded_list(mode: str, recorded: Recorded, wire: ToWire) -> None:
    """Asked for one of the recorded modes, the mock sends that mode's events, unchanged, with the recorded ids."""
    was = recorded.talks["levels"]
    body = {**was.calls[1].body, "stream_mode": mode}
    with serve([recorded.cassette], speed="max") as mock:
        client = wire(mock.url)
        # The second thread was that of `levels`: as the second it gets the recorded ids.
        client.ask("POST", "/threads", {})
        thread_id = client.ask("POST", "/threads", {}).json["thread_id"]
        assert thread_id == was.thread_id
        now = client.ask("POST", f"/threads/{thread_id}/runs/stream", body)
    names = {"metadata", mode}
    assert now.events == [event for event in was.answers[1].events if (event[0] or "").split("|")[0] in names]


def test_thread_id_of_the_client(recorded: Recorded, wire: ToWire, shape_of: Shape) -> None:
    """A client that brings its own thread id gets the recorded run under that id."""
    was = recorded.talks["tokens"]
    mine = str(uuid.uuid4())
    body = {**was.calls[1].body, "if_not_exists": "create"}
    with serve([recorded.cassette], speed="max") as mock:
        now = wire(mock.url).ask("POST", f"/threads/{mine}/runs/stream", body)
        state = wire(mock.url).ask("GET", f"/threads/{mine}/state")
    assert now.header("location").startswith(f"/threads/{mine}/runs/")
    assert shape_of(now.body) == shape_of(was.answers[1].body)
    assert was.thread_id.encode() not in now.body
    assert mine.encode() in now.body
    assert state.json["checkpoint"]["thread_id"] == mine


@pytest.mark.parametrize("graph", ["tokens", "failing", "ask", "ask_twice"])
def test_wait_for_a_run_recorded_as_a_stream(
    graph: str, agent_server: AgentServer, recorded: Recorded, wire: ToWire
) -> None:
    """`wait` is answered from the recorded stream as the real server answers it."""
    body = {**recorded.talks[graph].calls[1].body}
    # As the SDKs ask. (With `updates` and `values` the real server counts one interrupt twice.)
    del body["stream_mode"]
    answers = []
    with serve([recorded.cassette], speed="max") as mock:
        for url in (agent_server.url, mock.url):
            client = wire(url)
            thread_id = client.ask("POST", "/threads", {}).json["thread_id"]
            answers.append(client.ask("POST", f"/threads/{thread_id}/runs/wait", body))
    real, now = answers
    assert now.status == real.status == 200
    assert without_ids(now.json) == without_ids(real.json)


def without_ids(value: Any) -> Any:
    """A JSON value without the ids of messages and interrupts, which every run makes anew."""
    if isinstance(value, dict):
        return {key: without_ids(item) for key, item in value.items() if key != "id"}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("graph", ["levels", "burst", "failing"])
def test_join_at_every_id(graph: str, recorded: Recorded, replayed: Mapping[str, Talk], wire: ToWire) -> None:
    """A join resumes after any id as the server does: strings greater than it, without the unstored `error`."""
    was = recorded.talks[graph]
    whole = was.answers[1].events
    cuts = sorted({event_id for _, _, event_id in whole if event_id})
    with serve([recorded.cassette], speed="max") as mock:
        client = wire(mock.url)
        # Threads in recorded order, so that ids are the recorded ones.
        for name in GRAPHS:
            thread_id = client.ask("POST", "/threads", {}).json["thread_id"]
            if name == graph:
                client.ask("POST", f"/threads/{thread_id}/runs/stream", was.calls[1].body)
                path = f"/threads/{thread_id}/runs/{was.run_id}/stream"
        for cut in cuts[:: max(1, len(cuts) // 25)]:
            rest = client.ask("GET", path, headers={"last-event-id": cut}).events
            assert rest == [e for e in whole if (e[2] or "") > cut and e[0] != "error"], cut


def test_rhythm_at_speed_one(recorded: Recorded, wire: ToWire) -> None:
    """At speed 1 the ticks come in order, and take as long as they did."""
    with Cassette.open(recorded.cassette) as cassette:
        (slow,) = (
            exchange
            for summary in cassette.exchanges
            if summary.target.endswith("/runs/stream")
            and b'"slow"' in (exchange := cassette.exchange(summary.number)).request_body
        )
    length_ns = slow.chunks[-1].at_ns - slow.request.at_ns
    with serve([recorded.cassette], speed="1") as mock:
        client = wire(mock.url)
        thread_id = client.ask("POST", "/threads", {}).json["thread_id"]
        path = f"/threads/{thread_id}/runs/stream"
        arrived: list[int] = []
        clock = SystemClock()
        started = clock.now_ns()
        client.ask(
            "POST",
            path,
            recorded.talks["slow"].calls[1].body,
            on_chunk=lambda _: arrived.append(clock.now_ns() - started),
        )
    assert arrived[-1] >= length_ns * 0.9
    # Generous: the machine may be busy, but a mock that buffers or loses its clock is far beyond this.
    assert arrived[-1] <= length_ns + 5e9
    assert arrived == sorted(arrived)
    assert arrived[-3] - arrived[1] >= 1.5e9, "the ticks came at once"


def test_recorder_killed_inside_a_stream(
    agent_server: AgentServer, recorder: StartRecorder, wire: ToWire
) -> None:
    """After kill -9 the file opens and holds every byte that the client received."""
    recording = recorder(agent_server.url)
    client = wire(recording.url)
    thread_id = client.ask("POST", "/threads", {}).json["thread_id"]
    received = bytearray()

    def receive(chunk: bytes) -> None:
        received.extend(chunk)
        if b'"tick":4' in chunk:
            recording.send(signal.SIGKILL)

    body = {"assistant_id": "slow", "input": {"n": 0}, "stream_mode": "custom"}
    answer = client.ask("POST", f"/threads/{thread_id}/runs/stream", body, on_chunk=receive)
    recording.end()
    assert not answer.whole
    with Cassette.open(recording.cassette) as cassette:
        assert not cassette.finished
        exchange = cassette.exchange(2)
        assert exchange.ending is Ending.UNFINISHED
        assert exchange.body.startswith(bytes(received))
        assert b'"tick":4' in exchange.body


def test_recording_that_was_cut_is_replayed_as_cut(
    agent_server: AgentServer, recorder: StartRecorder, wire: ToWire
) -> None:
    """A stream whose recorder was stopped breaks off at its last byte; a clean end would say that it was whole."""
    recording = recorder(agent_server.url)
    client = wire(recording.url)
    thread_id = client.ask("POST", "/threads", {}).json["thread_id"]

    def stop(chunk: bytes) -> None:
        if b'"tick":2' in chunk:
            recording.send(signal.SIGINT)

    body = {"assistant_id": "slow", "input": {"n": 0}, "stream_mode": "custom"}
    was = client.ask("POST", f"/threads/{thread_id}/runs/stream", body, on_chunk=stop)
    assert recording.end() == 0
    with serve([recording.cassette], speed="max") as mock:
        client = wire(mock.url)
        thread_id = client.ask("POST", "/threads", {}).json["thread_id"]
        now = client.ask("POST", f"/threads/{thread_id}/runs/stream", body)
    assert not now.whole
    assert now.body.startswith(was.body)
