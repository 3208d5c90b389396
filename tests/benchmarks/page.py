"""The page of the measured tables, docs/benchmarks.md. The prose around its tables is written by hand."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
# In the order of the page; each is a module of this folder with `table()`.
NAMES = ("finetuning", "smart", "ppt", "icl", "grading")


def write_table(name: str, table: str, page: Path = PAGE) -> None:
    """Put a table between its marks in a page, and change nothing else there."""
    start, end = f"<!-- bench: {name} -->\n", f"<!-- end of bench: {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no marks of the benchmark {name!r}")
    page.write_text(before + start + table + "\n" + end + after, encoding="utf-8")
