"""What `graphtape verify --secrets` prints, for people and for machines.

Knows the report only. One rule: no value is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphtape.cassettes.redaction.secrets import Finding, SecretReport


def where(finding: Finding) -> str:
    """Where a finding is, for people."""
    place = f"exchange {finding.exchange}, {finding.part}" if finding.exchange else finding.part
    if finding.event is not None:
        last = finding.event + finding.events - 1
        place += f" {finding.event}" if finding.events == 1 else f"s {finding.event} to {last} or later"
    elif finding.offset is not None:
        place += f", byte {finding.offset}"
    return f"{place}, {finding.path}" if finding.path else place


def format_secrets(path: str, report: SecretReport) -> Iterator[str]:
    """The report for people; no value is in it."""
    for finding in report.findings:
        yield f"{path}: {where(finding)}: {finding.kind} ({finding.length} characters)"
    if report.total > len(report.findings):
        yield f"{path}: and {report.total - len(report.findings)} more"
    for number, reason in report.unread:
        yield f"{path}: exchange {number}: scanned as it came, not decoded: {reason}"
    count = f"{report.exchanges} exchange{'s' * (report.exchanges != 1)}"
    if report.passed:
        yield f"{path}: no credentials found in {count}"
    else:
        found = f"{report.total} possible credential{'s' * (report.total != 1)}"
        yield f"{path}: {found} in {count}; graphtape redact {path} -o CLEAN.tape --found removes them"


def secrets_json(path: str, report: SecretReport) -> dict[str, Any]:
    """The report for machines; no value is in it."""
    return {
        "path": path,
        "passed": report.passed,
        "exchanges": report.exchanges,
        "total": report.total,
        "findings": [
            {
                "exchange": finding.exchange or None,
                "part": finding.part,
                "kind": finding.kind,
                "length": finding.length,
                "offset": finding.offset,
                "event": finding.event,
                "events": finding.events,
                "path": finding.path or None,
            }
            for finding in report.findings
        ],
        "unread": [{"exchange": number, "reason": reason} for number, reason in report.unread],
    }
