"""Named values in the forms in which they are sent."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from graphtape.cassettes.redaction.values import ValueMasker

VALUES = {
    "plain": "plainSECRETvalue77",
    "odd": "Zq9/+pässwörd&<x> y\U0001f600k",
    "quoted": 'multi\nline\tPEM"quo\\ted\\',
    "percent": "100%ab%41+c d",
}


def units(text: str) -> list[int]:
    raw = text.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


def escaped(text: str, spelling: str = "\\u%04x") -> str:
    return "".join(spelling % unit for unit in units(text))


def every_third_escaped(text: str) -> str:
    return "".join(escaped(c, "\\u%04X") if at % 3 == 0 else json.dumps(c)[1:-1] for at, c in enumerate(text))


def as_dotnet(text: str) -> str:
    """System.Text.Json."""
    return "".join(
        escaped(c, "\\u%04X") if c in "+<>&'\"`" or ord(c) > 127 else json.dumps(c)[1:-1] for c in text
    )


def as_go(text: str) -> str:
    return "".join(escaped(c) if c in "<>&" else json.dumps(c, ensure_ascii=False)[1:-1] for c in text)


def percent(text: str, spelling: str = "%%%02X") -> str:
    return "".join(spelling % byte for byte in text.encode())


def every_second_percent(text: str) -> str:
    return "".join(
        percent(c) if at % 2 or not c.isascii() or not c.isalnum() else c for at, c in enumerate(text)
    )


FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, all escaped": escaped,
    "JSON, every third escaped": every_third_escaped,
    "JSON of .NET": as_dotnet,
    "JSON of Go": as_go,
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "percent": lambda text: quote(text, safe=""),
    "percent, slashes left": quote,
    "percent, form": quote_plus,
    "percent, all": percent,
    "percent, lower case": lambda text: percent(text, "%%%02x"),
    "percent, mixed": every_second_percent,
    "percent, twice": lambda text: quote(quote(text, safe=""), safe=""),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", VALUES)
def test_forms(name: str, form: str) -> None:
    """Each is found, byte for byte, and nothing beside it."""
    masker = ValueMasker([("V", VALUES[name])])
    spelt = FORMS[form](VALUES[name]).encode()
    before, after = b'{"x": "\\u0041 %41 \\n', b'"} after \\n %4'
    assert masker.mask(before + spelt + after) == (before + b"*" * len(spelt) + after, ("value V",))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", VALUES)
def test_one_character_less(name: str, form: str) -> None:
    """A value that is not whole is none."""
    masker = ValueMasker([("V", VALUES[name])])
    spelt = FORMS[form](VALUES[name][:-1]).encode()
    assert masker.mask(spelt + b" x") == (spelt + b" x", ())


@pytest.mark.parametrize("before", ["", "u", "me:"])
def test_base64(before: str) -> None:
    """As a part of a longer text, wherever it begins in it."""
    coded = base64.b64encode(f"{before}{VALUES['plain']}".encode())
    clean, found = ValueMasker([("V", VALUES["plain"])]).mask(coded)
    assert found == ("value V",)
    assert clean.count(b"*") >= len(coded) - 8


def test_a_value_that_begins_another() -> None:
    """The longer is masked to its end, in usual and unusual forms."""
    masker = ValueMasker([("A", "secret"), ("B", "secret-and-more")])
    assert masker.mask(b"secret-and-more secret") == (b"*" * 15 + b" " + b"*" * 6, ("value B", "value A"))
    assert masker.mask(b"s%65cret-and-more") == (b"*" * 17, ("value B",))


def test_both_ways_of_one_value() -> None:
    """What is found twice is masked once."""
    masker = ValueMasker([("V", "a/b/c/d")])
    assert masker.mask(b"a/b/c/d a%2Fb%2Fc%2Fd a%2Fb/c/d") == (
        b"******* ************* *********",
        ("value V",),
    )


@pytest.mark.parametrize(
    ("value", "sent", "written"),
    [
        ("2026", rb"\u2026 2026", rb"****** ****"),
        ("026x", rb"\u2026x", rb"*******"),
        ("u202", rb"\u2026", rb"******"),
        ("nine", rb"\nine", rb"*****"),
        ("2026", rb"\\u2026 \\2026", rb"\\u**** \\****"),
        ("2026", rb"\\\u2026", rb"\\******"),
    ],
)
def test_half_an_escape(value: str, sent: bytes, written: bytes) -> None:
    """Digits of an escape that look like a value take the escape with them: what is left is JSON."""
    assert ValueMasker([("V", value)]).mask(sent)[0] == written


@pytest.mark.parametrize("part", [b"\\", b"\\u0070", b"%", b"%25", b"p", b"\\\\u", b"%70", b'\\"', b"+"])
def test_in_linear_time(part: bytes) -> None:
    """Whatever a body of 400 kB repeats."""
    masker = ValueMasker((name, value) for name, value in VALUES.items())
    begun = time.process_time()
    masker.mask(part * (400_000 // len(part)))
    assert time.process_time() - begun < 4
