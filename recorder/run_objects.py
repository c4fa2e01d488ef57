"""JSON that shows widened runs, made narrow: run objects, and what `join` answers.

Pure. One rule: only the values that widening changed are replaced, in their bytes; a body that looks otherwise than
expected passes as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from graphtape.protocol.sse import Decoder
from graphtape.recorder.spans import Edit, Member, NotJson, edited, elements, members
from graphtape.recorder.widening import WideRun, WideRuns

_INTERRUPT: Final = "__interrupt__"
_ENDED: Final = frozenset({"success", "error", "interrupted", "timeout"})


def narrowed_runs(body: bytes, runs: WideRuns) -> bytes:
    """A run object, or an array of them, with what its client asked in `kwargs`."""
    try:
        text = body.decode("utf-8")
        starts = [start for start, _ in elements(text)] if text.lstrip()[:1] == "[" else [0]
        edits = [edit for start in starts for edit in _edits(text, start, runs)]
        return edited(text, edits).encode("utf-8") if edits else body
    except (NotJson, UnicodeDecodeError):
        return body


def _edits(text: str, start: int, runs: WideRuns) -> list[Edit]:
    found = _by_name(text, start)
    kwargs = _by_name(text, found["kwargs"].start) if "kwargs" in found else {}
    run_id = found.get("run_id") or _run_id_in(text, kwargs)
    if run_id is None:
        return []
    run = runs.get(text[run_id.start : run_id.end].strip('"'))
    if run is None:
        return []
    if "status" in found and text[found["status"].start : found["status"].end].strip('"') in _ENDED:
        run.is_done = True
    if run.thread_id is None and "thread_id" in found:
        # Its request named no thread; by this one it can be listed and followed from now on.
        run.thread_id = text[found["thread_id"].start : found["thread_id"].end].strip('"')
    values = {
        "stream_mode": run.shown_modes,
        "subgraphs": "true" if run.asked.subgraphs else "false",
        "resumable": "true" if run.asked.resumable else "false",
    }
    return [
        Edit(kwargs[name].start, kwargs[name].end, value) for name, value in values.items() if name in kwargs
    ]


def _run_id_in(text: str, kwargs: Mapping[str, Member]) -> Member | None:
    """`select=kwargs` shows no other."""
    if "config" not in kwargs:
        return None
    config = _by_name(text, kwargs["config"].start)
    if "configurable" not in config:
        return None
    return _by_name(text, config["configurable"].start).get("run_id")


def _by_name(text: str, start: int) -> dict[str, Member]:
    return {member.name: member for member in members(text, start)[0]}


class JoinedResult:
    """What `GET .../join` and `POST .../cancel?wait=1` answer: the last values, made of the modes of the run.

    Where a run stops at an interrupt, both its `values` and its `updates` show it; asked for both, the server answers
    with the interrupts of both and without the values. So the answer for a widened run is not that for the client's.

    Args:
        values: target of the stream from which the last values can be had.
    """

    def __init__(self, run: WideRun, values: str) -> None:
        self._run = run
        self._values = values
        self._body = b""
        self.question: str | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The newlines that keep the connection open pass at once; the answer waits to be whole."""
        rest = data if self._body else data.lstrip(b"\n")
        self._body += rest
        return [data[: len(data) - len(rest)]] if len(rest) < len(data) else []

    def finish(self) -> list[bytes]:
        """The answer, unless it depends on the values, which must be asked for."""
        found = self._doubled()
        has_values, has_updates = (mode in self._run.asked.modes for mode in ("values", "updates"))
        if found is None or (has_values and has_updates):
            return [self._body] if self._body else []
        if not has_values and not has_updates:
            found = [{key: one[key] for key in ("id", "value") if key in one} for one in found]
        elif has_values and len(found) == 1:
            self.question = self._values
        self._body = orjson.dumps({_INTERRUPT: found})
        return [] if self.question is not None else [self._body]

    def answer(self, body: bytes | None) -> list[bytes]:
        """The last values of this stream, or what is known without them."""
        shown = (
            [] if body is None else [block.data for block in Decoder().feed(body) if block.name == "values"]
        )
        return [shown[-1] if shown and shown[-1] is not None else self._body]

    def _doubled(self) -> list[dict[str, object]] | None:
        """The interrupts, each once, if the answer shows each twice and nothing else."""
        try:
            value = orjson.loads(self._body)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(value, dict) or value.keys() != {_INTERRUPT}:
            return None
        shown = value[_INTERRUPT]
        if not isinstance(shown, list) or not all(isinstance(one, dict) for one in shown):
            return None
        once = {str(one.get("id")): one for one in shown}
        return list(once.values()) if 2 * len(once) == len(shown) else None
