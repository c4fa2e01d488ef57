"""Credentials in URLs and request targets."""

from __future__ import annotations

import time

import pytest

from graphtape.cassettes.redaction.urls import iter_credentials, mask_url
from graphtape.protocol.credentials import CredentialNames

NAMES = CredentialNames()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"/x?a=1&api_key=k&b=2", b"/x?a=1&api_key=[redacted]&b=2"),
        (b"/x?api%5Fkey=k", b"/x?api%5Fkey=[redacted]"),
        (b"/x?user[api_key]=k&api_key[]=j", b"/x?user[api_key]=[redacted]&api_key[]=[redacted]"),
        (b"/x?a=1?api_key=k", b"/x?a=1?api_key=[redacted]"),
        (b"/x?a=1;api_key=k;b=2", b"/x?a=1;api_key=[redacted]"),
        (b"/x?password=a=b;c?d#e&f=1", b"/x?password=[redacted]&f=1"),
        (b"/x?api_key=&b=2", b"/x?api_key=&b=2"),
        (b"/cb#access_token=k&state=1", b"/cb#access_token=[redacted]&state=1"),
        (b"/x?n=1#access_token=k", b"/x?n=1#access_token=[redacted]"),
        (b"/x?u=%2F%2Fh%2F%3Fa%3D1%26access_token%3Dk&b=2", b"/x?u=%2F%2Fh%2F%3Fa%3D1%26access_token%3D[redacted]&b=2"),
        (b"/x?u=https%3a%2f%2fme%3apw%40h%2f", b"/x?u=https%3a%2f%2f[redacted]%40h%2f"),
        (b"/x?u=https://me:pw@h/&b=a@b", b"/x?u=https://[redacted]@h/&b=a@b"),
        (b"https://me:p@w@h/a@b?token=k", b"https://[redacted]@h/a@b?token=[redacted]"),
        (b"<https://me@h/?sig=k>; rel=next", b"<https://[redacted]@h/?sig=[redacted]"),
        (b"/x?u=//me:pw?token=k@h", b"/x?u=//me:pw?token=[redacted]"),
        (b"/x?api_key", b"/x?api_key"),
        (b"/api_key=k", b"/api_key=k"),
        (b"", b""),
    ],
)  # fmt: skip
def test_masks(url: bytes, expected: bytes) -> None:
    """Parameters of listed names, wherever they stand, to the next `&`; logins to the last `@` of a host."""
    assert mask_url(url, NAMES)[0] == expected


def test_the_path_of_a_request_has_no_login() -> None:
    """It decides what is replayed; what stands in its query may be a URL."""
    assert mask_url(b"/a//b@c?u=//d@e", NAMES, path=False)[0] == b"/a//b@c?u=//[redacted]@e"


def test_what_was_masked() -> None:
    """By the decoded name, once."""
    masked = mask_url(b"/x?API%5FKEY=k&api_key=j&u=//me@h", NAMES)[1]
    assert masked == ("query api_key", "login in a URL")


@pytest.mark.parametrize("part", [b"a", b"?", b"%3", b"//", b"//@", b"api_key=", b"%2F%2F", b"#a=", b"a;"])
def test_in_linear_time(part: bytes) -> None:
    """Whatever a URL of 200 kB repeats."""
    url = b"/?" + part * (200_000 // len(part))
    begun = time.process_time()
    list(iter_credentials(url, NAMES))
    assert time.process_time() - begun < 2
