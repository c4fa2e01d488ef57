"""Rows P1 to P8: the mock beside the limit of its loop, and what others make of the same recording.

One rule: every contender sends the same frames at the same due times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphtape.bench import corpus
from graphtape.bench.client import Incorrect, Load
from graphtape.bench.measuring import (
    Anchor,
    Line,
    Numbers,
    Rounds,
    Row,
    Spread,
    format_bytes,
    format_ns,
    format_rate,
    interleave,
    median,
    ratio,
)
from graphtape.bench.servers import Server, ServerFailed
from graphtape.bench.session import Run, say
from graphtape.bench.tapes import Tape, replay_tape

Start = Callable[[], Server]


def p1(run: Run) -> Row:
    """Without waiting."""
    row = Row("P1", "replay at --speed max, one HTTP chunk per event")
    for streams, events, repeat in ((1, 50_000, 10), (100, 2_000, 5)):
        each = run.size.count(events)
        tape = replay_tape(run.folder, f"max-{streams}", events=each, rate=100)
        starts: dict[str, Start] = {
            "limit": lambda tape=tape: run.servers.reference("raw_limit", tape.script, "max"),  # type: ignore[misc]
            "bare": lambda tape=tape: run.servers.reference("bare_replay", tape.script, "max"),  # type: ignore[misc]
            "ours": lambda tape=tape: run.servers.replayer(tape.tape, "max"),  # type: ignore[misc]
        }
        starlette = run.optional(
            f"starlette {streams}", lambda tape=tape: run.servers.reference("starlette_replay", tape.script, "max")  # type: ignore[misc]
        ) if _has_starlette(run) else None  # fmt: skip
        servers = {name: run.server(f"{name} max {streams}", start) for name, start in starts.items()}
        if starlette is not None:
            servers["starlette"] = starlette
        say(f"P1: {streams} x {each} events: {', '.join(servers)}")

        def measure(name: str, server: Server) -> Callable[[], Numbers]:
            # The limit is over in milliseconds: several streams after one another, so that there is something to time.
            total = streams * (repeat if name == "limit" else 1)  # noqa: B023
            load = Load(tape.request, streams=streams, total=total, events=each)  # noqa: B023

            def numbers() -> Numbers:
                outcome = run.load(server, load)
                row.events += outcome.events
                return {"rate": outcome.events_per_s}

            return numbers

        rounds = interleave(
            {name: measure(name, server) for name, server in servers.items()},
            run.size.rounds,
            once=("starlette",),
        )
        row.lines.append(
            Line(
                f"events per second, {streams} stream{'s' if streams > 1 else ''}",
                format_rate(median(rounds, "ours", "rate")),
                "limit " + format_rate(median(rounds, "limit", "rate")),
                ratio(rounds, "ours", "limit", "rate"),
                0.25,
                0.5,
                at_least=True,
            )
        )
        others = [name for name in servers if name not in ("ours", "limit")]
        row.notes.append(
            f"{streams} streams, of the limit: "
            + ", ".join(f"{name} {ratio(rounds, name, 'limit', 'rate').median:.3f}" for name in others)
        )
        row.anchors += [
            Anchor(
                f"{name}, rate of the limit, {streams} streams",
                ratio(rounds, name, "limit", "rate").median,
                anchor,
            )
            for name, anchor in (("bare", 0.055), ("starlette", 0.015))
            if name in servers
        ]
        for name in servers:
            run.forget(f"{name} max {streams}" if name != "starlette" else f"starlette {streams}")
    return row


def _has_starlette(run: Run) -> bool:
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec("sse_starlette") and find_spec("uvicorn"):
        return True
    if "sse-starlette" not in run.missing:
        run.missing["sse-starlette"] = "not installed (pip install sse-starlette uvicorn)"
        say("without sse-starlette: not installed")
    return False


def p2(run: Run) -> Row:
    """How well gaps are kept."""
    return _gap_row(run, "P2", "p50", 0.6, 0.4)


def p3(run: Run) -> Row:
    """How well gaps are kept, the tail."""
    return _gap_row(run, "P3", "p99", 0.8, 0.5)


def _gap_row(run: Run, name: str, which: str, must: float, aim: float) -> Row:
    row = Row(name, f"paced replay: gap error {which}")
    for streams, rate in ((1, 50), (100, 20)):
        rounds = _paced(run, streams, rate)
        row.lines.append(
            Line(
                f"gap error {which}, {streams} x {rate}/s",
                format_ns(median(rounds, "ours", which)),
                "uvloop call_at " + format_ns(median(rounds, "limit", which)),
                ratio(rounds, "ours", "limit", which),
                must,
                aim,
            )
        )
        row.notes.append(f"{streams} x {rate}/s: bare aiohttp {format_ns(median(rounds, 'bare', which))}")
        row.events += int(sum(sum(found[key]["events"] for key in found) for found in rounds))
    return row


def _paced(run: Run, streams: int, rate: int) -> Rounds:
    """Streams at their recorded pace; shared by P2 and P3."""

    def measure_all() -> Rounds:
        events = max(10, int(run.size.seconds(3) * rate))
        tape = replay_tape(run.folder, f"paced-{streams}", events=events, rate=rate)
        load = Load(
            tape.request, streams=streams, spread_ms=min(1000, 1000 / rate * streams / 4), events=events
        )
        return _rounds(run, tape, replace(load, quiet_s=0.3 if streams > 1 else 0), f"paced {streams}")

    return run.once(f"replay paced {streams} {rate}", measure_all)  # type: ignore[no-any-return]


def _rounds(run: Run, tape: Tape, load: Load, name: str, *, bare: bool = True, rounds: int = 0) -> Rounds:
    starts: dict[str, Start] = {"limit": lambda: run.servers.reference("raw_limit", tape.script, "paced")}
    if bare:
        starts["bare"] = lambda: run.servers.reference("bare_replay", tape.script, "paced")
    starts["ours"] = lambda: run.servers.replayer(tape.tape)
    servers = {key: run.server(f"{key} {name}", start) for key, start in starts.items()}
    say(f"replay {name}: {', '.join(servers)}")

    def measure(server: Server) -> Callable[[], Numbers]:
        def numbers() -> Numbers:
            outcome = run.load(server, load)
            return {
                "p50": outcome.quantile("gap", "p50"),
                "p99": outcome.quantile("gap", "p99"),
                "cpu": outcome.steady_cpu_us,
                "events": outcome.events,
            }

        return numbers

    try:
        return interleave(
            {key: measure(server) for key, server in servers.items()},
            rounds or run.size.rounds,
            once=("bare",),
        )
    finally:
        for key in servers:
            run.forget(f"{key} {name}")


def p4(run: Run) -> Row:
    """A thousand streams."""
    streams = 1000 if run.size.name != "smoke" else 100
    events = max(30, int(run.size.seconds(5) * 10))
    tape = replay_tape(run.folder, "thousand", events=events, rate=10)
    load = Load(tape.request, streams=streams, spread_ms=1000, events=events, quiet_s=2.0)
    rounds = _rounds(run, tape, load, "thousand", bare=False, rounds=1 + run.size.rounds // 3)
    row = Row("P4", f"{streams} streams x 10 events/s")
    row.events = int(sum(sum(found[key]["events"] for key in found) for found in rounds))
    for what, key, must, aim in (
        ("gap error p50", "p50", 0.8, 0.4),
        ("gap error p99", "p99", 1.5, 1.0),
        ("CPU per event", "cpu", 1.6, 1.2),
    ):

        def shown(name: str, key: str = key) -> str:
            value = median(rounds, name, key)
            return f"{value:.3g} us" if key == "cpu" else format_ns(value)

        row.lines.append(
            Line(
                what, shown("ours"), "limit " + shown("limit"), ratio(rounds, "ours", "limit", key), must, aim
            )
        )
    return row


def p5(run: Run) -> Row:
    """Drift."""
    seconds = {"smoke": 1, "quick": 10, "full": 60}[run.size.name]
    tape = replay_tape(run.folder, "drift", events=seconds * 20, rate=20)
    say(f"P5: {seconds} s")
    with run.servers.replayer(tape.tape) as server:
        outcome = run.load(server, Load(tape.request, streams=5, spread_ms=50, events=tape.events))
    row = Row("P5", f"drift at the end of a stream of {seconds} s", events=outcome.events)
    drift_ms = outcome.quantile("drift", "p50") / 1e6
    most_ms = outcome.quantile("drift", "max") / 1e6
    spread = Spread(drift_ms, drift_ms, most_ms)
    row.lines.append(Line("drift, p50 of 5 streams", f"{drift_ms:.3f} ms", "", spread, 5, 1, unit="ms"))
    return row


_HELD_GAP_NS = 50e6
"""A stream counts as held if 99 of 100 gaps are within half of the tenth of a second that lies between two events."""


def p6(run: Run) -> Row:
    """How many streams."""
    row = Row("P6", "streams held at 10 events/s each (p99 gap error under 50 ms, nothing lost)")
    seconds = {"smoke": 3.0, "quick": 5.0, "full": 12.0}[run.size.name]
    tape = replay_tape(run.folder, "held", events=int(seconds * 15) + 200, rate=10)
    steps = {
        "smoke": (50, 100),
        "quick": (1000, 2000, 4000),
        "full": (1000, 2000, 3000, 4000, 5000, 6000, 8000),
    }
    contenders: dict[str, Start] = {"ours": lambda: run.servers.replayer(tape.tape)}
    if run.size.name == "full":
        contenders["bare"] = lambda: run.servers.reference("bare_replay", tape.script, "paced")
        contenders["raw"] = lambda: run.servers.reference("raw_limit", tape.script, "paced")
    held: dict[str, int] = {}
    for name, start in contenders.items():
        held[name] = 0
        for streams in steps[run.size.name]:
            say(f"P6: {name}, {streams} streams")
            spread_s = max(1.0, streams / 1000)
            load = Load(
                tape.request,
                streams=streams,
                spread_ms=spread_s * 1000,
                seconds=spread_s + seconds,
                quiet_s=spread_s + 1,
            )
            try:
                with start() as server:
                    outcome = run.load(server, load)
            except (Incorrect, ServerFailed) as error:
                row.notes.append(f"{name}, {streams} streams: {str(error)[:120]}")
                break
            row.events += outcome.events
            p99 = outcome.quantile("gap", "p99")
            row.notes.append(
                f"{name}, {streams} streams: gap error p50 {format_ns(outcome.quantile('gap', 'p50'))}, "
                f"p99 {format_ns(p99)}"
            )
            if not 0 <= p99 <= _HELD_GAP_NS:
                break
            held[name] = streams
    others = ", ".join(f"{name} {count}" for name, count in held.items() if name != "ours")
    spread = Spread(held["ours"], held["ours"], held["ours"])
    row.lines.append(
        Line("streams held", str(held["ours"]), others, spread, 2000, 4000, at_least=True, unit="")
    )
    return row


def p7(run: Run) -> Row:
    """Memory per stream."""
    streams = run.size.count(500) if run.size.name == "smoke" else 1000
    tape = replay_tape(run.folder, "memory", events=600, rate=10)
    row = Row("P7", "memory per open stream (of a recording of 600 events)")
    found: dict[str, float] = {}
    starts: dict[str, Start] = {
        "bare": lambda: run.servers.reference("bare_replay", tape.script, "paced"),
        "ours": lambda: run.servers.replayer(tape.tape),
    }
    for name, start in starts.items():
        say(f"P7: {name}")
        with start() as server:
            # What the first requests need for good (modules, caches) is not the streams'.
            run.load(server, Load(tape.request, streams=20, seconds=1.0))
            before = server.memory_bytes()
            outcome = run.load(server, Load(tape.request, streams=streams, spread_ms=1000, seconds=8.0))
            row.events += outcome.events
            found[name] = (outcome.memory_bytes - before) / streams / 1000
    spread = Spread(found["ours"], found["ours"], found["ours"])
    row.lines.append(
        Line(
            "per stream", f"{found['ours']:.1f} kB", f"bare {found['bare']:.1f} kB", spread, 16, 8, unit="kB"
        )
    )
    return row


def p8(run: Run) -> Row:
    """A start with a large cassette."""
    entries = corpus.shared(run)
    tape = run.folder / "start.tape"
    corpus.write_cassette(tape, entries, flush_every=1)
    wire = sum(len(entry.data) for entry in entries)
    say(f"P8: {len(entries)} events, {format_bytes(wire)}")

    def measure(start: Start) -> Callable[[], Numbers]:
        def numbers() -> Numbers:
            with start() as server:
                return {"s": server.ready_s, "bytes": server.memory_bytes()}

        return numbers

    starts: dict[str, Start] = {
        "empty": lambda: run.servers.reference("empty_server"),
        "ours": lambda: run.servers.replayer(tape),
    }
    for start in starts.values():
        measure(start)()
    rounds = interleave({name: measure(start) for name, start in starts.items()}, run.size.rounds * 2)
    more_s = Spread.of([found["ours"]["s"] - found["empty"]["s"] for found in rounds])
    more_mb = Spread.of([(found["ours"]["bytes"] - found["empty"]["bytes"]) / 1e6 for found in rounds])
    row = Row(
        "P8",
        f"start of replay with {len(entries):,} events, {format_bytes(wire)}, over an empty aiohttp server",
    )
    row.lines.append(
        Line(
            "time until it listens",
            format_ns(median(rounds, "ours", "s") * 1e9),
            "empty " + format_ns(median(rounds, "empty", "s") * 1e9),
            more_s,
            0.15,
            0.03,
            unit="s",
        )
    )
    row.lines.append(
        Line(
            "memory",
            format_bytes(median(rounds, "ours", "bytes")),
            "empty " + format_bytes(median(rounds, "empty", "bytes")),
            more_mb,
            30,
            12,
            unit="MB",
        )
    )
    return row


ROWS = {"P1": p1, "P2": p2, "P3": p3, "P4": p4, "P5": p5, "P6": p6, "P7": p7, "P8": p8}
