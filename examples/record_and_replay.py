"""Record a server through the proxy, switch it off, and get the same bytes from the mock.

    python examples/record_and_replay.py                           # the bundled cassette plays the server
    python examples/record_and_replay.py http://127.0.0.1:2024     # or your own: `langgraph dev` with a graph `agent`

It uses the command line as you would, and a client of nothing but the standard library.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "cassettes/samples/agent.tape"
QUESTION = {"messages": [{"role": "user", "content": "Do I need an umbrella in Zürich?"}]}


@contextmanager
def graphtape(*arguments: str) -> Iterator[str]:
    """Run `graphtape record` or `graphtape replay` on a free port; yields its address."""
    command = [sys.executable, "-m", "graphtape.cli", *arguments, "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        try:
            yield ready.removeprefix("graphtape: listening on ").strip()
        finally:
            process.send_signal(signal.SIGINT)


def post(url: str, body: object) -> bytes:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def converse(url: str) -> bytes:
    """A new thread and one run: the bytes of its stream."""
    thread_id = json.loads(post(f"{url}/threads", {}))["thread_id"]
    run = {"assistant_id": "agent", "input": QUESTION, "stream_mode": ["values", "messages-tuple"]}
    return post(f"{url}/threads/{thread_id}/runs/stream", run)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cassette = f"{folder}/chat.tape"
        if len(sys.argv) > 1:
            with graphtape("record", sys.argv[1], "-o", cassette) as proxy:
                live = converse(proxy)
        else:
            with (
                graphtape("replay", str(SAMPLE)) as server,
                graphtape("record", server, "-o", cassette) as proxy,
            ):
                live = converse(proxy)
        with graphtape("replay", cassette) as mock:
            replayed = converse(mock)
    print(live.decode())
    print(
        f"{len(live)} bytes live, {len(replayed)} bytes replayed: {'the same' if live == replayed else 'DIFFERENT'}"
    )
    sys.exit(live != replayed)


if __name__ == "__main__":
    main()
