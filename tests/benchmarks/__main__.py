"""Run every benchmark, or those named, and bring the README's tables up to date: `make bench`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks import finetuning, grading, icl, ppt, smart

README = Path(__file__).parents[2] / "README.md"
BENCHMARKS = {
    "finetuning": finetuning.table,
    "smart": smart.table,
    "ppt": ppt.table,
    "icl": icl.table,
    "grading": grading.table,
}


def write_table(name: str, table: str) -> None:
    """Put a table between its markers in the README."""
    text = README.read_text(encoding="utf-8")
    start, end = f"<!-- bench: {name} -->\n", f"<!-- end of bench: {name} -->"
    before, _, rest = text.partition(start)
    README.write_text(before + start + table + "\n" + end + rest.partition(end)[2], encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        table = BENCHMARKS[name]()
        print(f"\n{name}\n{table}")
        write_table(name, table)
