"""The registry of what a credential is."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.credentials import CredentialNames

HEADERS = [
    "Authorization", "proxy-authorization", "Cookie", "Set-Cookie", "X-API-Key", "x_api_key", "apikey", "X-Auth-Token",
    "x-langsmith-api-key", "X-CSRF-Token", "client-secret", "x-my-secret", "Ocp-Apim-Subscription-Key",
    "x-amz-security-token", "CF-Access-Client-Secret", "X-Forwarded-Authorization", "x-amzn-oidc-data", "dbPassword",
    "X-Auth", "authentication", "X-Amz-Credential",
]  # fmt: skip
PLAIN_HEADERS = [
    "content-type", "accept", "user-agent", "x-request-id", "last-event-id", "x-monkey", "keyboard", "tokens",
    "x-token-count", "location", "origin", "host", "x-secretary",
    "access-control-allow-credentials", "www-authenticate",
]  # fmt: skip
FIELDS = [
    "api_key", "apiKey", "API-KEY", "apikey", "openai_api_key", "access_token", "accessToken", "refresh_token",
    "id_token",
    "client_secret", "password", "dbPassword", "passwd", "secret", "private_key", "authorization",
    "aws_secret_access_key",
]  # fmt: skip
PLAIN_FIELDS = [
    "key", "token", "tokens", "max_tokens", "secrets_count", "messages", "valid_token", "author", "keys", "monkey",
    "input",
    "passwords_seen", "access",
]  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers(name: Any) -> None:
    """The listed headers, and all whose last word is key, token or secret."""
    assert CredentialNames().header(name)


@pytest.mark.parametrize("name", PLAIN_HEADERS)
def test_other_headers(name: Any) -> None:
    """Names that only look alike stay readable."""
    assert not CredentialNames().header(name)


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name: Any) -> None:
    """Listed names, in any spelling, in JSON and in a query."""
    assert CredentialNames().field(name)
    assert CredentialNames().query(name)


@pytest.mark.parametrize("name", PLAIN_FIELDS)
def test_other_fields(name: Any) -> None:
    """What bodies need to be replayed stays readable."""
    assert not CredentialNames().field(name)


def test_query_only() -> None:
    """`token` and signatures are credentials in a URL, `key` is the store's own parameter."""
    names = CredentialNames()
    assert names.query("token")
    assert names.query("X-Amz-Signature")
    assert not names.query("key")


def test_additions_extend() -> None:
    """A user's names count everywhere, and the registry stays."""
    names = CredentialNames(["Tenant-Id", ""])
    assert names.header("tenant_id")
    assert names.field("tenantId")
    assert names.query("TENANT-ID")
    assert names.header("authorization")
    assert not names.header("")
    assert not names.field("x" * 300 + "password")
