"""One run being played."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.protocol.ids import IdMap
from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.plan import Pace, PlanEnd
from graphtape.replayer.play import Play
from graphtape.replayer.viewed import viewed

RESUMABLE = StreamOptions(resumable=True)


def playing(
    kit: Any,
    events: Any = None,
    *,
    speed: str | float = 1,
    idle: float | None = None,
    options: StreamOptions = RESUMABLE,
    body: Any = None,
    ending: Ending = Ending.COMPLETE,
    unique: bool = False,
    end_ms: float = 0,
    **more: Any,
) -> Play:
    recording = kit.recording()
    asked = {"assistant_id": "a", "stream_resumable": True, **(body or {})}
    given = kit.simple_events(kit.uid(1), ids=True) if events is None else events
    recording.run(None, kit.uid(1), asked, given, ending=ending, end_ms=end_ms)
    (run,) = kit.tapes(recording).runs
    return Play(
        run=run,
        seen=viewed(run, options, "stream", unique_ids=unique),
        options=options,
        run_id=kit.uid(1),
        thread_id=None,
        pace=Pace.parse(speed, idle),
        unique_ids=unique,
        **{"ids": IdMap({}), "started_ns": 0, **more},
    )


def names(play: Play) -> list[str]:
    return [frame.name for frame in play.frames()]


def test_times_are_recorded_ones(kit: Any) -> None:
    """At speed 1 the head and every event are due when they came after the request."""
    play = playing(kit, started_ns=1000 * kit.MS)
    assert play.head_ns == 1001 * kit.MS
    assert [play.due_ns(n) // kit.MS for n in range(play.count)] == [1011, 1021, 1031]
    assert play.end_ns == 1031 * kit.MS


@pytest.mark.parametrize(("now_ms", "shown"), [(0, 0), (10, 0), (11, 1), (20, 1), (21, 2), (31, 3), (99, 3)])
def test_position_follows_the_clock(kit: Any, now_ms: int, shown: int) -> None:
    """At speed 1 the position is a function of the time alone."""
    play = playing(kit)
    assert play.position(now_ms * kit.MS) == play.sources_shown(now_ms * kit.MS) == shown


def test_position_at_max(kit: Any) -> None:
    """At max the position is the last event that was written, whatever the time."""
    play = playing(kit, speed="max")
    assert play.position(10**15) == 0
    assert play.status(10**15) == "pending"
    play.advance(2)
    assert (play.position(0), play.status(0)) == (2, "running")
    play.complete()
    assert (play.position(0), play.status(0)) == (3, "success")


def test_status_changes_with_the_last_event(kit: Any) -> None:
    """A run is over with its last event, before the last bytes of its response."""
    play = playing(kit, end_ms=10)
    statuses = [play.status(now * kit.MS) for now in (0, 11, 30, 31)]
    assert statuses == ["pending", "running", "running", "success"]
    assert play.end_ns == 41 * kit.MS


def test_state_knows_events_that_the_view_drops(kit: Any) -> None:
    """The state follows every recorded event, also those that this request is not shown."""
    events: list[Any] = [(10, "metadata", {}), (10, "updates", {}), (10, "values", {}), (10, "updates", {})]
    body = {"stream_mode": ["updates", "values"]}
    options = StreamOptions(frozenset({"updates"}))
    play = playing(kit, events, body=body, options=options)
    assert (play.position(31 * kit.MS), play.sources_shown(31 * kit.MS)) == (2, 3)


def test_idle_limit_on_a_narrowed_view(kit: Any) -> None:
    """An idle limit caps the gaps between the events that are shown; the state follows them."""
    events: list[Any] = [(10, "metadata", {}), (5000, "values", {}), (5000, "updates", {})]
    body = {"stream_mode": ["updates", "values"]}
    options = StreamOptions(frozenset({"updates"}))
    play = playing(kit, events, body=body, options=options, idle=0.1)
    assert [play.due_ns(n) // kit.MS for n in range(play.count)] == [11, 111]
    assert [play.sources_shown(now * kit.MS) for now in (11, 110, 111)] == [1, 1, 3]


def test_error_is_a_status(kit: Any) -> None:
    """A run whose stream has shown an `error` event ends as error, with its payload."""
    play = playing(kit, [(10, "metadata", {}, "1-0"), (10, "error", {"error": "ValueError"}, "2-0")])
    assert play.error(11 * kit.MS) is None
    assert (play.status(21 * kit.MS), play.error(21 * kit.MS)) == ("error", {"error": "ValueError"})


def test_cancelled(kit: Any) -> None:
    """A cancelled run shows nothing more, is interrupted, and what waits for it is told."""
    play, told = playing(kit), []
    play.watchers.add(lambda: told.append(1))
    play.cancel(21 * kit.MS)
    assert (play.position(99 * kit.MS), play.status(99 * kit.MS)) == (2, "interrupted")
    assert told


def test_queued_run_begins_when_the_one_before_is_cancelled(kit: Any) -> None:
    """A run behind another begins with its end, or when that is cancelled; so does a third behind it."""
    first = playing(kit)
    second = playing(kit, after=first, started_ns=first.end_ns)
    third = playing(kit, after=second, started_ns=second.end_ns)
    assert second.due_ns(0) == (31 + 11) * kit.MS
    first.cancel(5 * kit.MS)
    assert second.due_ns(0) == (5 + 11) * kit.MS
    assert third.started_ns == second.end_ns


def test_stored_frames(kit: Any) -> None:
    """A join can get again what a resumable run has shown, less what the server never stores."""
    events: list[Any] = [(10, "metadata", {}, "1-0"), (10, "values", {}, "2-0"), (10, "error", {}, "3-0")]
    assert [f.event_id for f in playing(kit, events).stored(99 * kit.MS)] == ["1-0", "2-0"]
    assert [f.event_id for f in playing(kit, events).stored(11 * kit.MS)] == ["1-0"]
    assert playing(kit, events, options=StreamOptions()).stored(99 * kit.MS) == []


def test_id_lines_only_where_asked(kit: Any) -> None:
    """A request that is not resumable gets no id lines; a thread stream shows the ids all the same."""
    play = playing(kit, options=StreamOptions())
    assert b"\nid:" not in play.frame(0).raw
    assert play.frame(0).raw_with_id.endswith(b"\r\nid: 1795219836000-0\r\n\r\n")


def test_ids_above_those_of_the_thread(kit: Any) -> None:
    """A run whose first id is not above its thread's last is moved up by whole milliseconds, gaps kept."""
    play = playing(kit, above=(1_795_219_836_005, 3))
    ids = [frame.event_id for frame in play.frames()]
    assert ids == ["1795219836006-0", "1795219836016-0", "1795219836026-0"]
    assert b"id: 1795219836006-0\r\n" in play.frame(0).raw


