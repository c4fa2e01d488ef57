"""What of a request may be shown."""

from __future__ import annotations

from graphtape.replayer.answering.showing import shown_body, shown_query, shown_target, shown_value


def test_target() -> None:
    """Credentials of the query are masked, control characters escaped, long targets cut; the rest stays."""
    shown = shown_target("//[x?api_key=SECRET&a=b\x1b[31m")
    assert "SECRET" not in shown
    assert "a=b" in shown
    assert "\x1b" not in shown
    assert len(shown_target("/" + "a" * 60_000)) < 1000


def test_values() -> None:
    """A value is masked by the name of its field, wherever it stands; others stay as they are."""
    assert shown_value("input.password", "SECRET") == "[redacted]"
    assert shown_value("input", [{"api_key": "SECRET", "b": 1}]) == [{"api_key": "[redacted]", "b": 1}]
    assert shown_value("input.messages[0].content", "hello") == "hello"
    assert shown_value("input.password", None) is None


def test_query() -> None:
    """A query parameter is masked by its name."""
    assert shown_query("token", "SECRET") == "[redacted]"
    assert shown_query("limit", "3") == "3"


def test_body() -> None:
    """A form is masked as the recorder would."""
    shown = shown_body(b"user=me&password=SECRET", "application/x-www-form-urlencoded")
    assert b"SECRET" not in shown
    assert b"user=me" in shown
