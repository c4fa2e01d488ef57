"""What the server answered beside what the mock answered: equal, derived, refused or wrong.

Knows answers and the renaming of ids (`cassettes.mapping`). One rule: everything is compared but what is listed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from graphtape.cassettes.showing.mapping import EventClock, IdMapping
from graphtape.cassettes.showing.preview import parse_json
from graphtape.tests.live.conformance.wire import Answer


class Verdict(StrEnum):
    """What became of one cell."""

    EQUAL = "equal"
    MESSAGE_IDS = "equal but for message ids"
    DERIVED = "derived-equal"
    REFUSED = "refused"
    WRONG = "wrong"


# Of the clock, or following from the printed length of times: the name counts, not the value.
VALUES_SET_ASIDE = frozenset({"date", "content-length"})
# Of the connection, which is another behind the recorder; `http.py` compares it with the server itself.
SET_ASIDE = frozenset({"connection", "keep-alive"})


_FROM_A_SET = "run_id thread_id"


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    detail: str = ""


def judge(
    ids: IdMapping,
    server: Answer,
    mock: Answer,
    *,
    number: int = 0,
    timed: bool = False,
    exact: bool = False,
    thread: str = "",
) -> Judgement:
    """Compare two answers to the same request.

    Args:
        ids: the renaming so far; grows.
        number: of the request in its script, for the order of event ids.
        timed: the client left, or joined while events came: where the stream begins or ends is chance by one event,
            and heartbeats are not compared.
        exact: both were asked over a connection of the same kind, so the headers of the connection count, and how the
            body was cut into HTTP chunks.
        thread: a word for the thread, where a script has several at once: each has its own row of event ids.
    """
    found = list(_differences(ids, server, mock, number, timed=timed, exact=exact, thread=thread))
    if not found:
        derived = mock.header("graphtape-derived")
        return Judgement(Verdict.DERIVED if derived else Verdict.EQUAL, derived)
    detail = "; ".join(found[:3])
    if (mock.status == 422 or (mock.status == 404 and b'"graphtape"' in mock.body)) and server.status < 300:
        text = mock.json.get("detail", "")
        return Judgement(Verdict.REFUSED, str(text))
    return Judgement(Verdict.WRONG, detail)


def _differences(
    ids: IdMapping, server: Answer, mock: Answer, number: int, *, timed: bool, exact: bool, thread: str
) -> Iterator[str]:
    if (server.version, server.status, server.reason) != (mock.version, mock.status, mock.reason):
        yield f"status {server.status} {server.reason}, mock {mock.status} {mock.reason} {mock.body[:200]!r}"
        return
    yield from _headers(ids, server, mock, frozenset() if exact else SET_ASIDE)
    if exact:
        yield from _chunks(server, mock)
    if server.is_stream:
        yield from _streams(ids.clock(thread), ids, server, mock, number, timed=timed)
    else:
        yield from _bodies(ids, server, mock)
    if server.whole != mock.whole and not (server.left or mock.left):
        yield f"whole: {server.whole}, mock {mock.whole}"


def _headers(ids: IdMapping, server: Answer, mock: Answer, aside: frozenset[str]) -> Iterator[str]:
    theirs, ours = (
        [
            pair
            for pair in answer.headers
            if pair[0].lower() not in aside and not pair[0].lower().startswith("graphtape-")
        ]
        for answer in (server, mock)
    )
    if [name for name, _ in theirs] != [name for name, _ in ours]:
        yield f"headers {[name for name, _ in theirs]}, mock {[name for name, _ in ours]}"
        return
    for (name, value), (_, other) in zip(theirs, ours, strict=True):
        if name.lower() == "allow" and sorted(value.split(", ")) == sorted(other.split(", ")):
            continue  # a set in the server, whose order differs from one start to the next
        if name.lower() not in VALUES_SET_ASIDE and ids.strings(value, other) is not None:
            yield f"header {name}: {value!r}, mock {other!r}"


def _chunks(server: Answer, mock: Answer) -> Iterator[str]:
    """Framing: what stands in each HTTP chunk, and how its lines end."""
    theirs, ours = ([_form(chunk) for chunk in answer.chunks] for answer in (server, mock))
    if theirs != ours:
        at = next((n for n, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), -1)
        yield f"{len(theirs)} chunks, mock {len(ours)}; chunk {at}: {theirs[at : at + 1]}, mock {ours[at : at + 1]}"


def _form(chunk: bytes) -> str:
    """A chunk with its fields' contents left out."""
    if not chunk.startswith((b"event:", b":", b"data:", b"id:")):
        return "newline" if chunk == b"\n" else "body"
    lines = chunk.split(b"\r\n")
    return " ".join(line.partition(b":")[0].decode() or ("comment" if line else "end") for line in lines)


