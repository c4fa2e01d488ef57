"""What a run has shown of its thread: values, checkpoints, results and errors of its tasks, interrupts.

Pure; told the time. One rule: only what has been shown by then is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphtape.replayer.play import Play, parsed

Json = dict[str, Any]

_GUESTS = ("__interrupt__", "__error__")


@dataclass
class Shown:
    """What one run has shown of the root level."""

    values: Any = None
    has_values: bool = False
    checkpoints: list[Json] = field(default_factory=list)
    """Payloads of `checkpoints` events."""
    inner: Json | None = None
    """The last checkpoint of an inner level (or its `values`), if none of the root came after it."""
    started: set[str] = field(default_factory=set)
    """Ids of tasks that have begun."""
    results: dict[str, Any] = field(default_factory=dict)
    """By id: the results of tasks that have ended."""
    errors: dict[str, Json] = field(default_factory=dict)
    """By id: what tasks have failed with."""
    interrupts: dict[str, list[Json]] = field(default_factory=dict)
    """By id: what tasks of any level have been interrupted by."""
    pushed: set[str] = field(default_factory=set)
    """Ids of tasks that another node has sent (`Send`)."""
    metadata: Json = field(default_factory=dict)
    """Of the run's configuration, as its tasks show it."""

    @property
    def known(self) -> bool:
        """Whether anything shows the thread's values."""
        return self.has_values or bool(self.checkpoints)

    @property
    def last_values(self) -> Any:
        """The newest values."""
        return self.values if self.has_values else self.checkpoints[-1].get("values")

    @property
    def last_checkpoint(self) -> Json | None:
        """The newest checkpoint of any level: what the server looks at when a run ends."""
        return self.inner or (self.checkpoints[-1] if self.checkpoints else None)


def shown_of(play: Play, now_ns: int) -> Shown:
    """Read a run's events up to now."""
    shown = Shown()
    if _tells_values(play.final) and play.finished(now_ns):
        shown.values, shown.has_values = without_guests(play.final), True
    for event in play.shown_events(now_ns):
        base, _, namespace = (event.block.name or "").partition("|")
        if base in _KEEP and (not namespace or play.options.subgraphs):
            _KEEP[base](shown, parsed(play.ids.apply(event.block.data or b"")), namespace)
    return shown


def _keep_values(shown: Shown, payload: Any, namespace: str) -> None:
    # The interrupt is a guest in `values`, no part of the state; it comes after the last checkpoint.
    values = without_guests(payload)
    if not namespace:
        shown.values, shown.has_values = values, True
    is_checkpoint = not (isinstance(payload, dict) and "__interrupt__" in payload)
    if is_checkpoint and not shown.checkpoints:
        shown.inner = {"values": values} if namespace else None


def _keep_checkpoint(shown: Shown, payload: Any, namespace: str) -> None:
    if isinstance(payload, dict):
        shown.inner = payload if namespace else None
        if not namespace:
            shown.checkpoints.append(payload)


def _keep_task(shown: Shown, payload: Any, namespace: str) -> None:
    if not isinstance(payload, dict):
        return
    identifier = str(payload.get("id"))
    if payload.get("interrupts"):
        shown.interrupts[identifier] = plain(payload["interrupts"])
    if namespace:
        return
    shown.metadata.update(payload.get("metadata") or {})
    if "result" not in payload:
        shown.started.add(identifier)
        if payload.get("triggers") == ["__pregel_push"]:
            shown.pushed.add(identifier)
        return
    shown.results[identifier] = payload["result"]
    if isinstance(payload.get("error"), dict):
        shown.errors[identifier] = payload["error"]


_KEEP = {"values": _keep_values, "checkpoints": _keep_checkpoint, "tasks": _keep_task}


def without_guests(values: Any) -> Any:
    """Values without what `wait` and `values` events add to them."""
    if not isinstance(values, dict):
        return values
    return {key: value for key, value in values.items() if key not in _GUESTS}


def _tells_values(final: Any) -> bool:
    """Whether the answer of a `wait` or `join` shows the values: an error or several interrupts come in their place."""
    return final is not None and not (isinstance(final, dict) and final and final.keys() <= {*_GUESTS})


def may_have_changed_unseen(play: Play, now_ns: int) -> bool:
    """Whether a run that has shown no values may have changed them all the same."""
    if play.seen.silent:
        told = play.finished(now_ns) and play.cancelled_ns is None and _tells_values(play.final)
        return not (told or play.status(now_ns) == "pending" or play.never_began(now_ns))
    modes = play.run.options.modes if play.run.options is not None else frozenset()
    if "values" in modes or ("checkpoints" in modes and play.run.keeps_thread):
        # Whoever left before the end has not seen the last of them.
        return not play.tape.whole and play.finished(now_ns) and play.cancelled_ns is None
    # One event says only that the run began.
    ended = play.finished(now_ns) and play.cancelled_ns is None
    return ended or play.sources_shown(now_ns) > 1


def interrupts_of(play: Play, now_ns: int) -> list[Json] | None:
    """The interrupts that a run ended with; None if none was shown (docs/agent-server.md, section 2).

    An `interrupt_before` shows an empty list.
    """
    found: list[Json] | None = None
    if isinstance(play.final, dict) and play.finished(now_ns):
        found = play.final.get("__interrupt__")
    for event in play.shown_events(now_ns):
        data = event.block.data or b""
        if event.block.name not in ("values", "updates") or b'"__interrupt__"' not in data:
            continue
        payload = parsed(play.ids.apply(data))
        raised = payload.get("__interrupt__") if isinstance(payload, dict) else None
        if isinstance(raised, list):
            found = found or []
            known = {interrupt.get("id") for interrupt in found}
            found += [one for one in raised if isinstance(one, dict) and one.get("id") not in known]
    return found


def plain_interrupts(play: Play, now_ns: int) -> list[Json]:
    """A run's interrupts as threads and states show them."""
    return plain(interrupts_of(play, now_ns) or [])


def plain(interrupts: list[Json]) -> list[Json]:
    """Without `response_schema`, which only streams have."""
    return [{"id": one.get("id"), "value": one.get("value")} for one in interrupts]


def stopped_short(play: Play, now_ns: int) -> bool:
    """Whether something is left to do in the graph of a run that is over: interrupted, or cancelled in the middle."""
    if interrupts_of(play, now_ns) is not None:
        return True
    last = shown_of(play, now_ns).last_checkpoint
    if last is not None and "next" in last:
        return bool(last["next"])
    return play.cancelled_as(now_ns) is not None and (play.seen.silent or play.sources_shown(now_ns) > 1)
