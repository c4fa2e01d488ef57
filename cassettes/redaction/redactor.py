"""Masking: credentials are taken out of heads and bodies before anything is written.

Works on bytes and on header fields; what a credential is, `graphtape.protocol.credentials` says. Knows no file and
no network. One rule: a mask never makes valid JSON invalid, and never depends on where reads were cut.

Two kinds of masks: where a *name* says that the value is a credential, the value becomes `MASK`; where a *value* that
the user named is met, each of its bytes becomes `*`, so that every length stays as it was.

What a named value, or an echoed credential, leaves in a response is masked in two ways: where it lies whole in a read,
before the read is written; where it is spread over reads or events, when the exchange has ended (`splits`, `remask`).

Limits, on purpose: a compressed request body cannot be searched and is withheld as a whole, and so is a response that
comes compressed all the same, if a named value is in it; multipart bodies and JSON inside JSON strings are searched for
named values only.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote_plus

from graphtape.cassettes.redaction.masking import JSON_STARTS, NOT_BLANK, FormMasker, JsonMasker, once
from graphtape.cassettes.redaction.pathmasking import BadPath, PathMasker, parse_path
from graphtape.cassettes.redaction.responses import CodedResponseMasker, ResponseMasker
from graphtape.cassettes.redaction.urls import mask_url
from graphtape.cassettes.redaction.values import RedactionError, ValueMasker, forms_of
from graphtape.cassettes.streams import content_codings
from graphtape.protocol.credentials import LONGEST_NAME, CredentialNames, normal_name
from graphtape.protocol.headers import Headers, get
from graphtape.protocol.mask import MASK, is_masked

URL_HEADERS = frozenset({b"location", b"content-location", b"referer", b"refresh", b"link"})
"""Headers whose value is or holds a URL; credentials in its query are masked."""

_PLAIN_NAMES = 1024

_MASK = MASK.encode("ascii")
_USERINFO = re.compile(r"(?<=//)[^/?#\s]*@")
_FORM_TYPES = frozenset({b"application/x-www-form-urlencoded", b""})  # without a type it may be one


SHORTEST_ECHO = 8
"""A credential of a request must have this many characters to be looked for in the response."""


def environment_values(names: Iterable[str]) -> list[tuple[str, str]]:
    """(name, value) of environment variables, for `--redact-env`.

    Raises:
        RedactionError: one is not set.
    """
    values = [(name, os.environ.get(name, "")) for name in names]
    for name, value in values:
        if not value:
            raise RedactionError(
                f"--redact-env {shlex.quote(name)}: the variable is not set; export it, or leave the option out"
            )
    return values


def file_values(paths: Iterable[str]) -> list[tuple[str, str]]:
    """(label, value) of each line of these files, for `--value-file`; blank lines are none.

    Raises:
        RedactionError: a file cannot be read.
    """
    values = []
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise RedactionError(f"--value-file {path}: it cannot be read ({error.strerror})") from None
        lines = [line.strip() for line in text.splitlines()]
        values += [(f"line {number} of {path}", line) for number, line in enumerate(lines, 1) if line]
    return values


class BodyMasker(Protocol):
    """Masks one body as it passes; `redacted` says afterwards what was found."""

    @property
    def redacted(self) -> tuple[str, ...]:
        """What was masked."""
        ...

    @property
    def seen(self) -> list[str]:
        """Values that were masked because of their name or place; for `--redact-echo`."""
        ...

    def feed(self, data: bytes) -> bytes:
        """What can be written now; some of `data` may be kept until later."""
        ...

    def finish(self) -> bytes:
        """What was kept."""
        ...


class Redactor:
    """Masks what the registry, and the user, call a credential.

    Args:
        names: further names of headers, query parameters and JSON members (`--redact`).
        values: (label, value) pairs to mask wherever they stand (`--redact-env NAME`: the label is NAME).
        paths: paths into JSON request bodies whose values are masked (`--redact-json`).
        echo: mask the credentials of a request also in its response (`--redact-echo`).

    Raises:
        RedactionError: a name names nothing, a value is shorter than `SHORTEST_VALUE` characters, or a path cannot
            be read.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        values: Iterable[tuple[str, str]] = (),
        *,
        paths: Iterable[str] = (),
        echo: bool = False,
    ) -> None:
        names = tuple(names)
        if nameless := [name for name in names if not normal_name(name)]:
            raise RedactionError(
                f"--redact {shlex.quote(nameless[0])}: it names nothing; give the name of a header, query or JSON "
                "field, such as customer_id"
            )
        self._names = CredentialNames(names)
        self._values = ValueMasker(values)
        self._plain: set[bytes] = set()
        """Header names that are neither credentials nor hold URLs, as they came: nearly all, and asked for often."""
        self._echo = echo
        try:
            self._paths = tuple((path, parse_path(path)) for path in paths)
        except BadPath as error:
            raise RedactionError(str(error)) from None

    @property
    def names(self) -> CredentialNames:
        """The registry, with what the user added."""
        return self._names

    @property
    def values(self) -> ValueMasker:
        """Finds the named values."""
        return self._values

    def text(self, text: str) -> str:
        """A text of the wire or of an error, with the named values masked in it."""
        clean, found = self._values.mask(text.encode("utf-8", "surrogateescape"))
        return clean.decode("utf-8", "surrogateescape") if found else text

    @property
    def reads_responses(self) -> bool:
        """True if response bodies are looked at; then they should come without a content coding."""
        return self._echo or bool(self._values)

    def headers(self, headers: Headers) -> tuple[Headers, tuple[str, ...]]:
        """(the fields with credentials masked, what was masked)."""
        plain = self._plain if not self._values else frozenset()
        kept: list[tuple[bytes, bytes]] = []
        found: list[str] = []
        for name, value in headers:
            if name in plain:
                kept.append((name, value))
                continue
            text = name.decode("latin-1")
            if len(self._plain) < _PLAIN_NAMES and self._is_plain(name):
                self._plain.add(name)  # names come from the network: enough for real traffic, and no more
            if value and self._names.header(text) and not is_masked(value.decode("latin-1")):
                kept.append((name, _MASK))
                found.append(f"header {text.lower()}")
                continue
            clean = value
            if name.lower() in URL_HEADERS:
                clean, what = mask_url(value, self._names)
                found.extend(what)
            clean, labels = self._values.mask(clean)
            found.extend(labels)
            kept.append((name, clean))
        return tuple(kept), once(found)

    def _is_plain(self, name: bytes) -> bool:
        return (
            len(name) <= LONGEST_NAME
            and name.lower() not in URL_HEADERS
            and not self._names.header(name.decode("latin-1"))
        )

    def target(self, target: str) -> tuple[str, tuple[str, ...]]:
        """(the request target with credentials in its query masked, what was masked)."""
        raw = target.encode("utf-8", "surrogateescape")
        clean, found = mask_url(raw, self._names, path=False)
        clean, labels = self._values.mask(clean)
        return clean.decode("utf-8", "surrogateescape"), once([*found, *labels])

    def request_body(self, headers: Headers) -> BodyMasker:
        """The masker for the body of a request with these headers."""
        coding = (get(headers, b"content-encoding") or b"identity").strip().lower()
        if coding not in (b"", b"identity"):
            return _Withheld()
        media_type = (get(headers, b"content-type") or b"").split(b";")[0].strip().lower()
        by_name = JsonMasker(self._names)
        as_json = (PathMasker(self._paths), by_name) if self._paths else (by_name,)
        otherwise = (FormMasker(self._names),) if media_type in _FORM_TYPES else ()
        return _ValuesFirst(self._values, _ByContent(as_json, otherwise))

    def credentials(self, headers: Headers, target: str) -> tuple[str, ...]:
        """The credentials in a request's head that are worth looking for; none unless `echo` is set."""
        if not self._echo:
            return ()
        found: list[str] = []
        for name, value in headers:
            if self._names.header(name.decode("latin-1")):
                found.extend(_credentials_in(name.lower(), value.decode("utf-8", "surrogateescape")))
        for part in target.partition("?")[2].split("&"):
            key, _, text = part.partition("=")
            if self._names.query(unquote_plus(key)):
                found.append(unquote_plus(text, errors="surrogateescape"))
        return once(found)

    def response(self, headers: Headers, credentials: Iterable[str] = ()) -> ResponseMasker | None:
        """The masker for the body of a response with these headers; None if nothing is to be masked in it.

        Args:
            headers: of the response.
            credentials: of its request: those of its head, and what its `BodyMasker` has `seen`.
        """
        values = self._values
        if self._echo:
            echoes = [value for value in once(credentials) if len(value) >= SHORTEST_ECHO and value != MASK]
            values = values.with_forms({form: "echo" for value in echoes for form in forms_of(value)})
        if not values:
            return None
        media_type = (get(headers, b"content-type") or b"").split(b";")[0].strip().lower()
        is_stream = media_type == b"text/event-stream"
        codings = content_codings(headers)
        if codings:
            return CodedResponseMasker(values, codings, is_stream=is_stream)
        return ResponseMasker(values, is_stream=is_stream)


