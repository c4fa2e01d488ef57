"""Any other recorded route, as plain HTTP.

Pure. One rule: a request is answered by a recording of the same method, path, query and body, in recorded order.
"""

from __future__ import annotations

from graphtape.protocol.ids import IdMap
from graphtape.protocol.mask import may_be
from graphtape.replayer.answering.answers import Reply, Turn
from graphtape.replayer.answering.recorded_answers import recorded_answer, same_body, same_query


def plain_answer(turn: Turn) -> Reply | None:
    """The recorded answer to the same request: the n-th gets the n-th, then they start again."""
    asked, session = turn.asked, turn.session
    thread = session.threads.get(turn.params.get("thread_id", ""))
    pairs: dict[str, str] = {}
    if thread is not None:
        pairs = dict(thread.ids)
        if thread.origin is not None and not thread.plays:
            pairs[thread.origin.thread_id] = thread.thread_id
    back = IdMap(pairs).inverse()
    path = back.apply_text(asked.path)
    query = tuple((name, back.apply_text(value)) for name, value in asked.query)
    body = back.apply(asked.body)
    methods = ("HEAD", "GET") if asked.method == "HEAD" else (asked.method,)
    equal = [
        call
        for call in session.tapes.calls
        if call.answered
        and call.summary.method in methods
        and may_be(call.path, path)
        and same_query(call.query, query)
        and same_body(call.request_body(), body)
    ]
    if not equal:
        return None
    if session.options.broken_last:
        equal = [call for call in equal if not call.broken] or equal
    call = session.nth((asked.method, path, tuple(sorted(query)), body), equal)
    recorded = session.tapes.threads.get(call.params.get("thread_id", ""))
    return recorded_answer(call, thread, recorded)
