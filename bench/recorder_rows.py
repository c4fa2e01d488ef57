"""Rows R1 to R7: what the recorder adds, beside a bare proxy and others in the same place.

Every contender stands in front of the same source and is asked by the same client; `direct` is the client at the
source itself. One rule: what a proxy adds is its number less the direct one of the same round.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable

from graphtape.bench.client import Load, Outcome
from graphtape.bench.measuring import (
    Anchor,
    Line,
    Numbers,
    Rounds,
    Row,
    Spread,
    added,
    added_ratio,
    format_bytes,
    format_ns,
    format_rate,
    interleave,
    median,
    ratio,
)
from graphtape.bench.servers import Server
from graphtape.bench.session import Run, say
from graphtape.bench.tapes import get_request
from graphtape.cassettes.reader import Cassette

_EVENT_BYTES = 300
_MITMPROXY_SHARE = 20
"""mitmproxy is measured on a twentieth of the events: it needs as long as the others with all of them."""
_SHARES = {"mitmproxy": _MITMPROXY_SHARE, "bare by chunk": 4, "tee by chunk": 4}


def contenders(run: Run, *, others: bool = True) -> dict[str, Server]:
    """The servers of these rows, started once; optional ones only if they are there."""
    source = run.server("source", run.servers.source)
    found = {
        "direct": source,
        "bare": run.server("bare", lambda: run.servers.reference("bare_proxy", source.url)),
        "tee": run.server(
            "tee", lambda: run.servers.reference("tee_proxy", source.url, run.folder / "tee.msgpack")
        ),
        "ours": run.server("ours", lambda: run.servers.recorder(source.url, run.folder / "rows.tape")),
    }
    if others:
        nginx = run.optional("nginx", lambda: run.servers.nginx(source))
        mitmproxy = run.optional("mitmproxy", lambda: run.servers.mitmproxy(source, run.folder / "flows"))
        found |= {
            name: server
            for name, server in (("nginx", nginx), ("mitmproxy", mitmproxy))
            if server is not None
        }
    return found


def r1(run: Run) -> Row:
    """Time to the first event, one stream after another."""
    request = get_request(run.folder, events=1)
    load = Load(request, total=run.size.count(60), events=1)
    rounds = _first_events(run, "R1", load, run.size.rounds)
    return _first_event_row(Row("R1", "added time to first event, p50"), rounds, load.total, 1.3, 1.0)


def r2(run: Run) -> Row:
    """Time to the first event when a hundred streams open at once."""
    request = get_request(run.folder, events=1)
    load = Load(request, streams=100, spread_ms=50, events=1)
    rounds = _first_events(run, "R2", load, run.size.rounds * 3)
    return _first_event_row(
        Row("R2", "the same, 100 streams opening within 50 ms"), rounds, load.streams, 1.3, 0.3
    )


def _first_events(run: Run, name: str, load: Load, rounds: int) -> Rounds:
    servers = contenders(run)
    say(f"{name}: {', '.join(servers)}")

    def measure(server: Server) -> Callable[[], Numbers]:
        return lambda: {"p50": run.load(server, load).quantile("first_event", "p50")}

    warm = Load(load.request, streams=load.streams, spread_ms=load.spread_ms, events=1)
    for server in servers.values():
        run.load(server, warm)
    return interleave({key: measure(server) for key, server in servers.items()}, rounds)


def _first_event_row(row: Row, rounds: Rounds, events: int, must: float, aim: float) -> Row:
    row.events = events * len(rounds) * len(rounds[0])
    row.lines.append(
        Line(
            "added to first event, p50",
            _plus(rounds, "ours", "p50"),
            "bare " + _plus(rounds, "bare", "p50"),
            added_ratio(rounds, "ours", "bare", "p50"),
            must,
            aim,
        )
    )
    row.notes.append(_others(rounds, "p50"))
    return row


def r3(run: Run) -> Row:
    """Latency per event."""
    row = Row("R3", "added latency per event, p50")
    for streams, rate in ((1, 50), (100, 20)):
        rounds = _paced(run, streams, rate)
        row.lines.append(
            Line(
                f"p50, {streams} x {rate}/s",
                _plus(rounds, "ours", "p50"),
                "bare " + _plus(rounds, "bare", "p50"),
                added_ratio(rounds, "ours", "bare", "p50"),
                1.25,
                1.1,
            )
        )
        row.notes.append(f"{streams} x {rate}/s: " + _others(rounds, "p50"))
        row.events += int(sum(sum(found[name]["events"] for name in found) for found in rounds))
    return row


def r4(run: Run) -> Row:
    """Latency per event, the tail."""
    rounds = _paced(run, 100, 20)
    line = Line(
        "p99, 100 x 20/s",
        _plus(rounds, "ours", "p99"),
        "bare " + _plus(rounds, "bare", "p99"),
        added_ratio(rounds, "ours", "bare", "p99"),
        1.5,
        1.0,
    )
    row = Row("R4", "added latency per event, p99", [line], [_others(rounds, "p99")])
    row.events = int(sum(sum(found[name]["events"] for name in found) for found in rounds))
    return row


def _paced(run: Run, streams: int, rate: int) -> Rounds:
    """Streams at a pace, through everything; shared by R3, R4 and R6."""

    def measure_all() -> Rounds:
        servers = contenders(run)
        say(f"paced {streams} x {rate}/s: {', '.join(servers)}")
        events = max(4, int(run.size.seconds(2.5) * rate))
        request = get_request(run.folder, events=events, rate=rate, size=_EVENT_BYTES)
        load = Load(
            request, streams=streams, spread_ms=1000 / rate, events=events, quiet_s=min(0.5, 5 / rate)
        )

        def measure(server: Server) -> Callable[[], Numbers]:
            def numbers() -> Numbers:
                outcome = run.load(server, load)
                return {
                    "p50": outcome.quantile("latency", "p50"),
                    "p99": outcome.quantile("latency", "p99"),
                    "cpu": outcome.steady_cpu_us,
                    "events": outcome.events,
                }

            return numbers

        turns = {key: measure(server) for key, server in servers.items()}
        return interleave(turns, run.size.rounds, once=("tee", "nginx", "mitmproxy"))

    return run.once(f"paced {streams} {rate}", measure_all)  # type: ignore[no-any-return]


def r5(run: Run) -> Row:
    """Throughput."""
    row = Row("R5", "recorded throughput, unpaced, every chunk timed and in the file")
    for streams, expected_tee in ((1, 0.52), (50, 0.61)):
        rounds = _unpaced(run, streams)
        row.lines.append(
            Line(
                f"events per second, {streams} streams" if streams > 1 else "events per second, 1 stream",
                format_rate(median(rounds, "ours", "rate")),
                "bare " + format_rate(median(rounds, "bare", "rate")),
                ratio(rounds, "ours", "bare", "rate"),
                0.45,
                0.70,
                at_least=True,
            )
        )
        shares = {
            name: ratio(rounds, name, "bare", "rate").median
            for name in rounds[0]
            if name not in ("ours", "bare")
        }
        tee = ratio(rounds, "tee by chunk", "bare by chunk", "rate").median
        row.anchors.append(Anchor(f"tee, rate of bare, both by chunk, {streams} streams", tee, expected_tee))
        if "mitmproxy" in shares:
            row.anchors.append(
                Anchor(f"mitmproxy, rate of bare, {streams} streams", shares["mitmproxy"], 0.05)
            )
        row.notes.append(
            f"{streams} streams, of bare: "
            + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        )
        row.events += int(sum(sum(found[name]["events"] for name in found) for found in rounds))
    row.notes.append(
        "the cassette was read back: every event that a client got is in it, in order, with a time"
    )
    return row


def r6(run: Run) -> Row:
    """Processor time."""
    row = Row("R6", "recorder CPU per event")
    for what, rounds, must, aim in (
        ("100 x 20/s", _paced(run, 100, 20), 1.3, 1.1),
        ("unpaced, 1 stream", _unpaced(run, 1), 2.2, 1.5),
        ("unpaced, 50 streams", _unpaced(run, 50), 2.2, 1.5),
    ):
        row.lines.append(
            Line(
                what,
                f"{median(rounds, 'ours', 'cpu'):.3g} us",
                f"bare {median(rounds, 'bare', 'cpu'):.3g} us",
                ratio(rounds, "ours", "bare", "cpu"),
                must,
                aim,
            )
        )
        others = [name for name in rounds[0] if name not in ("ours", "bare", "direct")]
        if what.startswith("100"):
            row.anchors.append(
                Anchor("tee, CPU of bare, 100 x 20/s", ratio(rounds, "tee", "bare", "cpu").median, 1.1)
            )
        row.notes.append(
            f"{what}, of bare: "
            + ", ".join(f"{name} {ratio(rounds, name, 'bare', 'cpu').median:.2f}" for name in others)
        )
    return row


def _unpaced(run: Run, streams: int) -> Rounds:
    """As fast as it goes, through everything; shared by R5 and R6."""

    def measure_all() -> Rounds:
        servers = contenders(run)
        # Two more that take every HTTP chunk by itself: a harder life, in which the anchor of the tee was measured.
        source = servers["direct"]
        by_chunk = {
            "bare by chunk": lambda: run.servers.reference("bare_proxy", source.url, "chunks"),
            "tee by chunk": lambda: run.servers.reference(
                "tee_proxy", source.url, run.folder / "tee-chunks.msgpack", "chunks"
            ),
        }
        servers |= {name: run.server(name, start) for name, start in by_chunk.items()}
        # The recorder gets a cassette of its own, which is read back below.
        tape = run.folder / f"unpaced-{streams}.tape"
        servers["ours"] = run.server(
            f"ours {tape}", lambda: run.servers.recorder(servers["direct"].url, tape)
        )
        say(f"unpaced {streams}: {', '.join(servers)}")
        total = run.size.count(200_000)

        def measure(name: str, server: Server) -> Callable[[], Numbers]:
            each = max(20, total // streams // _SHARES.get(name, 1))
            request = get_request(run.folder, events=each, size=_EVENT_BYTES)
            load = Load(request, streams=streams, events=each)

            def numbers() -> Numbers:
                outcome = run.load(server, load)
                return {
                    "rate": outcome.events_per_s,
                    "cpu": outcome.cpu_us_per_event,
                    "events": outcome.events,
                }

            return numbers

        turns = {key: measure(key, server) for key, server in servers.items()}
        rounds = interleave(turns, run.size.rounds, once=("nginx", "mitmproxy"))
        run.forget(f"ours {tape}")
        _read_back(tape, int(sum(found["ours"]["events"] for found in rounds)))
        tape.unlink()
        return rounds

    return run.once(f"unpaced {streams}", measure_all)  # type: ignore[no-any-return]


class NotRecorded(Exception):
    """The cassette does not hold what a client received."""


def _read_back(tape: object, events: int) -> None:
    """Every byte is in the file, and every chunk has its time."""
    with Cassette.open(str(tape)) as cassette:
        found = 0
        for summary in cassette.exchanges:
            last_ns, size = -1, 0
            for chunk in cassette.iter_chunks(summary.number):
                if chunk.at_ns < last_ns:
                    raise NotRecorded(f"{tape}: exchange {summary.number}: times go back")
                last_ns = chunk.at_ns
                size += len(chunk.data)
            if size % _EVENT_BYTES or str(summary.ending) != "complete":
                raise NotRecorded(f"{tape}: exchange {summary.number}: {size} bytes, {summary.ending}")
            found += size // _EVENT_BYTES
    if found != events:
        raise NotRecorded(f"{tape}: {found} events, but the clients received {events}")


def r7(run: Run) -> Row:
    """Memory over one long stream."""
    source = run.server("source", run.servers.source)
    events = run.size.count(250_000)
    say(f"R7: {events} events")
    request = get_request(run.folder, events=events, size=_EVENT_BYTES)
    row = Row(
        "R7", f"recorder memory over {events:,} events ({format_bytes(events * _EVENT_BYTES)}) in one stream"
    )
    starts: dict[str, Callable[[], Server]] = {
        "bare": lambda: run.servers.reference("bare_proxy", source.url),
        "ours": lambda: run.servers.recorder(source.url, run.folder / "r7.tape", "--overwrite"),
    }
    if (
        mitmproxy := run.optional("mitmproxy", lambda: run.servers.mitmproxy(source, run.folder / "flows"))
    ) is not None:
        small = get_request(run.folder, events=max(100, events // _MITMPROXY_SHARE), size=_EVENT_BYTES)
        run.load(mitmproxy, Load(small))
        row.notes.append(
            f"mitmproxy, after a {_MITMPROXY_SHARE}th of it and the rows before: {format_bytes(mitmproxy.peak_bytes())}"
        )
    found: dict[str, tuple[int, float]] = {}
    for name, start in starts.items():
        with start() as server:
            outcome, samples = _watched(run, server, Load(request, events=events))
            row.events += outcome.events
            quarter = samples[len(samples) // 4 :]
            # The last quarter against the second: what grows with the stream grows here.
            half = len(quarter) // 2 or 1
            growth = statistics.median(quarter[half:] or quarter) / statistics.median(quarter[:half])
            found[name] = (server.peak_bytes(), growth)
    size = found["ours"][0] / found["bare"][0]
    row.lines.append(
        Line(
            "peak",
            format_bytes(found["ours"][0]),
            "bare " + format_bytes(found["bare"][0]),
            Spread(size, size, size),
            1.6,
            1.2,
        )
    )
    growth = found["ours"][1]
    row.lines.append(
        Line("growth over the stream", f"{growth:.3f}", "flat 1", Spread(growth, growth, growth), 1.05, 1.02)
    )
    return row


def _watched(run: Run, server: Server, load: Load) -> tuple[Outcome, list[int]]:
    """The load, and what the server held every 20 ms of it."""
    samples: list[int] = [server.memory_bytes()]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            samples.append(server.memory_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        outcome = run.load(server, load)
    finally:
        over.set()
        watcher.join()
    return outcome, samples


def _plus(rounds: Rounds, name: str, key: str) -> str:
    return "+" + format_ns(statistics.median(added(rounds, name, key)))


def _others(rounds: Rounds, key: str) -> str:
    direct = format_ns(median(rounds, "direct", key))
    names = [name for name in rounds[0] if name not in ("direct", "ours", "bare")]
    return f"direct {direct}; added by " + ", ".join(f"{name} {_plus(rounds, name, key)}" for name in names)


ROWS = {"R1": r1, "R2": r2, "R3": r3, "R4": r4, "R5": r5, "R6": r6, "R7": r7}
