"""What `show`, `ls` and `diff` print of realistic sessions, kept in files that were read by a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.compare import compare
from graphtape.cassettes.showing.compare_text import format_comparison
from graphtape.cassettes.showing.listing import format_listing, listing
from graphtape.cassettes.showing.timeline import timeline
from graphtape.cassettes.showing.timeline_text import format_timeline

Golden = Callable[[str, str], None]

CASES = (
    "token_stream",
    "nested_namespaces",
    "interrupt",
    "error",
    "heartbeats",
    "unfinished",
    "odd_unicode",
    "large_event",
    "plain_json",
    "compressed",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_show(name: str, kit: Any, golden: Golden) -> None:
    """`show` draws the session as the golden file has it."""
    call = kit.cases[name](kit.ids())
    path = kit.tape(name, call, closed=call.ending is not None)
    with Cassette.open(path) as cassette:
        shown = timeline(cassette, 1, path=path.name)
    golden(f"show/{name}.txt", "".join(f"{line}\n" for line in format_timeline(shown, width=110)))


def test_ls(kit: Any, golden: Golden) -> None:
    """`ls` lists all of them, each with how it ended."""
    ids = kit.ids()
    calls = [kit.cases[name](ids) for name in CASES]
    calls.append(kit.answer("GET", "/assistants/search?limit=10", {"detail": "Not Found"}, status=404))
    calls.append(calls[0].but(ending=Ending.CLIENT_LEFT))
    calls.append(calls[0].but(ending=Ending.UPSTREAM_BROKE, detail="connection reset"))
    calls.append(kit.answer("GET", "/ok", {"detail": "..."}, status=502, ending=Ending.UNREACHED))
    path = kit.tape("all", *calls, closed=False)
    with Cassette.open(path) as cassette:
        shown = listing(cassette, path=path.name, size_bytes=12_345)
    golden("ls/all.txt", "".join(f"{line}\n" for line in format_listing(shown, width=120)))


def equal(kit: Any, ids: Any) -> list[Any]:
    thread = kit.answer("POST", "/threads", {"thread_id": ids.uuid("thread")}, {})
    names = ("token_stream", "nested_namespaces", "interrupt")
    return [thread, *(kit.cases[name](ids) for name in names), kit.cases["plain_json"](ids)]


def with_event(call: Any, index: int, read: Any) -> Any:
    """The call with the read at `index` replaced, or dropped."""
    return call.but(reads=(*call.reads[:index], *([read] if read else []), *call.reads[index + 1 :]))


def changed_token(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    changed = calls[1].reads[4][1].replace(b"wor", b"World")
    return [calls[0], with_event(calls[1], 4, (25.0, changed)), *calls[2:]]


def missing_event(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    return [calls[0], calls[1], with_event(calls[2], 3, None), *calls[3:]]


def extra_exchange(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    return [*calls[:2], kit.answer("GET", f"/threads/{ids.uuid('thread')}/state", {"values": {}}), *calls[2:]]


def different_status(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    refused = kit.answer("GET", f"/threads/{ids.uuid('thread')}", {"detail": "not found"}, status=404)
    return [*calls[:4], refused.but(request_headers=calls[4].request_headers)]


def inconsistent_id(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    data = calls[2].reads[4][1].replace(ids.uuid("task mid").encode(), ids.uuid("another task").encode())
    return [*calls[:2], with_event(calls[2], 4, (1, data)), *calls[3:]]


def another_order(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    reads = calls[2].reads
    return [*calls[:2], calls[2].but(reads=(*reads[:3], reads[4], reads[3], *reads[5:])), *calls[3:]]


def another_request(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    return [*calls[:3], calls[3].but(body={**calls[3].body, "stream_mode": ["values"]}), calls[4]]


def broke_off(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    short = calls[3].but(reads=calls[3].reads[:4], ending=Ending.UPSTREAM_BROKE, detail="connection reset")
    return [*calls[:3], short, calls[4]]


def another_header(kit: Any, ids: Any) -> list[Any]:
    calls = equal(kit, ids)
    headers = tuple((n, b"no-cache" if n == b"cache-control" else v) for n, v in calls[1].headers)
    return [calls[0], calls[1].but(headers=headers), *calls[2:]]


SECOND_SESSIONS = (
    equal,
    changed_token,
    missing_event,
    extra_exchange,
    different_status,
    inconsistent_id,
    another_order,
    another_request,
    broke_off,
    another_header,
)


@pytest.mark.parametrize("second", SECOND_SESSIONS)
def test_diff(second: Callable[..., list[Any]], kit: Any, golden: Golden) -> None:
    """`diff` of a session and a second one with other ids, times and ports says what is different, and only that."""
    left = kit.tape("before", *equal(kit, kit.ids("a")))
    right = kit.tape("after", *second(kit, kit.ids("b")))
    with Cassette.open(left) as one, Cassette.open(right) as two:
        found = compare(one, two)
    assert found.same is (second is equal)
    lines = format_comparison(found, left=left.name, right=right.name, width=110)
    golden(f"diff/{second.__name__}.txt", "".join(f"{line}\n" for line in lines))
