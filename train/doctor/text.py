"""Findings as text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from train.doctor.findings import Finding, Report


def describe(report: Report) -> str:
    """Write a report as text, one line for each check; of several machines, lines of what is not ok."""
    lines = []
    for name, checks in report.machines.items():
        bad = {check: finding for check, finding in checks.items() if finding.status != "ok"}
        if len(report.machines) == 1:
            lines += [name, *_lines(checks)]
        else:
            lines += [f"{name}: {len(checks) - len(bad)} of {len(checks)} checks ok", *_lines(bad)]
    if report.together:
        lines += ["together", *_lines(report.together)]
    for link in report.links:
        lines.append(f"    {link.ends}: {link.bytes_per_s / 1e9:.2f} GB/s, {link.latency_s * 1e3:.2f} ms")
    endings = {
        "ok": "No problem found.",
        "warning": "No problem found, but read the warnings.",
        "problem": "There are problems: a run would fail, or its result could not be trusted.",
    }
    return "\n".join([*lines, endings[report.status]])


def _lines(checks: Mapping[str, Finding]) -> list[str]:
    lines = []
    for name, finding in checks.items():
        advice = f". Next: {_flat(finding.fix)}" if finding.fix else ""
        lines.append(f"  {name:<16} {finding.status:<8} {_flat(finding.found)}{advice}")
    return lines


def _flat(text: str) -> str:
    """Put a text on one line, without the full stop; a text that ends in ` .` or `...` is a command and keeps it."""
    return re.sub(r"(?<![\s.])\.$", "", " ".join(text.split()))
