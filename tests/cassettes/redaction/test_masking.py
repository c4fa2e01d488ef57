"""The scanners of request bodies: form data is tested in test_redaction."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graphtape.cassettes.redaction.masking import JsonMasker
from graphtape.protocol.credentials import CredentialNames

M = '"[redacted]"'


def mask_json(data: bytes, *cuts: int, names: tuple[str, ...] = ()) -> bytes:
    masker = JsonMasker(CredentialNames(names))
    edges = [0, *cuts, len(data)]
    parts = [masker.feed(data[a:b]) for a, b in pairwise(edges)]
    return b"".join(parts) + masker.finish()


JSON_CASES = [
    ('{"password":"x"}', f'{{"password":{M}}}'),
    ('{ "password" : "x" , "a" : 1 }', f'{{ "password" : {M} , "a" : 1 }}'),
    ('{"password":"a\\"b\\\\","a":"\\\\"}', f'{{"password":{M},"a":"\\\\"}}'),
    ('{"password":""}', f'{{"password":{M}}}'),
    ('{"password":12.5e3}', f'{{"password":{M}}}'),
    ('{"password":null,"secret":true,"apiKey":false}', '{"password":null,"secret":true,"apiKey":false}'),
    ('{"secret":{"a":["}","]",{"b":"\\"}"}]},"x":1}', f'{{"secret":{M},"x":1}}'),
    ('{"secret":[[],[1,"]"]],"x":{"secret":"y"}}', f'{{"secret":{M},"x":{{"secret":{M}}}}}'),
    ('[{"pass\\u0077ord":"x"}]', f'[{{"pass\\u0077ord":{M}}}]'),
    ('{"a":"password","b":["password","x"]}', '{"a":"password","b":["password","x"]}'),
    ('{"a":"\\"password\\":\\"x\\""}', '{"a":"\\"password\\":\\"x\\""}'),
    ('{"max_tokens":5,"messages":[{"token":"Hi"}]}', '{"max_tokens":5,"messages":[{"token":"Hi"}]}'),
    ('\ufeff \n{"password":"x"}', f'\ufeff \n{{"password":{M}}}'),
    ('{"é":"☃","password":"☃"}', f'{{"é":"☃","password":{M}}}'),
    ("", ""),
    ("  ", "  "),
    ('"password"', '"password"'),
    ("12", "12"),
    # Broken JSON: masked as far as it can be read.
    ('{"password":"x', f'{{"password":{M}'),
    ('{"password":nope}', f'{{"password":{M}}}'),
    ('{"password":tru', f'{{"password":{M}'),
    ('{"password":', '{"password":'),
    ('{"password":}', '{"password":}'),
    ('{"password":{"a":', f'{{"password":{M}'),
    ('{"a":1} {"password":"x"}\n{"password":1}', f'{{"a":1}} {{"password":{M}}}\n{{"password":{M}}}'),
]


@pytest.mark.parametrize(("text", "expected"), JSON_CASES)
def test_json_masks_at_every_cut(text: Any, expected: Any) -> None:
    """The same result whole, byte by byte and at every split point."""
    data = text.encode()
    assert mask_json(data).decode() == expected
    assert mask_json(data, *range(1, len(data))).decode() == expected
    for cut in range(1, len(data)):
        assert mask_json(data, cut).decode() == expected


names = st.sampled_from(["password", "api_key", "a", "messages", "token", "sec\u0001ret", 'p"', "secret"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def masked_model(value: object) -> object:
    """What masking means, on parsed values."""
    if isinstance(value, list):
        return [masked_model(item) for item in value]
    if isinstance(value, dict):
        registry = CredentialNames()
        return {
            key: "[redacted]"
            if registry.field(key) and item is not None and not isinstance(item, bool)
            else masked_model(item)
            for key, item in value.items()
        }
    return value


@pytest.mark.slow
@given(st.dictionaries(names, values, max_size=4), st.booleans(), st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=60, deadline=None)
def test_valid_json_stays_valid(value: Any, ascii_only: Any, cuts: Any) -> None:
    """Masking bytes is masking the parsed value, whatever the reads."""
    data = json.dumps(value, ensure_ascii=ascii_only, indent=1 if ascii_only else None).encode()
    inside = sorted(cut for cut in cuts if cut < len(data))
    assert json.loads(mask_json(data, *inside)) == masked_model(value)


@pytest.mark.slow
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=3))
@example(b'{"password":"\\', [13])
@settings(max_examples=60, deadline=None)
def test_any_bytes_mask_the_same_in_pieces(data: Any, cuts: Any) -> None:
    """No input breaks the masker, and where it was cut never shows."""
    inside = sorted(cut for cut in cuts if cut < len(data))
    assert mask_json(b"{" + data, *inside) == mask_json(b"{" + data)


def test_a_huge_value_is_not_kept() -> None:
    """Masked or not, nothing grows with the body."""
    masker = JsonMasker(CredentialNames())
    out = masker.feed(b'{"password":"')
    for _ in range(100):
        out += masker.feed(b"x" * 10_000)
    out += masker.feed(b'","note":"')
    for _ in range(100):
        assert len(masker.feed(b"y" * 10_000)) == 10_000
    assert out == b'{"password":"[redacted]","note":"'
    assert len(masker._string) < 2000
