"""Turns what the matrix printed into the table of benchmarks/README.md: ``python -m tests.matrix.table FILE...``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.matrix.release import FAULTS

ENDS = {0: "published", 3: "exit 3", 4: "exit 4", 8: "exit 8", 9: "exit 9", 10: "exit 10"}


def table(cells: list[dict[str, Any]]) -> str:
    """Return a Markdown table: a row a fault, a column a way in which the first run ended."""
    codes = sorted({cell["code"] for cell in cells})
    head = ["fault", "cells", *(ENDS.get(code, f"exit {code}") for code in codes), "wrong", "seconds, at most"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for fault in FAULTS:
        met = [cell for cell in cells if cell["fault"] == fault]
        if not met:
            continue
        ends = Counter(cell["code"] for cell in met)
        wrong = sum(bool(cell["wrong"]) for cell in met)
        slowest = max(cell["seconds"] for cell in met)
        counted = [str(ends[code] or "") for code in codes]
        rows.append([f"`{fault}`", str(len(met)), *counted, str(wrong), f"{slowest:.1f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    lines = [line for name in sys.argv[1:] for line in Path(name).read_text().splitlines()]
    sys.stdout.write(table([json.loads(line) for line in lines]) + "\n")
