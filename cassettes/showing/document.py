"""JSON documents for machines: what `--json` prints, whatever a cassette holds.

Knows values, not cassettes. One rule: every document can be written; what JSON cannot say is spelt out as text.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

_DEEPEST: Final = 200
"""Containers deeper than this are shown as text: orjson stops at 254."""


def document_bytes(document: Any, *, indent: bool = False) -> bytes:
    """`document` as JSON; bytes that are no UTF-8 as `\\xNN`, other foreign values as Python spells them."""
    option = orjson.OPT_INDENT_2 if indent else 0
    try:
        return orjson.dumps(document, default=repr, option=option)
    except TypeError:
        # Strings with bytes that are not UTF-8, keys that are no strings, and what is nested too deeply.
        return orjson.dumps(_plain(document, 0), default=repr, option=option)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _text(value)
    if depth > _DEEPEST and isinstance(value, dict | list | tuple):
        return f"{type(value).__name__} of {len(value)}, nested too deeply to be shown"
    if isinstance(value, dict):
        return {
            _text(key) if isinstance(key, str) else repr(key): _plain(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return value


def _text(text: str) -> str:
    return (
        text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if not text.isascii()
        else text
    )
