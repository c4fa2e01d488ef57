"""What `wait` and `join` answer at the end of a run (docs/agent-server.md, section 6).

Pure. One rule: what no event shows is None, and the caller refuses.
"""

from __future__ import annotations

from typing import Any

import orjson

from graphtape.cassettes.hearsay import values_left
from graphtape.cassettes.runs import RecordedRun
from graphtape.protocol.ids import NO_IDS, IdMap
from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.shown import Json, plain_interrupts, shown_of, without_guests
from graphtape.replayer.twin.request_fields import ends_alike


def final_values_known(run: RecordedRun, asked: StreamOptions) -> bool:
    """Whether the recording shows what a `wait` for this run answers."""
    if _as_asked(run, run.values(), asked) is not None:
        return True
    for event in run.tape.events if run.tape is not None else ():
        name = event.block.name
        if name in ("values", "checkpoints", "error") or b'"__interrupt__"' in (event.block.data or b""):
            return True
    return False


def wait_answer(play: Play, now_ns: int) -> Any:
    """What a reader that was there when the run ended gets, from the events it has seen; None if none shows it."""
    error = play.error(now_ns)
    if error is not None:
        return {"__error__": error}
    if play.final is not None:
        return _as_asked(play.run, play.final, play.options, play.ids)
    latest: Any = None
    interrupting: list[Json] = []
    for event in play.shown_events(now_ns):
        name = event.block.name or ""
        if name not in ("values", "updates") or name not in play.options.modes:
            continue
        payload = parsed(play.ids.apply(event.block.data or b""))
        if isinstance(payload, dict) and payload.get("__interrupt__"):
            interrupting.append(payload)
        elif name == "values":
            latest = payload
    if len(interrupting) == 1:
        return interrupting[0]
    if interrupting:
        # Each event counts: with `updates` and `values` one interrupt is named twice.
        return {"__interrupt__": [one for payload in interrupting for one in payload["__interrupt__"]]}
    if latest is not None:
        return latest
    interrupts = plain_interrupts(play, now_ns)
    if interrupts:
        return {"__interrupt__": interrupts}
    shown = shown_of(play, now_ns)
    return shown.last_values if shown.known else None


def _as_asked(run: RecordedRun, final: Any, asked: StreamOptions, ids: IdMap = NO_IDS) -> Any:
    """The recorded answer, made that of the modes asked for; None if it hides what they show.

    Asked for `values` and `updates`, as a recorder that widens asks, the server names each interrupt twice and leaves
    out the values: these a read may tell.
    """
    raised = final.get("__interrupt__") if isinstance(final, dict) else None
    if not isinstance(raised, list) or ends_alike(run.options, asked):
        return final
    once = list({str(one.get("id")): one for one in raised if isinstance(one, dict)}.values())
    has_values, has_updates = (mode in asked.modes for mode in ("values", "updates"))
    if has_values and has_updates:
        return {"__interrupt__": once * 2}
    if has_values and len(once) == 1:
        values = without_guests(final) or parsed(ids.apply(orjson.dumps(values_left(run))))
        return {**values, "__interrupt__": once} if values else None
    return {"__interrupt__": once}


def late_answer(status: str, last: Play, values: Any, now_ns: int) -> Any:
    """What one who asks when the run is over gets: what its thread says, whatever run that is of.

    Args:
        status: the thread's.
        last: the run of the thread that ended last.
        values: the thread's own; None if nothing shows them.
    """
    if status == "error":
        error = last.error(now_ns)
        return None if error is None else {"__error__": error}
    interrupts = plain_interrupts(last, now_ns) if status == "interrupted" else []
    return {"__interrupt__": interrupts} if interrupts else values


def told_answer(thread: Json) -> Any:
    """The same, from the thread as a recorded answer had it then."""
    if thread.get("status") == "error":
        return {"__error__": thread.get("error")}
    by_task = thread.get("interrupts") if thread.get("status") == "interrupted" else None
    interrupts = [one for found in (by_task or {}).values() for one in found]
    return {"__interrupt__": interrupts} if interrupts else thread.get("values") or {}
