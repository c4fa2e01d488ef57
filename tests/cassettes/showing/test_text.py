"""Tests of `cassettes/showing/text.py`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from graphtape.cassettes.showing.text import (
    Paint,
    columns,
    cut,
    cut_middle,
    format_bytes,
    format_span,
    format_utc,
    pad,
    plural,
    short_ids,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("é 漢 👩‍💻", "é 漢 👩‍💻"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x00\x7f\x85", "\\0\\x7f\\x85"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_text_from_the_wire(text: str, shown: str) -> None:
    """Whatever a terminal would obey is shown as an escape; what people write is left alone."""
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("漢字漢字", 6, "漢字…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("abc", 0, ""),
    ],
)
def test_text_cut_to_a_width(text: str, width: int, shown: str) -> None:
    """Cut text never takes more cells than it may, wide and combining characters counted as a terminal does."""
    assert cut(text, width) == shown
    assert columns(cut(text, width)) <= width


def test_path_cut_in_the_middle() -> None:
    """The end of a path survives."""
    assert cut_middle("/threads/abc/runs/stream", 15) == "/thread…/stream"
    assert cut_middle("/ok", 15) == "/ok"


def test_padding_wide_text() -> None:
    """Padding counts cells, not characters."""
    assert pad("漢", 4) == "漢  "
    assert pad("漢", 4, right=True) == "  漢"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (250_000, "250 kB"),
        (3_000_131, "3.0 MB"),
        (2_000_000_000, "2.0 GB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    """Decimal units, two digits that matter."""
    assert format_bytes(count) == shown


@pytest.mark.parametrize(
    ("span_ns", "shown"),
    [
        (400_000, "0.4 ms"),
        (37_000_000, "37 ms"),
        (1_204_000_000, "1.204 s"),
        (185_000_000_000, "3 min 05 s"),
        (7_500_000_000_000, "2 h 05 min"),
        (-37_000_000, "-37 ms"),
    ],
)
def test_durations(span_ns: int, shown: str) -> None:
    """A duration takes the unit that a person would say."""
    assert format_span(span_ns) == shown


def test_a_start_beyond_the_calendar() -> None:
    """A wall clock no calendar holds is shown as its number, not raised."""
    assert format_utc(1_795_219_836_000_000_000) == "2026-11-21 00:10:36 UTC"
    assert format_utc(2**80) == f"{2**80} ns since 1970"


@pytest.mark.parametrize("unix", [0, 951_782_400, 951_868_799, 1_709_164_800, 4_107_542_400, 253_402_300_799])
def test_any_start(unix: int) -> None:
    """Dates agree with the calendar, leap days and centuries too."""
    expected = datetime.fromtimestamp(unix, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert format_utc(unix * 1_000_000_000 + 5) == expected


def test_ids_of_one_minute() -> None:
    """Shortened ids keep the end: UUIDv7 of one minute begin alike."""
    one, two = (f"/threads/01a1fb75-0000-7000-8000-00000000{end}" for end in ("aaaa", "bbbb"))
    assert short_ids(one) == "/threads/01a1…aaaa"
    assert short_ids(one) != short_ids(two)


def test_plurals() -> None:
    """One event, several events, thousands grouped."""
    assert [plural(count, "event") for count in (0, 1, 10_412)] == ["0 events", "1 event", "10,412 events"]


def test_colours_off_and_on() -> None:
    """Without colours text stays as it is; empty text gets none."""
    assert Paint(enabled=False)("bad", "x") == "x"
    assert Paint(enabled=True)("bad", "x") == "\x1b[31mx\x1b[0m"
    assert Paint(enabled=True)("bad", "") == ""
