"""`make conformance`: every differential test in full; prints the matrices and writes docs/conformance.md."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/conformance.md"
TESTS = (
    "tests/live/test_joins.py",
    "tests/live/test_thread_streams.py",
    "tests/live/test_session_twin.py",
    "tests/live/test_http.py",
    "tests/live/test_official_page.py",
    "tests/live/test_reconnection.py",
    "tests/js/test_reconnect.py",
    "tests/live/test_view_matrix.py",
)


def main() -> int:
    """The exit status of pytest."""
    os.environ["GRAPHTAPE_FULL"] = "1"
    os.chdir(ROOT)
    status = pytest.main(["-q", "-m", "live", *TESTS, *sys.argv[1:]])
    # Only now: the tests' module reads the environment when it is imported.
    from graphtape.tests.live.conformance.deviations import reason_for
    from graphtape.tests.live.conformance.report import REPORT

    REPORT.reason = reason_for
    print("\n".join(REPORT.lines()))
    if status in (0, 1) and not sys.argv[1:]:
        versions = {
            name: importlib.metadata.version(name)
            for name in (
                "langgraph-api",
                "langgraph-runtime-inmem",
                "langgraph",
                "langchain-core",
                "langgraph-sdk",
            )
        }
        PAGE.write_text(REPORT.page(datetime.now(UTC).date().isoformat(), versions), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
