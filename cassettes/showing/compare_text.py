"""A comparison of two cassettes, for people and for machines.

Knows `compare` and `text`, no file and no terminal. Its one rule: the first difference is shown so that one need not
look into the cassettes, the others are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from graphtape.cassettes.showing.compare import Comparison, Difference
from graphtape.cassettes.showing.mapping import ABSENT
from graphtape.cassettes.showing.text import ELLIPSIS, Paint, cut, cut_middle, pad, plural, short_ids, visible

_MARGIN = "    "
_BEFORE = 24
"""Characters shown before the place where two long values part."""

_LONGEST = 600

_SHOWN_AS_THEY_ARE = frozenset({"exchange", "event", "request", "ending"})
"""Differences whose values are our words or a request line, not JSON."""


def format_comparison(
    comparison: Comparison,
    *,
    left: str,
    right: str,
    width: int = 100,
    paint: Paint | None = None,
    show_all: bool = False,
) -> Iterator[str]:
    """The lines that `diff` prints.

    Args:
        left, right: names of the two cassettes.
        width: cells of a line.
        paint: colours; None for none.
        show_all: every difference (of the first thousand), not the first and a count.
    """
    paint = paint or Paint()
    for note in comparison.notes:
        yield paint("faint", f"note: {note}")
    counted = (
        f"{_both(comparison.left_exchanges, comparison.right_exchanges, 'exchange')}, "
        f"{plural(comparison.events, 'event')} compared"
    )
    if comparison.same:
        yield paint("good", "same") + f": {counted}, {plural(comparison.ids, 'id')} mapped"
        return
    yield paint("bad", plural(comparison.total, "difference")) + f": {counted}"
    shown = comparison.differences if show_all else comparison.differences[:1]
    for index, difference in enumerate(shown):
        yield ""
        yield from _difference(difference, comparison, (left, right), width, paint, first=index == 0)
    rest = comparison.total - len(shown)
    if rest:
        yield ""
        counts = dict(comparison.per_exchange)
        for difference in shown:
            counts[(difference.left_exchange, difference.right_exchange)] -= 1
        places = [f"exchange {_numbers(*place)}: {count}" for place, count in counts.items() if count]
        more = f"{plural(rest, 'more difference')} in {', '.join(places[:8])}"
        yield (
            more + (f", {ELLIPSIS}" if len(places) > 8 else "") + ("" if show_all else "  (--all shows them)")
        )


def comparison_json(comparison: Comparison, *, left: str, right: str) -> dict[str, Any]:
    """The document that `diff --json` prints. A side that lacks a thing has no key for it."""
    return {
        "same": comparison.same,
        "left": {"file": left, "exchanges": comparison.left_exchanges},
        "right": {"file": right, "exchanges": comparison.right_exchanges},
        "events_compared": comparison.events,
        "ids_mapped": comparison.ids,
        "differences_total": comparison.total,
        "differences": [_difference_json(difference) for difference in comparison.differences],
        "notes": comparison.notes,
    }


def _difference_json(difference: Difference) -> dict[str, Any]:
    document: dict[str, Any] = {
        "left_exchange": difference.left_exchange,
        "right_exchange": difference.right_exchange,
        "what": difference.what,
    }
    if difference.event:
        document |= {
            "event": difference.event,
            "left_event": difference.left_event,
            "right_event": difference.right_event,
        }
    if difference.path:
        document["path"] = difference.path
    document |= {
        side: value
        for side, value in (("left", difference.left), ("right", difference.right))
        if value is not ABSENT
    }
    if difference.note:
        document["note"] = difference.note
    return document


def _difference(
    difference: Difference,
    comparison: Comparison,
    names: tuple[str, str],
    width: int,
    paint: Paint,
    *,
    first: bool,
) -> Iterator[str]:
    head = "first difference: " if first else ""
    place = f"exchange {_numbers(difference.left_exchange, difference.right_exchange)}"
    request = ""
    if first and comparison.context is not None:
        request = f"  {cut_middle(visible(short_ids(comparison.context.request)), max(width - 40, 40))}"
    yield paint("title", f"{head}{place}") + request
    yield (
        "  "
        + paint("name", _what(difference))
        + (f"  at {visible(difference.path)}" if difference.path else "")
    )
    if first and comparison.context is not None:
        for number, name, words in comparison.context.events:
            yield paint(
                "faint", cut(f"{_MARGIN}  {number:>5}  {pad(short_ids(visible(name)), 18)}  {words}", width)
            )
    one, two = _values(difference)
    wide = max(map(len, names))
    for sign, role, name, value in (("-", "left", names[0], one), ("+", "right", names[1], two)):
        if value is not None:
            yield paint(role, cut(f"{_MARGIN}{sign} {name:<{wide}}  {value}", max(width, 60)))
        else:
            yield paint("faint", f"{_MARGIN}{sign} {name:<{wide}}  (nothing)")
    if difference.note:
        yield f"{_MARGIN}{visible(difference.note)}"


def _what(difference: Difference) -> str:
    if not difference.event:
        if difference.what == "exchange":
            return "only on the left" if difference.right_exchange is None else "only on the right"
        return difference.what
    number = _numbers(difference.left_event, difference.right_event)
    event = f"event {number} ({short_ids(visible(difference.event))})"
    if difference.what == "event":
        return f"{event}: only on the {'left' if difference.right_event is None else 'right'}"
    return f"{event}: {difference.what.removeprefix('event ')}"


def _numbers(left: int | None, right: int | None) -> str:
    """`4`, or `4 / 5` where the sides count differently; a dash for a side without one."""
    if left == right:
        return str(left)
    return f"{'–' if left is None else left} / {'–' if right is None else right}"


def _both(left: int, right: int, noun: str) -> str:
    return plural(left, noun) if left == right else f"{left:,} and {plural(right, noun)}"


def _values(difference: Difference) -> tuple[str | None, str | None]:
    """Both values as text, from a little before the place where they part."""
    if difference.what in _SHOWN_AS_THEY_ARE:
        one, two = (None if value is ABSENT else str(value) for value in (difference.left, difference.right))
    else:
        one, two = _text(difference.left), _text(difference.right)
    if one is None or two is None:
        return _window(one, 0), _window(two, 0)
    shorter = min(len(one), len(two))
    same = next((index for index, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), shorter)
    start = same - _BEFORE if same > _BEFORE * 2 else 0
    return _window(one, start), _window(two, start)


def _window(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    return (ELLIPSIS if start else "") + visible(text[start : start + _LONGEST])


def _text(value: Any) -> str | None:
    if value is ABSENT:
        return None
    if isinstance(value, str):
        return f'"{value}"'
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return str(value)
