"""Connections that break between the JavaScript SDK and the mock, or the real server: what reaches the client.

The oracle is the rule of the server itself: a resumed stream holds the events whose id is above the last one seen. Ids
compare as strings, and as (milliseconds, sequence) under `ids="unique"`, where nothing may be lost.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from graphtape.replayer import serve

if TYPE_CHECKING:
    from pathlib import Path

    from graphtape.cassettes.samples.agent_server import AgentServer

# The first of them installs the packages.
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

VERSIONS = ("0.1.10", "1.8.10", "1.11.0", "1.15.0")
# Where the events come from, and who asks: the real server has only so many workers.
SOURCES = {
    "server": ("1.8.10", "1.15.0"),
    "unique at 1": VERSIONS,
    "unique at max": ("1.11.0", "1.15.0"),
    "recorded at max": ("0.1.10", "1.15.0"),
}
# Where the connections break, as `reconnect.mjs` does it: events before each break.
CUTS = {
    "after_metadata": (1,),
    "after_fifth": (5,),
    "inside_sixth": (5,),
    "after_last": (13,),
    "twice": (4, 3),
    "burst": (60, 40),
    "clean_end": (5,),
}

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drill:
    """What one client was given of one run (`seen`), and what the run emitted (`whole`)."""

    seen: list[Event]
    whole: list[Event]
    status: str
    requests: list[Mapping[str, Any]]


@pytest.fixture(scope="session")
def whole_runs(
    agent_server: AgentServer,
    tmp_path_factory: pytest.TempPathFactory,
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
    start_recorder: Callable[..., Any],
) -> Path:
    """A cassette of the runs of the drill, none of them cut."""
    recorder = start_recorder(agent_server.url, tmp_path_factory.mktemp("reconnect") / "whole.tape")
    result_of(start_script("reconnect.mjs", f"sdk-{VERSIONS[-1]}", recorder.url, "record"))
    assert recorder.stop() == 0
    cassette: Path = recorder.cassette
    return cassette


@pytest.fixture(scope="session")
def drills(
    agent_server: AgentServer,
    whole_runs: Path,
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
) -> Callable[[str], Mapping[str, Mapping[str, Drill]]]:
    """All cases of the versions that ask one source of events."""

    def drill(url: str, versions: Iterable[str]) -> Mapping[str, Mapping[str, Drill]]:
        started = {each: start_script("reconnect.mjs", f"sdk-{each}", url) for each in versions}
        done = {each: result_of(script) for each, script in started.items()}
        return {
            version: {
                case: Drill(**(found | {"seen": _events(found["seen"])})) for case, found in cases.items()
            }
            for version, cases in done.items()
        }

    @functools.cache
    def of(source: str) -> Mapping[str, Mapping[str, Drill]]:
        if source == "server":
            return drill(agent_server.url, SOURCES[source])
        ids, _, speed = source.split(" ")
        with serve([whole_runs], speed=speed, ids="unique" if ids == "unique" else "recorded") as mock:
            return drill(mock.url, SOURCES[source])

    return of


def _events(seen: list[Event]) -> list[Event]:
    """Without the empty parts that versions before 1.15 make of heartbeats once they have seen an id."""
    return [each for each in seen if each.get("event") != ""]


def _above(last: str, event: Event, *, unique: bool) -> bool:
    if unique:
        return tuple(map(int, event["id"].split("-"))) > tuple(map(int, last.split("-")))
    return bool(event["id"] > last)


def expected(whole: list[Event], case: str, version: str, source: str) -> tuple[list[Event], list[str]]:
    """What the client is given, and the cursors with which it comes back."""
    unique = source.startswith("unique")
    # At `max` a run whose client has left is over at once, so that 1.15 asks and hears that it need not come back.
    asks = version == "1.15.0" and not source.endswith("max")
    given: list[Event] = []
    rest = whole
    cursors: list[str] = []
    for after in CUTS[case]:
        given += rest[:after]
        if version == "0.1.10":
            # It never comes back. Of an end that looks clean it knows nothing.
            lost = {"thrown": "TypeError", "message": "terminated"}
            return (given if case == "clean_end" else [*given, lost]), []
        if case == "clean_end" and not asks:
            # It takes the truncated stream for the whole.
            return given, []
        cursors.append(given[-1]["id"])
        rest = [event for event in whole if _above(cursors[-1], event, unique=unique)]
    return given + rest, cursors


def cells(cases: Iterable[str], versions: Iterable[str] = VERSIONS) -> Iterator[tuple[str, str, str]]:
    """Source, version and case of every drill."""
    for source, there in SOURCES.items():
        yield from itertools.product([source], [each for each in there if each in versions], cases)


@pytest.mark.parametrize(("source", "version", "case"), list(cells(CUTS)))
def test_resumable_run(
    source: str, version: str, case: str, drills: Callable[[str], Mapping[str, Mapping[str, Drill]]]
) -> None:
    """A client that comes back gets what its last id entitles it to; with unique ids that is everything, and once."""
    drill = drills(source)[version][case]
    given, cursors = expected(drill.whole, case, version, source)
    assert drill.seen == given
    assert [each["lastEventId"] for each in drill.requests] == [None, *cursors]
    assert drill.status == "success"
    assert len(drill.whole) == (203 if case == "burst" else 13)
    if source.startswith("unique") and version != "0.1.10" and case != "clean_end":
        assert drill.seen == drill.whole


@pytest.mark.parametrize(
    ("source", "version", "case"),
    list(cells(["before_first", "not_resumable"], VERSIONS[1:])),
)
def test_without_an_id(
    source: str, version: str, case: str, drills: Callable[[str], Mapping[str, Mapping[str, Drill]]]
) -> None:
    """Who has no id comes back to what follows: there is a gap, but nothing twice and nothing out of order."""
    drill = drills(source)[version][case]
    assert [each["lastEventId"] for each in drill.requests] == [None, None]
    ticks = [event["data"]["tick"] for event in drill.seen if event["event"] == "custom"]
    assert ticks == sorted(set(ticks))
    if case == "before_first":
        assert drill.seen == drill.whole[len(drill.whole) - len(drill.seen) :]
    else:
        assert [event["event"] for event in drill.seen[:5]] == ["metadata", "values", *["custom"] * 3]
        assert drill.seen[-1]["data"] in ({"n": 10}, {"tick": 2})
