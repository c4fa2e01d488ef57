"""Credentials in URLs and request targets: logins, query parameters, fragments, and those of URLs inside.

Works on bytes as they are sent; what a credential is, `graphtape.protocol.credentials` says. One rule: what stands
behind a credential's name is one up to the next `&`, whatever else it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from graphtape.cassettes.redaction.masking import form_name
from graphtape.protocol.credentials import LONGEST_NAME, CredentialNames
from graphtape.protocol.mask import MASK

_MASK: Final = MASK.encode("ascii")
_QUERY = re.compile(rb"[?#]")
# What may stand in front of a name, also inside a parameter that holds a URL, percent-encoded or not. Bounded, since
# it is tried at every place: a name is at most `LONGEST_NAME` characters, each of three bytes.
_NAMED = re.compile(
    rb"(?:^|[?#&;]|%3[fFbB]|%2[36])((?:[^?#&;=%]|%(?!3[dDfFbB]|2[36])){1,"
    + str(3 * LONGEST_NAME).encode()
    + rb"})(?:=|%3[dD])"
)
# To the last `@` in front of what ends a host: a password may hold one.
_LOGIN = re.compile(rb"(?://|%2[fF]%2[fF])((?:[^/?#&%\s\"'<>]|%(?!2[fF]|3[fF])){1,512})(?:@|%40)")


class UrlCredential(NamedTuple):
    """Where one stands."""

    name: str
    """Of the parameter; empty for a login."""
    start: int
    stop: int


def iter_credentials(url: bytes, names: CredentialNames, *, path: bool = True) -> Iterator[UrlCredential]:
    """The credentials of a URL, or of a request target, in order and apart.

    Args:
        path: whether logins are looked for in front of the query too; in the path of a request there are none.
    """
    mark = _QUERY.search(url)
    query = len(url) if mark is None else mark.start()
    has_login = b"@" in url or b"%40" in url  # as nearly none has
    logins = [match.span(1) for match in _LOGIN.finditer(url, 0 if path else query)] if has_login else []
    at = 0  # behind the last one
    for named in _NAMED.finditer(url, query):
        if named.start() < at:
            continue
        name = form_name(named[1])
        if not names.query(name):
            continue
        end = url.find(b"&", named.end())
        stop = len(url) if end < 0 else end
        while logins and logins[0][0] < named.end():
            yield UrlCredential("", *logins.pop(0))
        logins = [login for login in logins if login[0] >= stop]
        at = stop
        if named.end() < stop:
            yield UrlCredential(name.lower(), named.end(), stop)
    for login in logins:
        yield UrlCredential("", *login)


def mask_url(url: bytes, names: CredentialNames, *, path: bool = True) -> tuple[bytes, tuple[str, ...]]:
    """(the URL with its credentials masked, what was masked)."""
    parts: list[bytes] = []
    found: list[str] = []
    at = 0
    for credential in iter_credentials(url, names, path=path):
        found.append(f"query {credential.name}" if credential.name else "login in a URL")
        parts += (url[at : credential.start], _MASK)
        at = credential.stop
    return b"".join((*parts, url[at:])), tuple(dict.fromkeys(found))
