"""Tests of `graphtape.cassettes.redaction.secrets_text`: the report, which shows no value."""

from __future__ import annotations

import json

from graphtape.cassettes.redaction.secrets import Finding, SecretReport
from graphtape.cassettes.redaction.secrets_text import format_secrets, secrets_json, where

FINDING = Finding(3, "request header x", "GitHub token", 44, 0, value="the value")


def test_where_is_short() -> None:
    """Findings that belong to no exchange, and those of several events, are placed too."""
    assert where(Finding(0, "frame of type 9", "JSON Web Token", 3, 5)) == "frame of type 9, byte 5"
    assert where(Finding(2, "event", "x", 3, None, 4, 3, "a.b")) == "exchange 2, events 4 to 6 or later, a.b"


def test_report() -> None:
    """Each finding with its place; what is not listed is counted; what could not be decoded is said."""
    report = SecretReport((FINDING,), 3, ((5, "no brotli"),), exchanges=6)
    assert list(format_secrets("a.tape", report)) == [
        "a.tape: exchange 3, request header x, byte 0: GitHub token (44 characters)",
        "a.tape: and 2 more",
        "a.tape: exchange 5: scanned as it came, not decoded: no brotli",
        "a.tape: 3 possible credentials in 6 exchanges; graphtape redact a.tape -o CLEAN.tape --found removes them",
    ]
    document = secrets_json("a.tape", report)
    assert document["total"] == 3
    assert document["findings"][0]["exchange"] == 3
    assert "the value" not in json.dumps(document) + repr(report)
