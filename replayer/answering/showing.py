"""What of a request may be shown: in the log, in a miss, in an error.

Pure. One rule: a credential is never shown, by the same tables that keep it out of cassettes; nothing else is hidden.
"""

from __future__ import annotations

from typing import Any, Final

from graphtape.cassettes.model import Headers
from graphtape.cassettes.redaction.redactor import Redactor
from graphtape.cassettes.redaction.urls import mask_url
from graphtape.cassettes.showing.text import visible
from graphtape.protocol.credentials import CredentialNames
from graphtape.protocol.mask import MASK

_REDACTOR: Final = Redactor()
_NAMES: Final = CredentialNames()
_TARGET_SHOWN: Final = 500
_MAX_DEPTH: Final = 250


def shown_target(target: str) -> str:
    """A request target on one line: credentials masked, control characters escaped, the end of a long one cut."""
    clean, _ = _REDACTOR.target(target)
    text = visible(clean)
    return text if len(text) <= _TARGET_SHOWN else text[:_TARGET_SHOWN] + "…"


def shown_body(body: bytes, content_type: str) -> bytes:
    """A request body as a recorder would write it."""
    headers: Headers = ((b"content-type", content_type.encode("utf-8", "surrogateescape")),)
    masker = _REDACTOR.request_body(headers)
    return masker.feed(body) + masker.finish()


def shown_query(name: str, value: str | None) -> str | None:
    """The value of a query parameter, which may hold a URL with parameters of its own."""
    if not value or _NAMES.query(name):
        return MASK if value else value
    return mask_url(f"?{value}".encode("utf-8", "surrogateescape"), _NAMES)[0][1:].decode(
        "utf-8", "surrogateescape"
    )


def shown_value(field: str, value: Any) -> Any:
    """A JSON value that was found at `field`, e.g. `input.password`."""
    name = field.rpartition(".")[2].partition("[")[0]
    return _masked(name, value, 0)


def _masked(name: str, value: Any, depth: int) -> Any:
    if value and _NAMES.field(name):
        return MASK
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {key: _masked(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked("", item, depth + 1) for item in value]
    return value
