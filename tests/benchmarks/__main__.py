"""Run every benchmark, or those named, and bring the tables of docs/benchmarks.md up to date: `make bench`."""

from __future__ import annotations

import importlib
import sys

from tests.benchmarks.page import NAMES, write_table

if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        table = importlib.import_module(f"tests.benchmarks.{name}").table()
        print(f"\n{name}\n{table}")
        write_table(name, table)