def _bodies(ids: IdMapping, server: Answer, mock: Answer) -> Iterator[str]:
    # The newlines that keep a wait alive depend on how long it took.
    one, two = server.body.lstrip(b"\n"), mock.body.lstrip(b"\n")
    is_json, left = parse_json(one)
    also_json, right = parse_json(two)
    if not (is_json and also_json):
        if one != two:
            yield f"body {one[:200]!r}, mock {two[:200]!r}"
        return
    for miss in ids.values(left, right):
        yield f"{miss.path}: {_short(miss.left)}, mock {_short(miss.right)} {miss.note}".rstrip()
    if not _same_order(left, right):
        yield "the members of an object are in another order"


def _same_order(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return _order(left) == _order(right) and all(_same_order(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return all(_same_order(one, two) for one, two in zip(left, right, strict=False))
    return True


def _order(members: Any) -> list[str]:
    """Names in order; the server takes two of the metadata of a state from a set, otherwise with each start of it."""
    return [_FROM_A_SET if name in _FROM_A_SET.split() else name for name in members]


def _streams(
    clock: EventClock, ids: IdMapping, server: Answer, mock: Answer, number: int, *, timed: bool
) -> Iterator[str]:
    theirs, ours = server.events, mock.events
    names = [event.name or "" for event in theirs], [event.name or "" for event in ours]
    if len(theirs) != len(ours):
        yield f"{len(theirs)} events, mock {len(ours)}: {_runs(names[0])}, mock {_runs(names[1])}"
        return
    for at, (one, two) in enumerate(zip(theirs, ours, strict=True)):
        if ids.strings(one.name or "", two.name or "") is not None:
            yield f"event {at}: {one.name}, mock {two.name}"
            return
        is_json, left = parse_json(one.data or b"")
        also_json, right = parse_json(two.data or b"")
        if not (is_json and also_json):
            if one.data != two.data:
                yield f"event {at} {one.name}: {one.data!r}, mock {two.data!r}"
        else:
            for miss in ids.values(left, right):
                where = f"event {at} {one.name} {miss.path}"
                yield f"{where}: {_short(miss.left)}, mock {_short(miss.right)} {miss.note}".rstrip()
        reason = clock.same(one.id, two.id, number)
        if reason is not None and not (timed and one.id and two.id):
            yield f"event {at} {one.name}: id {one.id}, mock {two.id} {reason}".rstrip()
            return
    comments = [sum(block.is_comment for block in answer.blocks) for answer in (server, mock)]
    # How long a client stayed is its own business.
    if not (timed or server.left) and comments[0] != comments[1]:
        yield f"{comments[0]} comments, mock {comments[1]}"


def _runs(names: list[str]) -> str:
    """Names with their repetitions counted, at most ten."""
    out: list[tuple[str, int]] = []
    for name in names:
        base = name.partition("|")[0]
        if out and out[-1][0] == base:
            out[-1] = (base, out[-1][1] + 1)
        else:
            out.append((base, 1))
    return " ".join(f"{name}x{count}" if count > 1 else name for name, count in out[:10]) or "none"


def _short(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
