"""The bench's command line: `python -m bench [ROW...] [--full] [-o FILE]`, `python -m bench setup`.

One rule: a row that fails to run is reported and the others go on; the exit status tells of both kinds of failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from graphtape.bench import file_rows, recorder_rows, replayer_rows
from graphtape.bench.build import CannotBuild, built
from graphtape.bench.measuring import Row
from graphtape.bench.report import commit_date, format_line, results
from graphtape.bench.servers import Servers
from graphtape.bench.session import SIZES, Run, say

ROOT = Path(__file__).parents[1]
ROWS = recorder_rows.ROWS | replayer_rows.ROWS | file_rows.ROWS
REFERENCES_VENV = ROOT / "build" / "bench" / "references"
_IN_THEIR_VENV = ("mitmproxy", "mcap", "msgpack", "zstandard", "lz4")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the recorder, the replayer and the cassettes beside references in the same run.",
        epilog="exit status: 0 every must holds, 1 one does not, 2 a row could not be measured",
    )
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"of {' '.join(ROWS)} (all); or `setup`, which installs references",
    )
    parser.add_argument("--size", choices=list(SIZES), default="quick", help="how much is measured (quick)")
    parser.add_argument(
        "--full", action="store_const", const="full", dest="size", help="the same as --size full"
    )
    parser.add_argument(
        "-o", "--output", type=Path, help="write the results here; of all rows: bench/RESULTS.md"
    )
    parser.add_argument("--date", help="the date that the results bear (that of the commit)")
    parser.add_argument(
        "--references",
        type=Path,
        default=Path(os.environ.get("GRAPHTAPE_BENCH_REFERENCES", REFERENCES_VENV)),
        help="the environment with mitmproxy and mcap (build/bench/references)",
    )
    chosen = parser.parse_args(arguments)
    names = [name.upper() for name in chosen.rows]
    if names == ["SETUP"]:
        return setup(chosen.references)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"there is no row {' '.join(unknown)}; the rows are {' '.join(ROWS)}")
    try:
        built("client"), built("source")
    except CannotBuild as error:
        parser.error(str(error))
    return bench(names or list(ROWS), chosen)


def bench(names: list[str], chosen: argparse.Namespace) -> int:
    started = time.monotonic()
    rows: list[Row] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="graphtape-bench-") as made:
        folder = Path(made)
        venv = chosen.references if chosen.references.exists() else None
        run = Run(SIZES[chosen.size], folder, Servers(folder, venv))
        try:
            for name in names:
                before = time.monotonic()
                try:
                    row = ROWS[name](run)
                except Exception:
                    broken.append(name)
                    say(f"{name} could not be measured:\n{traceback.format_exc()}")
                    continue
                rows.append(row)
                for line in row.lines:
                    print(format_line(row, line), flush=True)
                say(f"{name} took {time.monotonic() - before:.1f} s")
        finally:
            run.close()
        missing = dict(run.missing)
    took_s = time.monotonic() - started
    missing |= dict.fromkeys(broken, "could not be measured")
    output = chosen.output or (
        ROOT / "bench" / "RESULTS.md" if names == list(ROWS) and chosen.size != "smoke" else None
    )
    if output is not None:
        text = results(
            rows, size=chosen.size, date=chosen.date or commit_date(ROOT), missing=missing, took_s=took_s
        )
        output.write_text(text, encoding="utf-8")
        say(f"results in {output}")
    failed = [f"{row.name} ({line.what})" for row in rows for line in row.lines if line.verdict == "FAIL"]
    if failed:
        say(f"{len(failed)} must not hold: {', '.join(failed)}")
    say(f"took {took_s:.0f} s")
    return 2 if broken else 1 if failed else 0


def setup(venv: Path) -> int:
    """Install what the references need and the program does not."""
    say(f"installing {', '.join(_IN_THEIR_VENV)} into {venv}")
    venv.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    return subprocess.run([*pip, *_IN_THEIR_VENV], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
