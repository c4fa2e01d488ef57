"""The matrices: every cell that was compared, what became of it, and docs/conformance.md.

Knows cells and text. One rule: a refused or wrong cell is always listed, whatever its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from graphtape.tests.live.conformance.comparing import Judgement, Verdict


@dataclass(frozen=True, slots=True)
class Cell:
    """One situation that was compared."""

    group: str
    name: str
    verdict: Verdict
    detail: str = ""


@dataclass(slots=True)
class Matrix:
    """The cells of one subject."""

    title: str
    cells: list[Cell] = field(default_factory=list)

    def add(self, group: str, name: str, judgement: Judgement) -> None:
        self.cells.append(Cell(group, name, judgement.verdict, judgement.detail))

    def of(self, *verdicts: Verdict) -> list[Cell]:
        return [cell for cell in self.cells if cell.verdict in verdicts]

    def rows(self) -> list[tuple[str, list[int]]]:
        """Counts by group, and of all."""
        groups = list(dict.fromkeys(cell.group for cell in self.cells))
        counts = {group: Counter(c.verdict for c in self.cells if c.group == group) for group in groups}
        total = Counter(cell.verdict for cell in self.cells)
        rows = [(group, [counts[group][verdict] for verdict in Verdict]) for group in groups]
        return [*rows, ("all", [total[verdict] for verdict in Verdict])]

    def lines(self) -> list[str]:
        """As it is printed."""
        width = max(len(name) for name, _ in self.rows()) + 2
        out = [self.title, " " * width + "".join(f"{verdict.value:>28}" for verdict in Verdict)]
        out += [f"{name:{width}}" + "".join(f"{count:28}" for count in row) for name, row in self.rows()]
        out += [
            f"{c.verdict}: {c.group}: {c.name}: {c.detail}" for c in self.of(Verdict.REFUSED, Verdict.WRONG)
        ]
        return out

    def markdown(self, reason: Callable[[str, Cell], str | None]) -> list[str]:
        out = [f"## {self.title}", "", "| | " + " | ".join(verdict.value for verdict in Verdict) + " |"]
        out.append("|---" * (len(Verdict) + 1) + "|")
        out += [f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in self.rows()]
        listed = self.of(Verdict.REFUSED, Verdict.WRONG)
        if listed:
            out += ["", "Refused or wrong:", ""]
            # The same difference in many cells is one line.
            same: dict[tuple[str, str], list[str]] = {}
            for c in listed:
                why = reason(self.title, c) if c.verdict is Verdict.WRONG else None
                text = f"{_plain(c.detail)}{f' **Known:** {why}' if why else ''}"
                same.setdefault((c.verdict.value, text), []).append(f"{c.group}: {c.name}")
            for (verdict, text), names in same.items():
                out.append(f"- {verdict}: {text}")
                out += [f"    - {_plain(name)}" for name in names]
        return [*out, ""]


def _plain(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= 400 else text[:397] + "..."


Reason = Callable[[str, Cell], str | None]


class Report:
    """All matrices of one run of the tests."""

    def __init__(self) -> None:
        self.matrices: dict[str, Matrix] = {}
        self.reason: Reason = lambda *_: None
        """Why a cell may be wrong."""

    def matrix(self, title: str) -> Matrix:
        return self.matrices.setdefault(title, Matrix(title))

    def page(self, date: str, versions: Mapping[str, str]) -> str:
        """docs/conformance.md."""
        shown = ", ".join(f"{name} {version}" for name, version in versions.items())
        out = [
            "# Conformance",
            "",
            "Made by `make conformance`; do not edit. Each cell is one request, asked of the real Agent Server",
            "and of the mock, and compared: status, headers in order, events or JSON, all ids by one consistent",
            "renaming; times aside.",
            "",
            f"Made on {date} against {shown}.",
            "",
            "- **equal**: the same, from the recording.",
            "- **equal but for message ids**: ids that the server sets or leaves null depending on the modes asked.",
            "- **derived-equal**: reconstructed, marked with `graphtape-derived`, and the same as the server's.",
            "- **refused**: the mock says that the recording does not show it.",
            "- **wrong**: the mock answers otherwise. Each is listed below, with the reason if it is a known one.",
            "",
            "The scripts are in `tests/live/conformance`. Where a row says *recorded*, the recording holds every",
            "request of the script; elsewhere only its run streams, and the mock derives the rest. A case with",
            "something wrong is played a second time, alone, and a cell counts as wrong if it was so both times:",
            "the order of a client's own moves between two events is a matter of milliseconds on both sides.",
            "",
        ]
        for matrix in self.matrices.values():
            out += matrix.markdown(self.reason)
        return "\n".join(out).rstrip() + "\n"

    def lines(self) -> Iterable[str]:
        for matrix in self.matrices.values():
            yield from matrix.lines()
            yield ""


REPORT = Report()
"""Filled by the tests of one process; `python -m graphtape.tests.live.conformance` prints and writes it."""
