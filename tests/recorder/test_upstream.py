"""The upstream's URL, its connections, proxies and TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from typing import Any

import pytest

from graphtape.recorder.connection import UpstreamFailed
from graphtape.recorder.upstream import (
    BadUpstream,
    Upstream,
    parse_upstream,
)

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("url", "shown", "prefix", "host_header"),
    [
        ("http://localhost:2024", "http://localhost:2024", "", b"localhost:2024"),
        ("localhost:2024", "http://localhost:2024", "", b"localhost:2024"),
        ("http://h:80/", "http://h", "", b"h"),
        ("https://H.example:443/api/v1/", "https://h.example/api/v1", "/api/v1", b"h.example"),
        ("http://[::1]:2024/a%20b", "http://[::1]:2024/a%20b", "/a%20b", b"[::1]:2024"),
        ("http://user:pass@h:81/", "http://h:81", "", b"h:81"),
        ("https://bücher.example", "https://xn--bcher-kva.example", "", b"xn--bcher-kva.example"),
    ],
)
def test_upstream_urls(url: Any, shown: Any, prefix: Any, host_header: Any) -> None:
    """http and https, with a path prefix, an IPv6 host, userinfo that is never shown."""
    target = parse_upstream(url)
    assert (target.url, target.prefix, target.host_header) == (shown, prefix, host_header)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://h/?a=1",
        "http://h/#f",
        "http://h/a b",
        "http://h/é",
        "http://[::1",
        "http:/h:1",
        "HTTPS:h",
    ],
)
def test_urls_that_are_none(url: Any) -> None:
    """A clear error instead of a recorder that fails at the first request."""
    with pytest.raises(BadUpstream, match="upstream"):
        parse_upstream(url)


def test_errors_do_not_show_passwords() -> None:
    """Not even for a URL that could not be read."""
    for url in ("ftp://u:hunter2@h", "http://u:hunter2@h:x", "http://u:hunter2@h/?api_key=hunter2"):
        with pytest.raises(BadUpstream) as caught:
            parse_upstream(url)
        assert "hunter2" not in str(caught.value)


async def test_nobody_answers_the_connection(monkeypatch: Any) -> None:
    """No connection within the time is a 504 that names the upstream."""
    upstream = Upstream(parse_upstream("http://h.example"), connect_timeout_s=0.01)

    async def never(*args: Any, **options: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(UpstreamFailed, match=r"http://h\.example within 0\.01 s") as caught:
        await upstream.connect()
    assert caught.value.status == 504


async def test_a_kept_connection_that_closed(rig: Any) -> None:
    """When the upstream closes a kept connection just as it is used, a GET is sent again on a new one."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()  # the second request on this connection gets no answer

    async with rig(script) as r:
        for _ in range(2):
            client = await r.get("/")
            assert (await client.head()).startswith(b"HTTP/1.1 200")
        assert r.upstream.connections == 2


async def test_proxy_of_the_environment(rig: Any, monkeypatch: Any) -> None:
    """HTTP_PROXY is used, with its credentials and an absolute target; NO_PROXY is honoured."""
    seen: list[bytes] = []

    async def script(peer: Any) -> None:
        while True:
            seen.append(await peer.request())
            await peer.send(OK)

    async with rig(script) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:pw@127.0.0.1:{proxy.upstream.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with rig(script, url="http://api.example:81/v1") as r:
            client = await r.get("/x?y")
            assert (await client.head()).startswith(b"HTTP/1.1 200")
    head = seen[0].split(b"\r\n")
    assert head[0] == b"GET http://api.example:81/v1/x?y HTTP/1.1"
    assert head[1] == b"Proxy-Authorization: Basic dXNlcjpwdw=="
    assert b"Host: api.example:81" in head
    monkeypatch.setenv("no_proxy", "api.example")
    assert Upstream(parse_upstream("http://api.example"))._proxy is None


def test_a_proxy_that_is_not_http(monkeypatch: Any) -> None:
    """A SOCKS proxy is a clear error that names the way out."""
    monkeypatch.setenv("http_proxy", "https://p:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(BadUpstream, match="NO_PROXY"):
        Upstream(parse_upstream("http://api.example"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: Any) -> Any:
    """(certificate, key) for localhost, made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        capture_output=True, check=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


async def _tls_server(certificate: Any, handler: Any) -> asyncio.Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)


async def _answer(reader: Any, writer: Any) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


@pytest.mark.slow
async def test_https_where_http_is_spoken(rig: Any) -> None:
    """The 502 says so; a certificate is not what is missing."""

    async def plain(reader: Any, writer: Any) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, rig(None, url=url) as r:
        client = await r.get("/")
        assert (await client.head()).startswith(b"HTTP/1.1 502 ")
        answer = await client.until(b"}")
        assert b"with http:// in place of https://" in answer
        assert b"SSL_CERT_FILE" not in answer


@pytest.mark.slow
async def test_https_upstream(rig: Any, certificate: Any, monkeypatch: Any) -> None:
    """A private authority is trusted through SSL_CERT_FILE; without it the 502 says so."""
    server = await _tls_server(certificate, _answer)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with rig(None, url=url) as r:
        client = await r.get("/")
        assert (await client.head()).startswith(b"HTTP/1.1 502 ")
        assert b"SSL_CERT_FILE" in await client.until(b"}")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with rig(None, url=url) as r:
        client = await r.get("/")
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    server.close()
    await server.wait_closed()


async def test_https_through_a_proxy(rig: Any, certificate: Any, monkeypatch: Any) -> None:
    """CONNECT first, then TLS with the upstream inside the tunnel."""
    server = await _tls_server(certificate, _answer)
    port = server.sockets[0].getsockname()[1]
    connects: list[bytes] = []

    async def tunnel(peer: Any) -> None:
        connects.append(await peer.request())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: Any, sink: Any) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.close()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with rig(tunnel) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.upstream.port}")
        async with rig(None, url=f"https://localhost:{port}") as r:
            client = await r.get("/")
            assert (await client.head()).startswith(b"HTTP/1.1 200 ")
            assert await client.exactly(2) == b"ok"
    assert connects[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % port)
    server.close()
    await server.wait_closed()