def test_ids_replaced_everywhere(kit: Any) -> None:
    """The ids of a frame are replaced in its data and in its event name."""
    events: list[Any] = [
        (1, "metadata", {"run_id": kit.uid(1)}),
        (1, f"values|sub:{kit.uid(7)}", {"x": kit.uid(7)}),
    ]
    ids = IdMap({kit.uid(1): kit.uid(2), kit.uid(7): kit.uid(8)})
    options = StreamOptions(subgraphs=True)
    play = playing(kit, events, body={"stream_subgraphs": True}, options=options, ids=ids)
    assert play.frame(0).data == b'{"run_id":"%s"}' % kit.uid(2).encode()
    assert play.frame(1).name == f"values|sub:{kit.uid(8)}"
    assert kit.uid(7).encode() not in play.frame(1).raw


@pytest.mark.parametrize("ending", [Ending.CLIENT_LEFT, Ending.UPSTREAM_BROKE, Ending.RECORDER_STOPPED])
def test_incomplete_recording_breaks(kit: Any, ending: Ending) -> None:
    """A run whose recording did not see its end is never finished, and its response breaks off."""
    play = playing(kit, ending=ending)
    assert (play.finished(10**15), play.exhausted(10**15), play.status(10**15)) == (False, True, "running")
    assert play.end is PlanEnd.BREAK


def test_end_of_a_run_on_thread_streams(kit: Any) -> None:
    """The end of a run has an id of its own above its last event's, so that a resume from there is whole."""
    assert playing(kit).done_id == (1_795_219_836_021, 0)
    assert playing(kit, unique=True).done_id == (1_795_219_836_021, 0)


def test_recorded_heartbeats_only_for_the_recorded_response(kit: Any) -> None:
    """Recorded heartbeats belong to the recorded times of the recorded response; all others are planned."""
    assert playing(kit).plays_recorded_response
    assert not playing(kit, speed=2).plays_recorded_response
    assert not playing(kit, idle=1.0).plays_recorded_response
    assert not playing(kit, answer="create").plays_recorded_response


def test_a_play_is_small(kit: Any) -> None:
    """One is kept for every open stream: no dictionary of attributes, and no copy of what the recording holds."""
    recording = kit.recording()
    body = {"assistant_id": "agent", "input": "hi"}
    recording.run(recording.thread(1), kit.uid(2), body)
    session = kit.session(recording)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    play = session.runs[kit.uid(2)]
    assert not hasattr(play, "__dict__")
    assert play.body is play.run.body
    assert play.options is play.run.asked_options
