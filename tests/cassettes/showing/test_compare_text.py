"""Tests of `cassettes/showing/compare_text.py`; whole outputs are in tests/golden_output."""

from __future__ import annotations

from graphtape.cassettes.showing.compare import Comparison, Context, Difference
from graphtape.cassettes.showing.compare_text import comparison_json, format_comparison
from graphtape.cassettes.showing.text import Paint, columns


def shown(comparison: Comparison, **options: object) -> list[str]:
    return list(format_comparison(comparison, left="a.tape", right="b.tape", **options))  # type: ignore[arg-type]


def of(*differences: Difference, total: int | None = None) -> Comparison:
    found = Comparison(1, 1, 5, list(differences), total or len(differences))
    for difference in differences:
        place = (difference.left_exchange, difference.right_exchange)
        found.per_exchange[place] = found.per_exchange.get(place, 0) + 1
    return found


def test_same() -> None:
    """One line says that nothing differs, and how much was compared."""
    assert shown(Comparison(3, 3, 7, ids=4)) == ["same: 3 exchanges, 7 events compared, 4 ids mapped"]


def test_long_values_are_cut_around_the_difference() -> None:
    """Two long values are shown from where they part, on one line each."""
    long = "x" * 100_000
    lines = shown(of(Difference(1, 1, "response body", "$.a", f"{long}one", f"{long}two")), width=80)
    assert [line.split("  ")[-1] for line in lines if ".tape" in line] == [
        f'…{"x" * 24}{end}"' for end in ("one", "two")
    ]
    assert all(columns(line) <= 80 for line in lines)


def test_values_with_control_characters() -> None:
    """Nothing of a cassette reaches the terminal as a command."""
    found = of(Difference(1, 1, "event data", "$['\x1b']", "\x1b[2J", "b\x07", "note \x1b", 1, 1, "ev\x1b"))
    found.context = Context("GET /\x1b", ((1, "n\x1b", "words"),))
    assert not any("\x1b" in line or "\x07" in line for line in shown(found))


def test_all_of_them() -> None:
    """--all shows each, without a count of the rest."""
    found = of(Difference(1, 1, "status", "", 200, 404), Difference(2, 3, "request body", "$.x", 1, 2))
    assert not any("--all" in line for line in shown(found, show_all=True))
    assert any("exchange 2 / 3" in line for line in shown(found, show_all=True))
    assert any("1 more difference in exchange 2 / 3: 1" in line for line in shown(found))


def test_colours() -> None:
    """Left and right have their colours when wanted."""
    lines = shown(of(Difference(1, 1, "status", "", 200, 404)), paint=Paint(enabled=True))
    assert any(line.startswith("\x1b[31m    - a.tape") for line in lines)
    assert any(line.startswith("\x1b[32m    + b.tape") for line in lines)


def test_json_leaves_out_what_a_side_lacks() -> None:
    """Absent is no key, which is not null."""
    document = comparison_json(
        of(
            Difference(1, 1, "event data", "$.a", None, note="n", left_event=2, right_event=3, event="values")
        ),
        left="a",
        right="b",
    )
    assert document["differences"] == [
        {
            "left_exchange": 1,
            "right_exchange": 1,
            "what": "event data",
            "event": "values",
            "left_event": 2,
            "right_event": 3,
            "path": "$.a",
            "left": None,
            "note": "n",
        }
    ]
    assert (document["same"], document["differences_total"]) == (False, 1)
