"""What assistants, crons and the store are now: which recorded answer to a plain read lies between the same changes.

Pure; knows recorded calls in their order, nothing of answers. One rule: what was read before a change is not read after
it, and the other way round, however often a client reads.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from graphtape.cassettes.calls import RecordedCall
from graphtape.protocol.operations import OPERATIONS, Kind, Operation
from graphtape.replayer.remembering import Counts

_O = Operation
_RUNS: Final = frozenset(route.operation for route in OPERATIONS if route.starts_run)

_CHANGED_BY: Final[Mapping[Kind, frozenset[Operation]]] = {
    Kind.READS_ASSISTANT: frozenset(
        (_O.CREATE_ASSISTANT, _O.UPDATE_ASSISTANT, _O.DELETE_ASSISTANT, _O.SET_LATEST_ASSISTANT_VERSION)
    ),
    # Graphs write into the store too.
    Kind.STORE: frozenset((_O.PUT_ITEM, _O.DELETE_ITEM, *_RUNS)),
    Kind.CRON: frozenset((_O.CREATE_CRON, _O.CREATE_THREAD_CRON, _O.UPDATE_CRON, _O.DELETE_CRON)),
}
"""By the kind of what reads."""


def nth_or_last(equal: Sequence[RecordedCall], position: int) -> RecordedCall:
    """The n-th of recorded answers that were true at one time; the last of them serves all later reads.

    Of failures only if there is nothing else: what failed once, like a gateway that was gone, does not fail for ever.
    """
    if position < len(equal):
        return equal[position]
    return next((call for call in reversed(equal) if not call.failed), equal[-1])


class Changes:
    """The changes that a session has played.

    Args:
        calls: all recorded calls, in order.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self._calls = calls
        self._latest: dict[Kind, RecordedCall] = {}
        self._reads = Counts()

    @cached_property
    def _orders(self) -> Mapping[Kind, list[int]]:
        return {kind: [call.order for call in self._calls if _is_change(call, kind)] for kind in _CHANGED_BY}

    def played(self, call: RecordedCall) -> None:
        """This recorded call has been answered again; if it changed something, so it did here."""
        for kind in _CHANGED_BY:
            if _is_change(call, kind):
                self._latest[kind] = call

    def read(self, key: tuple[object, ...], equal: Sequence[RecordedCall]) -> RecordedCall | None:
        """Of equal recorded reads the one that is true now, if changes are known for what they read.

        Args:
            key: what is asked; counted, so that the n-th between the same changes gets the n-th.
        """
        route = equal[0].route
        if route is None or route.kind not in _CHANGED_BY or route.operation in _CHANGED_BY[route.kind]:
            return None
        orders = self._orders[route.kind]
        latest = self._latest.get(route.kind)
        now = bisect_right(orders, latest.order) if latest is not None else 0
        points = [bisect_left(orders, call.order) for call in equal]
        here = [call for call, point in zip(equal, points, strict=True) if point == now]
        if here:
            return nth_or_last(here, self._reads.before((now, *key)))
        # Not read between these changes: the next answer knows of the last change, the one before does not.
        later = [call for call, point in zip(equal, points, strict=True) if point > now]
        if later:
            return later[0]
        # Who deletes cleans up: then it is rather as it was in the beginning.
        is_clean = latest is not None and latest.summary.method == "DELETE"
        return equal[0] if is_clean else nth_or_last(equal, len(equal))


def _is_change(call: RecordedCall, kind: Kind) -> bool:
    return call.operation in _CHANGED_BY[kind] and call.answered and not call.failed
