"""What tokens and keys look like: for finding them where no name says that they are any.

Pure tables and look-ups, beside `graphtape.protocol.credentials`, which knows names. One rule: few false alarms; a
shape counts only if it is unlike anything a person or a framework writes.

The shapes are those whose prefixes the issuers made so that scanners can find them (GitHub, Slack, Stripe, AWS ...).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

_W = r"[A-Za-z0-9_-]"

SHAPES: Final[tuple[tuple[str, str], ...]] = (
    ("Anthropic key", rf"sk-ant-[a-z0-9]{{2,10}}-{_W}{{20,}}"),
    ("OpenAI-like key", rf"sk-(?:proj-|svcacct-|admin-|or-v1-|lf-)?{_W}{{20,}}"),
    ("LangSmith key", r"lsv2_(?:pt|sk)_[0-9a-f]{32}(?:_[0-9a-f]{10})?|ls__[0-9a-f]{32}"),
    ("GitHub token", r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,}"),
    ("GitLab token", rf"gl(?:pat|ptt|dt|rt|oas)-{_W}{{20,}}"),
    ("AWS key id", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])"),
    ("Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}"),
    ("Slack webhook", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/]{20,}"),
    ("Google key", rf"AIza{_W}{{35}}(?!{_W})"),
    ("Google OAuth token", rf"ya29\.{_W}{{30,}}|GOCSPX-{_W}{{20,}}"),
    ("Stripe key", r"(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{24,}"),
    ("Hugging Face token", r"hf_[A-Za-z0-9]{30,}"),
    ("Groq key", r"gsk_[A-Za-z0-9]{40,}"),
    ("xAI key", r"xai-[A-Za-z0-9]{60,}"),
    ("Perplexity key", r"pplx-[A-Za-z0-9]{40,}"),
    ("Tavily key", r"tvly-[A-Za-z0-9-]{20,}"),
    ("Replicate token", r"r8_[A-Za-z0-9]{36,}"),
    ("Pinecone key", rf"pcsk_{_W}{{40,}}"),
    ("Databricks token", r"dapi[0-9a-f]{32}"),
    ("SendGrid key", rf"SG\.{_W}{{20,24}}\.{_W}{{40,46}}"),
    ("Twilio key", r"SK[0-9a-f]{32}"),
    ("npm token", r"npm_[A-Za-z0-9]{36}"),
    ("PyPI token", rf"pypi-AgE{_W}{{50,}}"),
    ("DigitalOcean token", r"do[opr]_v1_[0-9a-f]{64}"),
    ("Notion token", r"ntn_[A-Za-z0-9]{40,}"),
    ("Linear key", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    ("Telegram token", rf"\d{{8,10}}:AA{_W}{{33}}(?!{_W})"),
    ("JSON Web Token", rf"eyJ{_W}{{8,}}\.eyJ{_W}{{8,}}\.{_W}{{8,}}"),
    ("private key", r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY-----"),
    ("Bearer token", r"[Bb]earer[ +]{1,2}[A-Za-z0-9._~+/-]{16,}={0,2}"),
    ("Basic login", r"[Bb]asic[ +]{1,2}[A-Za-z0-9+/]{12,}={0,2}(?![A-Za-z0-9])"),
    ("login in a URL", r"[a-z][a-z0-9+.-]{1,15}://[^\s/:@\"'\\<>]{1,64}:[^\s/:@\"'\\<>*]{3,128}@(?=[\w\[])"),
)
"""(what it is, regular expression); nothing that is part of a longer word matches."""

_SHAPES: Final = re.compile(
    (r"(?<![A-Za-z0-9_-])(?:" + "|".join(f"({shape})" for _, shape in SHAPES) + ")").encode("ascii")
)
LONGEST_SHAPE: Final = 4096
"""Bytes that a scanner has to keep between two reads; a token longer than this is found by its first part."""

_ALWAYS: Final = frozenset({"private key"})
_PLACEHOLDER = re.compile(
    rb"example|placeholder|redacted|your[-_]|dummy|(.)\1{6}|0123456789|abcdefgh", re.IGNORECASE
)

SUSPICIOUS_WORDS: Final = (
    "auth",
    "cookie",
    "credential",
    "jwt",
    "key",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
)
"""A name that holds one of these may hold a secret, if its value looks random."""

_HARMLESS_ENDINGS: Final = tuple(
    "id ids type name url uri at count tokens limit pagetoken cursor version keys".split()
)
_HARMLESS_VALUE = re.compile(
    r"(?:[a-zA-Z_]+-{1,2}|[a-z_]+:)*[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?:[:|-].*)?"  # ids of runs, tasks ...
    r"|\d{4}-\d\d-\d\d[T ].*|[\d.:+-]+|[a-z]+(?:[-_.:/][a-z]+)*|https?://[^?]*|/[^?]*",
    re.DOTALL,
)
_RANDOM = re.compile(r"[A-Za-z0-9+/=._~|:-]{20,}")
_LEAST_BITS: Final = 3.5
"""Entropy per character above which a value looks random: English words in a row have up to 3.3, hex digits 3.7 and
more once there are 40 of them, base64 over 4."""


class Shape(NamedTuple):
    """A token found in bytes."""

    kind: str
    start: int
    stop: int


def find_shapes(data: bytes) -> Iterator[Shape]:
    """Every known token in `data`, placeholders of documentation left out. Linear in its length."""
    for match in _SHAPES.finditer(data):
        kind = SHAPES[(match.lastindex or 1) - 1][0]
        if kind in _ALWAYS or _is_real(match[0]):
            yield Shape(kind, match.start(), match.end())


def _is_real(token: bytes) -> bool:
    """False for what documentation shows in place of a token."""
    if _PLACEHOLDER.search(token):
        return False
    if b"://" in token:
        return True
    return any(byte in b"0123456789" for byte in token) and len(set(token)) >= 8


def looks_random(value: str) -> bool:
    """Whether a value under a suspicious name may be a secret: long, of one piece, without pattern."""
    if not _RANDOM.fullmatch(value) or _HARMLESS_VALUE.fullmatch(value):
        return False
    if not any(char.isdigit() for char in value) or not any(char.isalpha() for char in value):
        return False
    if _PLACEHOLDER.search(value.encode()):
        return False
    return entropy_bits(value) >= _LEAST_BITS


def entropy_bits(value: str) -> float:
    """Shannon entropy of the characters, in bits each."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def is_suspicious(normal_name: str) -> bool:
    """Whether a name, in the form of `credentials.normal_name`, speaks of secrets."""
    return any(word in normal_name for word in SUSPICIOUS_WORDS) and not normal_name.endswith(
        _HARMLESS_ENDINGS
    )