def _credentials_in(name: bytes, value: str) -> list[str]:
    """What of a header's value is secret by itself: without the scheme, without the names of cookies."""
    if name in (b"cookie", b"cookie2"):
        return [pair.partition("=")[2].strip().strip('"') for pair in value.split(";")]
    if name in (b"set-cookie", b"set-cookie2"):
        return [value.partition(";")[0].partition("=")[2].strip().strip('"')]
    scheme, _, rest = value.strip().partition(" ")
    if not rest:
        return [value.strip()]
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            login = base64.b64decode(rest, validate=True).decode("utf-8", "surrogateescape")
            return [rest.strip(), login.partition(":")[2]]
    return [rest.strip()]


def redact_url(url: str, names: CredentialNames | None = None) -> str:
    """A URL as it may be shown: without userinfo, other credentials masked."""
    bare = _USERINFO.sub("", url, count=1).encode("utf-8", "surrogateescape")
    return mask_url(bare, names or CredentialNames())[0].decode("utf-8", "surrogateescape")


class _Withheld:
    """A body that cannot be searched: nothing of it is kept."""

    def __init__(self) -> None:
        self.redacted: tuple[str, ...] = ()
        self.seen: list[str] = []

    def feed(self, data: bytes) -> bytes:
        if self.redacted or not data:
            return b""
        self.redacted = ("body content-encoding",)
        return _MASK

    def finish(self) -> bytes:
        return b""


