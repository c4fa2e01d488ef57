"""Tests of `graphtape.protocol.secret_shapes`: what tokens look like, and what only seems to."""

from __future__ import annotations

import time

import pytest

from graphtape.protocol.credentials import normal_name
from graphtape.protocol.secret_shapes import SHAPES, find_shapes, is_suspicious, looks_random

R = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6"
H = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

TOKENS = [
    ("Anthropic key", f"sk-ant-api03-{R}"),
    ("OpenAI-like key", f"sk-proj-{R}"),
    ("OpenAI-like key", f"sk-{R}"),
    ("LangSmith key", f"lsv2_pt_{H}_0a1b2c3d4e"),
    ("GitHub token", f"ghp_{R[:36]}"),
    ("GitHub token", f"github_pat_{R}{R[:20]}"),
    ("GitLab token", f"glpat-{R[:20]}"),
    ("AWS key id", "AKIAQ3EGRVRZ2XNY7LPK"),
    ("Slack token", "xoxb-2712451234-a1B2c3D4e5"),
    ("Google key", f"AIza{R[:35]}"),
    ("Stripe key", f"sk_live_{R[:24]}"),
    ("Hugging Face token", f"hf_{R[:34]}"),
    ("npm token", f"npm_{R[:36]}"),
    ("JSON Web Token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.a1B2c3D4e5F6g7H8"),
    ("private key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    ("Bearer token", f"Bearer {R[:20]}"),
    ("Basic login", "Basic bWU6bG9uZy1wYXNzMQ=="),
    ("login in a URL", "postgres://admin:pa55word@db"),
]


@pytest.mark.parametrize(("kind", "text"), TOKENS)
def test_known_shapes(kind: str, text: str) -> None:
    """Each is found whole, once, among other words and quotes."""
    data = f'{{"a":"see {text} or not"}}'.encode()
    (shape,) = find_shapes(data)
    assert shape.kind == kind
    assert data[shape.start : shape.stop].decode() in (text, text[:-2])


PLAIN = [
    "8e0f595b-569f-4d9b-b825-a34eec04b2a4",
    "lc_run--01a1fc1e-3c6a-7424-a533-0fcc85733b6c",
    "tools:0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-your-key-goes-here-please-1",
    "task-manager-with-a-long-name-1234567",
    "AKIAIOSFODNN7EXAMPLE",
    "the bearer of this long message",
    "Bearer [redacted]",
    "Bearer ********************",
    "http://127.0.0.1:2024/threads",
    "https://user@host/x",
    "the basic idea of this",
    "eyJhbGciOiJIUzI1NiJ9",
    f"xghp_{R[:36]}",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text(text: str) -> None:
    """Ids, placeholders, masks and prose are no tokens."""
    assert list(find_shapes(text.encode())) == []


RANDOM = [
    ("Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZg9Q", True),
    (H + "99aabbcc", True),
    ("8e0f595b-569f-4d9b-b825-a34eec04b2a4", False),
    ("lc_run--01a1fc1e-3c6a-7424-a533-0fcc85733b6c", False),
    ("agent:01a1fc1e-3c6a-7424-a533-0fcc85733b6c|tools:x", False),
    ("2026-11-21T03:31:14.123456+00:00", False),
    ("a sentence with words and 1 number", False),
    ("some-long-identifier-of-things", False),
    ("aaaaaaaaaaaaaaaaaaaaaaaa1", False),
    ("[redacted]", False),
    ("short1", False),
]


@pytest.mark.parametrize(("value", "expected"), RANDOM)
def test_random_values(value: str, expected: bool) -> None:
    """Long, of one piece, with digits and letters, and no pattern."""
    assert looks_random(value) is expected


NAMES = [
    ("auth_state", True),
    ("x-session-blob", True),
    ("signingKey", True),
    ("max_tokens", False),
    ("auth_user_id", False),
    ("next_page_token", False),
    ("monkey_type", False),
    ("content", False),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_suspicious_names(name: str, expected: bool) -> None:
    """Names that speak of secrets, and not those of ids, counts and pages."""
    assert is_suspicious(normal_name(name)) is expected


@pytest.mark.slow
def test_linear_time() -> None:
    """Long runs of what shapes are made of cost no more than reading them."""
    before = time.perf_counter()
    for text in (
        b"eyJ" * 50_000,
        b"sk-" * 50_000,
        b"a://" * 40_000,
        b"A" * 150_000,
        b"-----BEGIN " * 15_000,
        b"x:y@" * 40_000,
    ):
        list(find_shapes(text))
    assert time.perf_counter() - before < 2


def test_shapes_have_no_groups() -> None:
    """The table's place is the group's number: a group inside an expression would shift it."""
    assert all("(" not in shape.replace("(?", "").replace(r"\(", "") for _, shape in SHAPES)
