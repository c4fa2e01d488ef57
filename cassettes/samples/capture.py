"""Records the bundled cassettes from the real Agent Server: `make capture`, or `python capture.py --out FOLDER`.

It starts `langgraph dev` on the graphs beside this file and `graphtape record` in front of it, and plays one script
per cassette with the Python SDK. One rule: the same calls in the same order, so that two captures differ only in ids
and times (`graphtape diff` says nothing).
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.schema import StreamMode

from graphtape.cassettes.samples.agent_server import AgentServer

HERE = Path(__file__).parent
READY = "graphtape: listening on "
# The server writes its own address into the metadata of every run, so it is the same at each capture.
UPSTREAM_PORT = 21024
ALL_MODES: tuple[StreamMode, ...] = (
    "values",
    "updates",
    "messages-tuple",
    "custom",
    "debug",
    "tasks",
    "checkpoints",
)


def agent_script(client: SyncLangGraphClient) -> None:
    """What `graphtape demo` plays: a conversation of two turns, then a run that waits for a person."""
    client.http.get("/info")
    client.assistants.search(graph_id="agent")
    thread_id = client.threads.create()["thread_id"]
    run_ids: list[str] = []
    for words in ("Do I need an umbrella in Zürich?", "And tomorrow?"):
        question: dict[str, Any] = {"messages": [{"role": "user", "content": words}]}
        for _ in client.runs.stream(
            thread_id,
            "agent",
            input=question,
            stream_mode=["values", "updates", "messages-tuple", "custom"],
            stream_resumable=True,
            on_run_created=lambda run: run_ids.append(run["run_id"]),
        ):
            pass
        client.threads.get_state(thread_id)
    client.threads.get_history(thread_id, limit=10)
    client.runs.list(thread_id)
    # The second run once more, as a browser does after a reload.
    for _ in client.runs.join_stream(thread_id, run_ids[1], last_event_id="-1"):
        pass

    thread_id = client.threads.create()["thread_id"]
    modes: list[StreamMode] = ["values", "updates", "messages-tuple"]
    for _ in client.runs.stream(thread_id, "approval", input={"topic": "the party"}, stream_mode=modes):
        pass
    client.threads.get(thread_id)
    client.threads.get_state(thread_id)
    for _ in client.runs.stream(thread_id, "approval", command={"resume": "yes"}, stream_mode=modes):
        pass
    client.threads.get_state(thread_id)


def graphs_script(client: SyncLangGraphClient) -> None:
    """Nested subgraphs with every mode that can be had together, a stateless run, and runs that are waited for."""
    client.http.get("/info")
    client.assistants.search()
    thread_id = client.threads.create(metadata={"topic": "cassettes"})["thread_id"]
    question: dict[str, Any] = {"messages": [{"role": "user", "content": "What does a cassette keep?"}]}
    for _ in client.runs.stream(
        thread_id,
        "research",
        input=question,
        stream_mode=ALL_MODES,
        stream_subgraphs=True,
        stream_resumable=True,
    ):
        pass
    client.threads.get(thread_id)
    client.threads.get_state(thread_id, subgraphs=True)
    client.threads.get_history(thread_id, limit=10)
    client.threads.search(metadata={"topic": "cassettes"})
    for _ in client.runs.stream(None, "research", input=question, stream_mode="messages"):
        pass
    client.runs.wait(None, "approval", input={"topic": "the report"})
    thread_id = client.threads.create()["thread_id"]
    client.runs.wait(thread_id, "approval", input={"topic": "the trip"})
    run = client.runs.create(thread_id, "approval", command={"resume": "no"})
    client.runs.join(thread_id, run["run_id"])
    client.runs.get(thread_id, run["run_id"])
    client.threads.get_state(thread_id)


SCRIPTS: dict[str, Callable[[SyncLangGraphClient], None]] = {"agent": agent_script, "graphs": graphs_script}


@contextmanager
def recorder(upstream: str, cassette: Path) -> Iterator[str]:
    """`graphtape record` as a user runs it; yields the address of the proxy."""
    command = [sys.executable, "-m", "graphtape.cli", "record", upstream, "-o", str(cassette)]
    with subprocess.Popen(
        [*command, "--port", "0", "--overwrite"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(READY):
                raise SystemExit("graphtape record did not start; what it said is above")
            yield line.removeprefix(READY).strip()
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(timeout=30)
    if status:
        raise SystemExit(f"graphtape record ended with status {status}")


def capture(out: Path) -> list[Path]:
    """Record every script into `out`; returns the cassettes."""
    cassettes = []
    graphs = json.loads((HERE / "langgraph.json").read_text(encoding="utf-8"))["graphs"]
    with tempfile.TemporaryDirectory(prefix="graphtape-capture-") as name:
        folder = Path(name)
        shutil.copy(HERE / "graphs.py", folder)
        for stem, script in SCRIPTS.items():
            # A server for each, so that no cassette sees another's threads.
            with AgentServer(folder, graphs, port=UPSTREAM_PORT) as server:
                cassette = out / f"{stem}.tape"
                with recorder(server.url, cassette) as url, get_sync_client(url=url) as client:
                    script(client)
            cassettes.append(cassette)
            shutil.rmtree(folder / ".langgraph_api", ignore_errors=True)
    return cassettes


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the bundled cassettes from the real Agent Server.")
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder for the cassettes (default: beside this script)"
    )
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="graphtape-captured-") as name:
        for cassette in capture(Path(name)):
            target = out / cassette.name
            if target.exists():
                print(f"{target}: the old one against the new one:")
                command = [sys.executable, "-m", "graphtape.cli", "diff", str(target), str(cassette)]
                subprocess.run(command, check=False)
            shutil.copyfile(cassette, target)
            print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
