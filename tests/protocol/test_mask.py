"""What counts as a mask."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graphtape.cassettes.redaction.values import ValueMasker
from graphtape.protocol.mask import MASK, is_masked, may_be, same_but_stars


@pytest.mark.parametrize("value", [MASK, "***", "*" * 40])
def test_a_mask_is_seen(value: str) -> None:
    """The text that replaces a value, and stars of any length from three."""
    assert is_masked(value)


@pytest.mark.parametrize("value", ["", "**", "*", "***a", "*** ***", f"x{MASK}", None, 3, ["***"], b"***"])
def test_other_values_are_no_masks(value: object) -> None:
    """A mask is the whole of a text, and a text."""
    assert not is_masked(value)


@pytest.mark.parametrize(
    ("recorded", "asked", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (MASK, "b", True),
        ("***", "b", True),
        (f"u={MASK}&b=1", "u=secret&b=1", True),
        (f"u={MASK}&b=1", "u=secret&b=2", False),
        (f"u={MASK}&v={MASK}", "u=&v=", True),
        (f"u={MASK}&v={MASK}&", "u=1&v=", False),
        (f"aa{MASK}aa", "aaa", False),
        (f"{MASK}a{MASK}", "xay", True),
        (f"{MASK}a{MASK}", "xy", False),
        ("my key is ******** ok", "my key is abcd1234 ok", True),
        ("my key is ******** ok", "my key is abcd123 ok", False),
        ("my key is ******** ok", "my key is abcd1234 no", False),
        ("my key is ******** ok", "a key was abcd1234 ok", False),
        ("*** ok", "abc ok", False),
        ("a*****b****", "a1234*b1234", True),
        ("a*****b****", "a12345c1234", False),
        ("a****", "a\udc80", False),
        (f"{MASK}: **** ok", "key: a secret ok", True),
        (f"{MASK}: **** ok", "key: a secret no", False),
    ],
)
def test_what_a_mask_may_hide(recorded: str, asked: str, same: bool) -> None:
    """Any text, or one of as many bytes; and what stands around it has to be there."""
    assert may_be(recorded, asked) is same


@pytest.mark.parametrize("only_ascii", [True, False])
@pytest.mark.parametrize("slash", ["/", "\\/"])
@given(value=st.text(min_size=4), before=st.text(), after=st.text())
@example(value="2026", before="…", after="\u2026")
@example(value="u202", before="\u2026", after="")
@example(value="nine", before="\n", after="")
def test_what_the_recorder_masked_is_equal(
    value: str, before: str, after: str, slash: str, only_ascii: bool
) -> None:
    """A named value inside a text is equal when it is sent again, however the recorded client spelled it."""
    text = f"{before} {value} {after}"
    sent = json.dumps({"text": text}, ensure_ascii=only_ascii).replace("/", slash).encode()
    written, labels = ValueMasker([("PIN", value)]).mask(sent)
    assert labels
    assert may_be(json.loads(written)["text"], text)
    assert same_but_stars(written, sent)


def test_a_value_inside_json_inside_json() -> None:
    """The spelling of the outer text is what decides, as that of the inner one is a part of the text."""
    inner = json.dumps({"pin": 'say "Zürich"'})
    written, _ = ValueMasker([("PIN", 'say "Zürich"')]).mask(json.dumps({"text": inner}).encode())
    assert may_be(json.loads(written)["text"], inner)


def test_a_value_in_a_query() -> None:
    """What was masked there are the bytes of its percent-encoding."""
    assert may_be("key ************ ok", "key a/b/ü ok")
    assert not may_be("key ************ ok", "key a/bü ok")


def test_many_masks_take_linear_time() -> None:
    """A hostile cassette may hold a text of nothing but masks and letters."""
    begun = time.process_time()
    assert not may_be(f"{MASK}a" * 2000 + "b", "a" * 20_000)
    assert not may_be("****a" * 20_000 + "b", "a" * 100_001)
    assert not may_be(f"{MASK}a****a" * 2000 + "b", "a" * 40_000)
    assert time.process_time() - begun < 1
