"""What the bench says: a line per comparison while it runs, and RESULTS.md at the end.

Pure but for the machine's description. One rule: every must and every aim stands beside what was measured.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graphtape.bench.measuring import Line, Row, Spread

_PACKAGES = ("graphtape", "aiohttp", "uvloop", "msgpack", "zstandard", "orjson", "sse-starlette", "uvicorn")


def format_line(row: Row, line: Line) -> str:
    """For a terminal."""
    bounds = "" if line.must is None else f"  must {_bound(line, line.must)} aim {_bound(line, line.aim)}"
    return (
        f"{row.name}  {line.what:<44} {line.ours:>11}  {line.theirs:<24} "
        f"{_ratio(line):<22}{bounds}  {line.verdict}".rstrip()
    )


def results(rows: Sequence[Row], *, size: str, date: str, missing: Mapping[str, str], took_s: float) -> str:
    """RESULTS.md."""
    judged = [line for row in rows for line in row.lines if line.must is not None]
    count = {verdict: sum(line.verdict == verdict for line in judged) for verdict in ("aim", "must", "FAIL")}
    told = f"{count['aim']} reach the aim, {count['must']} more the must, {count['FAIL']} neither"
    lines = [
        "# Results of the bench",
        "",
        f"Written by `make bench` ({size}, {took_s / 60:.0f} min), {date}. What each row means: docs/performance.md.",
        "",
        f"- {_machine()}",
        f"- {_versions()}",
        f"- {len(judged)} comparisons: {told}",
        f"- {sum(row.events for row in rows):,} events received: none lost, none twice, none out of order",
    ]
    lines += [f"- without {name}: {why}" for name, why in missing.items()]
    lines += [
        "",
        "Ratios are medians of rounds in which contenders took turns; in brackets the lowest and the highest round.",
        "",
        "| # | measure | ours | reference | ratio | must | aim | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for number, line in enumerate(row.lines):
            title = f"{row.title}: {line.what}" if number == 0 else line.what
            bounds = (_bound(line, line.must), _bound(line, line.aim))
            cells = [row.name, title, line.ours, line.theirs, _ratio(line), *bounds, line.verdict]
            lines.append("| " + " | ".join(cells) + " |")
    anchors = [(row, anchor) for row in rows for anchor in row.anchors]
    if anchors:
        lines += ["", "## The references beside their anchors", ""]
        lines += ["| # | reference | here | anchor | |", "|---|---|---|---|---|"]
        lines += [
            f"| {row.name} | {anchor.what} | {anchor.measured:.3g} | {anchor.expected:g} | "
            f"{'within 30 %' if anchor.is_near else 'off'} |"
            for row, anchor in anchors
        ]
    notes = [f"- {row.name}: {note}" for row in rows for note in row.notes]
    if notes:
        lines += ["", "## Beside it", "", *notes]
    return "\n".join(lines) + "\n"


def commit_date(root: Path) -> str:
    """The date of what is measured: that of the commit, since a bench is of a version, not of a day."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%cs, commit %h"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "of no commit"


def _ratio(line: Line) -> str:
    spread, unit = line.ratio, "" if line.unit in ("", "x") else f" {line.unit}"
    mark = "x" if line.unit == "x" else ""
    if spread.low == spread.high:
        return f"{_figure(spread.median)}{mark}{unit}"
    return f"{_figure(spread.median)}{mark}{unit} ({_range(spread)})"


def _range(spread: Spread) -> str:
    return f"{_figure(spread.low)} to {_figure(spread.high)}"


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _bound(line: Line, bound: float | None) -> str:
    if bound is None:
        return ""
    unit = "" if line.unit == "" else line.unit if line.unit == "x" else f" {line.unit}"
    return f"{'>=' if line.at_least else '<='} {bound:g}{unit}"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        for text in Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith("model name"):
                model = text.partition(":")[2].strip()
                break
        memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024**2
    except OSError:
        memory = 0
    busy = f"load {os.getloadavg()[0]:.1f} at the end"
    return f"{os.cpu_count()} cores, {model}, {memory} GB, {platform.system()} {platform.release()}, {busy}"


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