class _ByContent:
    """Masks a body as JSON if it begins like JSON, whatever its type says, else as its type says.

    The Agent Server reads every body as JSON, and `curl -d` calls whatever it sends a form.

    Args:
        as_json: the maskers of JSON, each fed with what the one before it gives.
        otherwise: those of any other body.
    """

    def __init__(self, as_json: Sequence[BodyMasker], otherwise: Sequence[BodyMasker]) -> None:
        self._as_json = as_json
        self._otherwise = otherwise
        self._chosen: Sequence[BodyMasker] | None = None

    @property
    def redacted(self) -> tuple[str, ...]:
        return once(what for masker in self._chosen or () for what in masker.redacted)

    @property
    def seen(self) -> list[str]:
        return [value for masker in self._chosen or () for value in masker.seen]

    def feed(self, data: bytes) -> bytes:
        blank = b""
        if self._chosen is None:
            first = NOT_BLANK.search(data)
            if first is None:
                return data
            self._chosen = self._as_json if first[0] in JSON_STARTS else self._otherwise
            blank, data = data[: first.start()], data[first.start() :]
        for masker in self._chosen:
            data = masker.feed(data)
        return blank + data

    def finish(self) -> bytes:
        rest = b""
        for masker in self._chosen or ():
            rest = (masker.feed(rest) if rest else b"") + masker.finish()
        if self._chosen is not self._as_json:
            for masker in self._as_json:
                masker.finish()  # until then it holds itself
        return rest


class _ValuesFirst:
    """Named values first, across reads, then the rest. Keeps back at most one value's length."""

    def __init__(self, values: ValueMasker, rest: BodyMasker) -> None:
        self._values = values
        self._rest = rest
        self._kept = b""
        self._found: list[str] = []

    @property
    def redacted(self) -> tuple[str, ...]:
        return once([*self._rest.redacted, *self._found])

    @property
    def seen(self) -> list[str]:
        return self._rest.seen

    def feed(self, data: bytes) -> bytes:
        if not self._values:
            return self._rest.feed(data)
        clean, labels = self._values.mask(self._kept + data)
        self._found.extend(labels)
        cut = max(0, len(clean) - self._values.longest_bytes + 1)
        self._kept = clean[cut:]
        return self._rest.feed(clean[:cut])

    def finish(self) -> bytes:
        kept, self._kept = self._kept, b""
        return self._rest.feed(kept) + self._rest.finish()
