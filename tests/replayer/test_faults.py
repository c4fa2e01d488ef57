"""Where streams are broken off on purpose: the words for it, the bytes, and what the run makes of it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.protocol.sse import Decoder
from graphtape.replayer.faults import NO_FAULTS, Breaker, Faults, InvalidFault
from graphtape.replayer.plan import PlanEnd

EVENTS = [b"event: values\r\ndata: %d\r\n\r\n" % number for number in range(4)]
BEAT = b": heartbeat\r\n\r\n"
WHOLE = b"".join(EVENTS)


def sent(place: str, blocks: list[bytes]) -> tuple[bytes, bool]:
    """(what goes out of these writes, whether it broke off there)."""
    fault = Faults.parse(place).of(0)
    assert fault is not None
    breaker = Breaker(fault)
    return b"".join(breaker.let_through(block) for block in blocks), breaker.over


@pytest.mark.parametrize(
    ("place", "length"),
    [
        *((str(n), n * 26) for n in range(5)),
        *((f"{n}.5", n * 26 + 13) for n in range(4)),
        ("1.25", 26 + 6),
        ("1.000000001", 26 + 1),
        ("1.999999999", 26 + 25),
        ("1.0", 26),
        ("1:0", 26),
        ("1:7", 26 + 7),
        ("1:999", 52),
    ],
)
@pytest.mark.parametrize("blocks", [EVENTS, [WHOLE]], ids=["one by one", "at once"])
def test_place(place: str, length: int, blocks: list[bytes]) -> None:
    """So many events go out, and so much of the next one; however many come at once."""
    assert sent(place, blocks) == (WHOLE[:length], True)


@pytest.mark.parametrize("place", ["5", "4.5", "4:3", "last"])
def test_place_behind_the_end(place: str) -> None:
    """A place that the response does not reach leaves it whole."""
    assert sent(place, EVENTS) == (WHOLE, False)


@pytest.mark.parametrize(
    ("place", "wanted"),
    [("1", [EVENTS[0]]), ("1.5", [EVENTS[0], BEAT, EVENTS[1][:13]]), ("2", [EVENTS[0], BEAT, EVENTS[1]])],
)
def test_heartbeats_are_no_events(place: str, wanted: list[bytes]) -> None:
    """A comment is passed and not counted, and a place between events is at once behind the one before."""
    assert sent(place, [EVENTS[0], BEAT, *EVENTS[1:]]) == (b"".join(wanted), True)


def test_bytes_after_the_place() -> None:
    """What comes after it does not go out."""
    assert sent("1", [*EVENTS, b"rest"]) == (EVENTS[0], True)


def test_unterminated_rest() -> None:
    """The end of a recording that broke off inside an event is no event: it passes."""
    assert sent("4.5", [*EVENTS, b"event: val"]) == (WHOLE + b"event: val", False)


@pytest.mark.parametrize("place", [str(n / 4) for n in range(16)])
def test_every_quarter_of_events(place: str) -> None:
    """The whole events of what goes out are as many as the place says."""
    data, over = sent(place, EVENTS)
    assert over
    assert len(Decoder().feed(data)) == int(float(place))


@pytest.mark.parametrize(
    ("cut", "places"),
    [
        (None, [None, None]),
        ("5", ["5", None, None]),
        (5, ["5", None, None]),
        ("5,3", ["5", "3", None, None]),
        ("-,3", [None, "3", None]),
        ("5,...", ["5", "5", "5", "5"]),
        ("0, 2.5 ,last,...", ["0", "2.5", "last", "last", "last"]),
        ("5,-,...", ["5", None, None, None]),
    ],
)
def test_responses_in_order(cut: Any, places: list[str | None]) -> None:
    """The first place is for the first response of a stream; those behind the last are whole unless it is repeated."""
    faults = Faults.parse(cut)
    found = [faults.of(number) for number in range(len(places))]
    assert [fault and fault.place for fault in found] == places
    assert bool(faults) is any(places)


def test_two_kinds_take_turns() -> None:
    """One response is cut and another ended, told apart by the response that each leaves whole."""
    faults = Faults.parse("5,-,7", "-,3")
    assert [(fault.place, fault.end) for n in range(4) if (fault := faults.of(n))] == [
        ("5", PlanEnd.BREAK),
        ("3", PlanEnd.CLOSE),
        ("7", PlanEnd.BREAK),
    ]


@pytest.mark.parametrize(
    ("cut", "end", "number"),
    [("5", "3", 1), ("5,3", "-,3", 2), ("5,...", "-,-,1", 3), ("5,...", "-,1,...", 2)],
)
def test_one_response_of_two_kinds(cut: str, end: str, number: int) -> None:
    """A response cannot both be cut and end well; the message names it."""
    with pytest.raises(InvalidFault, match=rf"both end response {number} of a stream"):
        Faults.parse(cut, end)


NO_PLACE = "'{}' is no place in a stream; give a number of events (5), "
A_COMMA = "a comma has no place beside it; leave it out, or give - for a response that is whole"
AGAIN = "... repeats the place before it, so it stands at the end and behind one: 5,..."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(
            (word, NO_PLACE.format(word))
            for word in ("x", "-1", "1.", ".5", "1:", "1.5:3", "1e3", "٣", "first", "1" * 10, "5...")
        ),
        ("3,five", NO_PLACE.format("five")),
        ("", "it names no place in a stream; give a number of events (5), "),
        *((given, A_COMMA) for given in ("5,", ",5", ",", "5,,3", "5, ,...")),
        *((given, AGAIN) for given in ("...", "5,...,3", "...,5")),
    ],
)
@pytest.mark.parametrize("option", ["cut_after", "end_after"])
def test_no_place(given: str, words: str, option: str) -> None:
    """What is no place is refused: with the option as given, what is wrong there, and the words that there are."""
    with pytest.raises(InvalidFault) as refused:
        Faults.parse(**{option: given})
    assert str(refused.value).startswith(f"--{option.replace('_', '-')} {given!r}: {words}")


def test_no_fault() -> None:
    """Without the option nothing happens to any response."""
    assert not NO_FAULTS
    assert Faults.parse() == NO_FAULTS
    assert NO_FAULTS.of(0) is None


def test_end_of_a_response() -> None:
    """Only `last` changes how a response ends that has come to its end, and never mends one that breaks anyway."""
    ends = {
        (option, place, planned): Breaker(fault).end(planned)
        for option in ("cut_after", "end_after")
        for place in ("9", "last")
        for planned in PlanEnd
        if (fault := Faults.parse(**{option: place}).of(0))
    }
    changed = {key: end for key, end in ends.items() if end is not key[2]}
    assert changed == {("cut_after", "last", PlanEnd.CLOSE): PlanEnd.BREAK}


# --- on the wire ---

BODY = {"assistant_id": "agent", "input": "hi", "stream_resumable": True}


def recording(kit: Any, **body: Any) -> Any:
    made = kit.recording()
    thread_id = made.thread(1)
    made.run(thread_id, kit.uid(2), {**BODY, **body}, kit.simple_events(kit.uid(2), *"abcd", ids=True))
    return made


def blocks_of(kit: Any) -> list[bytes]:
    return [kit.sse(*event[1:]) for event in kit.simple_events(kit.uid(2), *"abcd", ids=True)]


async def got(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """(the body, whether it ended well)."""
    data = b""
    try:
        async for piece in response.content.iter_any():
            data += piece
    except aiohttp.ClientPayloadError:
        return data, False
    return data, True


async def start(kit: Any, client: Any, **body: Any) -> tuple[bytes, bool]:
    async with client.post(f"/threads/{kit.uid(1)}/runs/stream", json={**BODY, **body}) as response:
        return await got(response)


async def rejoin(kit: Any, client: Any, cursor: str, **query: str) -> tuple[bytes, bool]:
    target = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/stream"
    async with client.get(target, headers={"Last-Event-ID": cursor}, params=query) as response:
        return await got(response)


def last_id(data: bytes) -> str:
    return [block.id for block in Decoder().feed(data) if block.id][-1]


PLACES = [*(str(n) for n in range(6)), *(f"{n}.5" for n in range(5)), "last"]


@pytest.mark.slow
@pytest.mark.parametrize("speed", [1, "max"])
@pytest.mark.parametrize("place", PLACES)
async def test_stream_is_cut_and_resumed(kit: Any, play: Any, place: str, speed: Any) -> None:
    """The connection breaks at the place; the next response is whole, and with it nothing is lost and nothing twice."""
    blocks = blocks_of(kit)
    client = await play(recording(kit), speed=speed, ids="unique", cut_after=place)
    data, whole = await start(kit, client)
    events = 5 if place == "last" else int(float(place))
    before = b"".join(blocks[:events])
    rest = blocks[events] if place.endswith(".5") else b""
    assert (data, whole) == (before + rest[: len(rest) // 2], False)
    cursor = last_id(before) if before else "-1"
    assert await rejoin(kit, client, cursor) == (b"".join(blocks[events:]), True)


@pytest.mark.slow
async def test_stream_ends_too_early(kit: Any, play: Any) -> None:
    """The response ends there as if it were whole, and its connection serves the next request."""
    client = await play(recording(kit), speed="max", end_after="2.5")
    blocks = blocks_of(kit)
    data, whole = await start(kit, client)
    assert (data, whole) == (blocks[0] + blocks[1] + blocks[2][: len(blocks[2]) // 2], True)
    assert await rejoin(kit, client, last_id(data)) == (b"".join(blocks[2:]), True)


@pytest.mark.slow
async def test_every_response_is_cut(kit: Any, play: Any) -> None:
    """With `...` each response brings one event more, until nothing is left to cut."""
    client = await play(recording(kit), speed="max", ids="unique", cut_after="1,...")
    blocks = blocks_of(kit)
    data, whole = await start(kit, client)
    assert (data, whole) == (blocks[0], False)
    for block in blocks[1:]:
        assert await rejoin(kit, client, last_id(data)) == (block, False)
        data += block
    assert await rejoin(kit, client, last_id(data)) == (b"", True)


@pytest.mark.slow
async def test_runs_are_counted_apart(kit: Any, play: Any) -> None:
    """Each run is cut once, whatever other runs are asked for between."""
    client = await play(recording(kit), speed="max", cut_after=2)
    for _ in range(3):
        data, whole = await start(kit, client)
        assert (len(Decoder().feed(data)), whole) == (2, False)


@pytest.mark.slow
@pytest.mark.parametrize(("on_disconnect", "status"), [("continue", "running"), ("cancel", "interrupted")])
async def test_run_of_a_cut_stream(kit: Any, play: Any, on_disconnect: str, status: str) -> None:
    """To the run a broken connection is a client that left: it goes on by the clock, or ends by `on_disconnect`."""
    clock = FakeClock()
    made = recording(kit, on_disconnect=on_disconnect)
    client = await play(made, clock=clock, cut_after=2)
    await start(kit, client, on_disconnect=on_disconnect)
    async with client.get(f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}") as response:
        assert (await response.json())["status"] == status


@pytest.mark.slow
async def test_cancel_by_a_cut_join(kit: Any, play: Any) -> None:
    """A join that was to cancel the run when its reader leaves does so also if it is cut behind its head."""
    client = await play(recording(kit), clock=FakeClock(), cut_after="1,0")
    data, _ = await start(kit, client)
    assert await rejoin(kit, client, last_id(data), cancel_on_disconnect="true") == (b"", False)
    async with client.get(f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}") as response:
        assert (await response.json())["status"] == "interrupted"


@pytest.mark.slow
async def test_thread_stream_is_cut(kit: Any, play: Any) -> None:
    """A thread's stream is counted by itself, and cut like a run's."""
    client = await play(recording(kit), speed="max", cut_after="1,2")
    await start(kit, client)
    target = f"/threads/{kit.uid(1)}/stream"
    for events in (1, 2):
        async with client.get(target, headers={"Last-Event-ID": "-"}) as response:
            data, whole = await got(response)
        assert (len(Decoder().feed(data)), whole) == (events, False)


@pytest.mark.slow
@pytest.mark.parametrize(("option", "well"), [("cut_after", False), ("end_after", True)])
async def test_other_stream(kit: Any, play: Any, option: str, well: bool) -> None:
    """The stream of any other server is cut too, also one that came with a length; JSON never is."""
    made = kit.recording()
    length = (b"content-length", str(len(WHOLE)).encode())
    head = (kit.DATE, (b"content-type", b"text/event-stream"), length)
    made.call("GET", "/events", headers=head, reads=[(1, WHOLE)])
    made.json("GET", "/other", {"a": 1})
    client = await play(made, speed="max", **{option: "2,-"})
    async with client.get("/events") as response:
        assert await got(response) == (b"".join(EVENTS[:2]), well)
    async with client.get("/events") as response:
        assert await got(response) == (WHOLE, True)
    async with client.get("/other") as response:
        assert await response.json() == {"a": 1}


@pytest.mark.slow
async def test_log_says_what_was_wanted(kit: Any, play: Any) -> None:
    """The log of a response that the user wants cut says so."""
    lines: list[str] = []
    client = await play(recording(kit), speed="max", cut_after="2", log=lines.append)
    data, _ = await start(kit, client)
    await rejoin(kit, client, last_id(data))
    assert [line.endswith("(--cut-after 2)") for line in lines] == [True, False]
