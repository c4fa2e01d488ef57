"""What a person sees while a recording runs: one line that refreshes, or plain lines in a pipe.

Formatting is pure; `Progress` writes to one text stream. One rule: what it shows was masked before (targets come from
the capture), and it never costs more than a few lines per second.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TextIO, TypeVar

from graphtape.cassettes.clock import Clock
from graphtape.cassettes.model import Ending
from graphtape.recorder.capture import Capture, ExchangeCapture
from graphtape.recorder.tally import Tally

_REFRESH_NS = 100_000_000
_LINES_PER_SECOND = 20
_PREFIX = "graphtape: "
_Shown = TypeVar("_Shown")

_ENDING_WORDS = {
    Ending.COMPLETE: "complete",
    Ending.UPSTREAM_BROKE: "upstream broke off",
    Ending.CLIENT_LEFT: "client left",
    Ending.RECORDER_STOPPED: "recorder stopped",
    Ending.UNREACHED: "upstream not reached",
    Ending.UNFINISHED: "unfinished",
}


def format_bytes(count: int) -> str:
    """`count` bytes in the largest unit that leaves a number to read: 999 B, 1.2 kB, 34 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            return (
                f"{count} B" if unit == "B" else f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"
            )
        size /= 1000
    raise AssertionError("unreachable")


def count_of(count: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_status(tally: Tally) -> str:
    """The status line."""
    parts = [
        count_of(tally.exchanges, "exchange"),
        f"{tally.open_streams} open" if tally.open_streams != 1 else "1 open stream",
        count_of(tally.events, "event"),
        format_bytes(tally.response_bytes),
    ]
    if tally.open_streams != 1:
        parts[1] += " streams"
    if tally.last_event:
        parts.append(f"last {plain(tally.last_event, 40)}")
    return ", ".join(parts)


def format_started(exchange: ExchangeCapture) -> str:
    """The line of a stream that opens; other exchanges get a line at their end only."""
    return (
        f"{exchange.number:>4}  {exchange.method} {plain(exchange.target, 100)}  {exchange.status}  streaming"
    )


def format_ended(exchange: ExchangeCapture) -> str:
    """The line of an exchange that ended."""
    ended_ns = exchange.ended_ns if exchange.ended_ns is not None else exchange.started_ns
    status = "-" if exchange.status is None else str(exchange.status)
    parts = [f"{exchange.number:>4}  {exchange.method} {plain(exchange.target, 100)}  {status}"]
    if exchange.is_stream:
        parts.append(count_of(exchange.events, "event"))
    parts.append(format_bytes(exchange.response_bytes))
    parts.append(f"{(ended_ns - exchange.started_ns) / 1e9:.2f} s")
    if exchange.ending is not None and exchange.ending is not Ending.COMPLETE:
        parts.append(_ENDING_WORDS[exchange.ending])
        if exchange.detail:
            parts.append(f"({plain(exchange.detail, 300)})")
    return "  ".join(parts)


def format_refused(why: str) -> str:
    """The line of a request that was not let in, and not recorded."""
    return f"   -  refused: {plain(why, 300)}"


def plain(text: str, limit: int) -> str:
    """`text` on one line, control characters shown as `?`, cut to `limit` characters."""
    clean = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


class Progress:
    """Shows a recording on a text stream.

    Args:
        stream: where to, usually stderr; None shows nothing.
        clock: what limits the rate.
        is_terminal: whether one line may be refreshed in place; by default what the stream says.
    """

    def __init__(self, stream: TextIO | None, clock: Clock, *, is_terminal: bool | None = None) -> None:
        self._stream = stream
        self._clock = clock
        if is_terminal is None:
            is_terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
        self._is_terminal = is_terminal
        self._dims = is_terminal and not os.environ.get("NO_COLOR")
        self._status: Callable[[], Tally] | None = None
        self._shown_ns: int | None = None
        self._second = -1
        self._in_second = 0
        self._skipped = 0
        self._line = ""

    @property
    def has_status(self) -> bool:
        """Whether there is a status line to refresh."""
        return self._is_terminal

    def watch(self, capture: Capture) -> None:
        """Show this capture from its first exchange on: before, the line on stdout that tells the address comes."""
        capture.watcher = self
        self._status = lambda: capture.tally

    def say(self, text: str) -> None:
        """A line of its own, always shown."""
        self._print(_PREFIX + text)

    def started(self, exchange: ExchangeCapture) -> None:
        """A request has come."""
        self.refresh()

    def answered(self, exchange: ExchangeCapture) -> None:
        """A response head has come."""
        if exchange.is_stream and not self._is_terminal:
            self._limited(format_started, exchange)
        self.refresh()

    def ended(self, exchange: ExchangeCapture) -> None:
        """An exchange is over."""
        self._limited(format_ended, exchange)
        self.refresh()

    def refused(self, why: str) -> None:
        """A request was not let in. A browser does not show why, not even to the page that asked."""
        self._limited(format_refused, why)

    def refresh(self, *, force: bool = False) -> None:
        """Redraw the status line, on a terminal and not too often; called now and then by the shell."""
        if not self._is_terminal or self._status is None:
            return
        now = self._clock.now_ns()
        if not force and self._shown_ns is not None and now - self._shown_ns < _REFRESH_NS:
            return
        line = format_status(self._status())
        width = max(20, shutil.get_terminal_size().columns - 1)
        line = plain(_PREFIX + line, width)
        if line != self._line or force:
            self._line = line
            self._write(self._erase() + (f"\x1b[2m{line}\x1b[0m" if self._dims else line))
        self._shown_ns = now

    def close(self) -> None:
        """Take the status line away; say what was left out."""
        if self._skipped:
            self._print(_PREFIX + f"{self._skipped} more lines were left out")
            self._skipped = 0
        if self._is_terminal and self._line:
            self._write(self._erase())
            self._line = ""
        self._status = None

    def _limited(self, line: Callable[[_Shown], str], what: _Shown) -> None:
        # A busy recorder leaves out most lines: they are made only if they are shown.
        if self._stream is None:
            return
        second = self._clock.now_ns() // 1_000_000_000
        if second != self._second:
            self._second, self._in_second = second, 0
            if self._skipped:
                skipped, self._skipped = self._skipped, 0
                self._print(_PREFIX + f"{skipped} more lines were left out")
        self._in_second += 1
        if self._in_second > _LINES_PER_SECOND:
            self._skipped += 1
            return
        self._print(line(what))

    def _print(self, text: str) -> None:
        if self._is_terminal and self._line:
            line, self._line = self._line, ""
            self._write(f"{self._erase()}{text}\n")
            self._line = line
            self._write(f"\x1b[2m{line}\x1b[0m" if self._dims else line)
        else:
            self._write(text + "\n")

    @staticmethod
    def _erase() -> str:
        return "\r\x1b[K"

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError, UnicodeError):
            # A closed pipe or a terminal that cannot show a character must not stop a recording.
            self._stream = None
