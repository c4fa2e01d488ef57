// A proxy that breaks event streams off where it is told to. Knows nothing of graphtape.

import http from "node:http";

/**
 * Listens on loopback in front of `upstream`. The n-th event stream is cut by the n-th of `cuts`, later ones are whole:
 *
 *   { after: 5 }                  the connection breaks after the fifth event
 *   { after: 5, inside: true }    it breaks in the middle of the sixth
 *   { after: 5, clean: true }     the response ends as if it were complete
 *
 * Returns { url, requests, close }; `requests` lists the method and Last-Event-ID of each request for a stream.
 */
export async function cuttingProxy(upstream, cuts) {
  const waiting = [...cuts];
  const requests = [];
  const { hostname, port } = new URL(upstream);
  const server = http.createServer((asked, answer) => {
    const { host: _, ...headers } = asked.headers;
    const onward = http.request({ hostname, port, path: asked.url, method: asked.method, headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      if (!`${got.headers["content-type"]}`.startsWith("text/event-stream")) {
        got.pipe(answer);
        return;
      }
      requests.push({ method: asked.method, lastEventId: asked.headers["last-event-id"] ?? null });
      answer.flushHeaders();
      const cut = waiting.shift();
      if (cut === undefined) got.pipe(answer);
      else cutStream(got, answer, cut, () => onward.destroy());
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => (server.closeAllConnections(), server.close());
  return { url: `http://127.0.0.1:${server.address().port}`, requests, close };
}

function cutStream(got, answer, { after, inside, clean }, hangUp) {
  let kept = Buffer.alloc(0);
  let passed = 0;
  let over = false;
  const end = (last) => {
    over = true;
    // What was written must reach the client before the connection breaks.
    const finish = () => (clean ? answer.end() : setTimeout(() => answer.socket?.destroy(), 20));
    if (last.length > 0) answer.write(last, finish);
    else finish();
    hangUp();
  };
  got.on("data", (data) => {
    if (over) return;
    kept = Buffer.concat([kept, data]);
    for (let edge; !over && (edge = kept.indexOf("\r\n\r\n")) >= 0; ) {
      const block = kept.subarray(0, edge + 4);
      kept = kept.subarray(edge + 4);
      if (passed === after) end(inside ? block.subarray(0, block.length >> 1) : Buffer.alloc(0));
      else {
        answer.write(block);
        if (!block.toString().startsWith(":")) passed += 1;
        // A stream cut after its last event has no further one to wait for.
        if (passed === after && !inside) end(Buffer.alloc(0));
      }
    }
  });
  got.on("end", () => over || answer.end());
  got.on("error", () => over || answer.destroy());
  if (after === 0 && !inside) end(Buffer.alloc(0));
}
