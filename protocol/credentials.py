"""The one registry of what a credential is: by the name of a header, a query parameter or a JSON member.

Pure tables and look-ups. Knows nothing of cassettes, of masking or of values. One rule: what a user adds extends the
tables; nothing takes an entry away.

Names are compared without case, `-`, `_`, `.`, brackets and blanks: `X-API-Key`, `api_key[]` and `apiKey` are one.
False positives are accepted where a wrong guess costs little: `idempotency-key` ends in "key" and is masked, since a
masked header changes no replay. In query and JSON only listed names count, because bodies decide what is replayed:
`max_tokens`, `key` (the store's own parameter) and `token` as a JSON member (a word of a model) stay readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

HEADER_NAMES: Final = frozenset(
    {
        "authorization",
        "proxyauthorization",
        "cookie",
        "cookie2",
        "setcookie",
        "setcookie2",
        "xapikey",
        # Identity assertions that gateways add: whoever has one is the user.
        "xamznoidcdata",
        "cfaccessjwtassertion",
        "xgoogiapjwtassertion",
        "xmsclientprincipal",
    }
)
"""Header names that carry credentials."""

HEADER_LAST_WORDS: Final = frozenset(
    {"key", "token", "secret", "password", "authorization", "jwt", "auth", "authentication", "credential"}
)
"""A header whose last word (after the last `-` or `_`) is one of these carries one: `x-auth-token`, `x_my_key`."""

NAME_ENDINGS: Final = (
    "apikey",
    "apisecret",
    "apitoken",
    "accesskey",
    "accesstoken",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "password",
    "passwd",
    "passphrase",
    "privatekey",
    "refreshtoken",
    "secretkey",
    "sessiontoken",
)
"""Endings that no other word has: they count for headers, query and JSON alike (`openai_api_key`, `dbPassword`)."""

FIELD_NAMES: Final = frozenset({"authorization", "idtoken", "pwd", "secret", "cookie", "setcookie"})
"""Whole names of query parameters and JSON members, beside `NAME_ENDINGS`."""

QUERY_NAMES: Final = frozenset(
    {
        "token", "sig", "signature", "xamzsignature", "xamzcredential", "xamzsecuritytoken", "auth", "jwt",
        "credential", "credentials",
    }
)  # fmt: skip
"""Whole names that are credentials in a query (signed URLs, `?token=`), but may be plain data in a body."""

LONGEST_NAME: Final = 256
"""A name longer than this is no credential's; scanners need to remember no more of one."""

_SEPARATORS = re.compile(r"[-_.\s\[\]]+")


@lru_cache(maxsize=4096)
def normal_name(name: str) -> str:
    """`name` as names are compared: lower case, without `-`, `_`, `.`, brackets and blanks."""
    return _SEPARATORS.sub("", name.lower())


class CredentialNames:
    """The registry with a user's additions.

    Args:
        extra: names that count as credentials wherever they stand: as header, query parameter and JSON member.
    """

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self._extra = frozenset(normal for name in extra if (normal := normal_name(name)))
        self._seen: dict[tuple[str, str], bool] = {}

    def header(self, name: str) -> bool:
        """True if the value of this header is a credential."""
        return self._look_up("header", name)

    def query(self, name: str) -> bool:
        """True if the value of this (decoded) query parameter or form field is a credential."""
        return self._look_up("query", name)

    def field(self, name: str) -> bool:
        """True if the value of this JSON member is a credential."""
        return self._look_up("field", name)

    def _look_up(self, place: str, name: str) -> bool:
        known = self._seen.get((place, name))
        if known is None:
            known = self._decide(place, name)
            # Names come from the network: remember enough for real traffic and no more.
            if len(self._seen) < 4096 and len(name) <= LONGEST_NAME:
                self._seen[place, name] = known
        return known

    def _decide(self, place: str, name: str) -> bool:
        if len(name) > LONGEST_NAME:
            return False
        normal = normal_name(name)
        if normal in self._extra or normal.endswith(NAME_ENDINGS):
            return True
        if place == "header":
            last_word = re.split(r"[-_]", name.lower())[-1]
            return normal in HEADER_NAMES or last_word in HEADER_LAST_WORDS
        return normal in FIELD_NAMES or (place == "query" and normal in QUERY_NAMES)
